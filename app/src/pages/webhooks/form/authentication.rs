//! The fields for authentication and for the signing secret.

use super::model::{AuthModel, FieldErrors, FormModel};
use crate::components::*;
use domain::signature::Secret;
use leptos::prelude::*;

/// The authentication method.
#[component]
pub fn MethodField(model: AuthModel) -> impl IntoView {
    view! {
        <RadioCards
            legend="Authentication Method"
            value=model.method
            options=vec![
                ("api_key", "API Key", "Sends a key in a request header."),
                ("oauth2", "OAuth 2.0", "Client credentials; sends a bearer token."),
                ("none", "None", "No extra credentials; requests are signed."),
            ]
        />
    }
}

/// The credentials of the selected method. `stored_method` is the method with stored credentials.
#[component]
pub fn CredentialFields(model: AuthModel, errors: FieldErrors, stored_method: Option<&'static str>) -> impl IntoView {
    // An empty credential of the stored method is invalid only if the stored one cannot be kept, which needs an explanation
    // at once.
    let generated = model.key.get_untracked();
    let hint = move |method: &'static str, field: &'static str, input: RwSignal<String>| {
        let generated = generated.clone();
        Signal::derive(move || match stored_method {
            Some(stored) if stored == method => {
                let required = input.with(String::is_empty).then(|| errors.page_message(field)).flatten();
                required.unwrap_or_else(|| "Leave empty to keep the current value.".to_owned())
            }
            None if method == "api_key" && input.with(|key| !key.is_empty() && *key == generated) => {
                "Generated. Copy it to your service, or replace it by the key that your service expects.".to_owned()
            }
            _ => String::new(),
        })
    };
    view! {
        <div class="stack tight">
            {move || match model.method.get().as_str() {
                "api_key" => view! { <ApiKeyFields model=model errors=errors hint=hint("api_key", "auth.key", model.key) /> }.into_any(),
                "oauth2" => view! { <OAuthFields model=model errors=errors hint=hint("oauth2", "auth.client_secret", model.client_secret) /> }.into_any(),
                _ => view! { <p class="muted">"Requests carry no credentials besides their signature."</p> }.into_any(),
            }}
        </div>
    }
}

#[component]
fn ApiKeyFields(model: AuthModel, errors: FieldErrors, hint: Signal<String>) -> impl IntoView {
    view! {
        <div class="grid-2">
            <TextInput
                label="Header"
                value=model.key_header
                mono=true
                error=errors.message("auth.header")
                on_blur=errors.on_blur("auth.header")
            />
            <TextInput
                label="API Key"
                value=model.key
                kind="password"
                autocomplete="new-password"
                hint=move || hint.get()
                error=errors.message("auth.key")
                on_blur=errors.on_blur("auth.key")
            />
        </div>
        <div class="row between">
            <p class="hint">"For "<code>"Authorization"</code>", include the scheme: "<code>"Bearer <key>"</code>"."</p>
            {move || model.key.with(|key| !key.is_empty()).then(|| view! { <CopyButton text=model.key label="Copy API key" /> })}
        </div>
    }
}

#[component]
fn OAuthFields(model: AuthModel, errors: FieldErrors, hint: Signal<String>) -> impl IntoView {
    view! {
        <TextInput
            label="Token URL"
            value=model.token_url
            kind="url"
            mono=true
            error=errors.message("auth.token_url")
            on_blur=errors.on_blur("auth.token_url")
        />
        <div class="grid-2">
            <TextInput
                label="Client ID"
                value=model.client_id
                error=errors.message("auth.client_id")
                on_blur=errors.on_blur("auth.client_id")
            />
            <TextInput
                label="Client secret"
                value=model.client_secret
                kind="password"
                autocomplete="new-password"
                hint=move || hint.get()
                error=errors.message("auth.client_secret")
                on_blur=errors.on_blur("auth.client_secret")
            />
            <TextInput label="Scope" value=model.scope optional=true error=errors.message("auth.scope") />
            <TextInput label="Audience" value=model.audience optional=true error=errors.message("auth.audience") />
        </div>
    }
}

/// The warning about a weak secret.
fn weakness_of(secret: &str) -> Option<&'static str> {
    Secret::parse(secret.trim()).ok()?.weakness()
}

/// The signing secret of a new webhook.
#[component]
pub fn SecretFields(model: FormModel, errors: FieldErrors) -> impl IntoView {
    let hint = move || {
        let weakness = model.secret.with(|secret| weakness_of(secret));
        weakness.unwrap_or("8 to 255 bytes; any text or whsec_….")
    };
    view! {
        <div class="stack tight">
            <RadioCards
                legend="Signing secret"
                value=model.secret_source
                options=vec![
                    ("generate", "Generate", "A strong secret, shown here and once more when you save."),
                    ("existing", "Use existing", "Paste the secret that your service already has."),
                ]
            />
            {move || {
                let generated = model.secret_source.get() == "generate" && model.generated_secret.with(|secret| !secret.is_empty());
                generated.then(|| view! { <CodeBlock text=model.generated_secret label="Generated secret" /> })
            }}
            <Show when=move || model.secret_source.get() == "existing">
                <TextInput
                    label="Secret"
                    value=model.secret
                    kind="password"
                    autocomplete="new-password"
                    mono=true
                    hint=hint
                    error=errors.message("secret")
                    on_blur=errors.on_blur("secret")
                />
            </Show>
        </div>
    }
}
