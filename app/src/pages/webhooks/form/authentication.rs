//! The fields for authentication and for the signing secret.

use super::model::{AuthModel, FieldErrors, FormModel};
use crate::components::*;
use domain::signature::Secret;
use leptos::prelude::*;

/// The authentication method and its credentials. `stored_method` is the method with stored credentials.
#[component]
pub fn AuthenticationFields(
    model: AuthModel,
    errors: FieldErrors,
    stored_method: Option<&'static str>,
) -> impl IntoView {
    // An empty credential of the stored method is invalid only if the stored one cannot be kept, which needs an explanation
    // at once.
    let hint = move |method: &'static str, field: &'static str, input: RwSignal<String>| {
        Signal::derive(move || match stored_method {
            Some(stored) if stored == method => {
                let required = input.with(String::is_empty).then(|| errors.page_message(field)).flatten();
                required.unwrap_or_else(|| "Leave empty to keep the current value.".to_owned())
            }
            _ => String::new(),
        })
    };
    view! {
        <div class="stack tight">
            <RadioCards
                legend="Authentication Method"
                value=model.method
                options=vec![
                    ("none", "None", "No extra credentials; requests are signed."),
                    ("api_key", "API Key", "Sends a key in a request header."),
                    ("oauth2", "OAuth 2.0", "Client credentials; sends a bearer token."),
                ]
            />
            {move || match model.method.get().as_str() {
                "api_key" => view! { <ApiKeyFields model=model errors=errors hint=hint("api_key", "auth.key", model.key) /> }.into_any(),
                "oauth2" => view! { <OAuthFields model=model errors=errors hint=hint("oauth2", "auth.client_secret", model.client_secret) /> }.into_any(),
                _ => ().into_any(),
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
        <p class="hint">"For "<code>"Authorization"</code>", include the scheme: "<code>"Bearer <key>"</code>"."</p>
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
pub fn weakness_of(secret: &str) -> Option<&'static str> {
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
                    ("generate", "Generate", "Creates a strong secret and shows it once."),
                    ("existing", "Use existing", "Paste the secret that your service already has."),
                ]
            />
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
