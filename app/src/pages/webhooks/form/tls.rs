//! The TLS settings in the form: client certificate and own authorities.

use super::model::{FieldErrors, TlsModel};
use crate::components::*;
use crate::intl;
use crate::pages::areas;
use domain::webhook::{CertificateDetails, MAX_PEM, TlsView};
use leptos::ev;
use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos::wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;

/// The TLS fields, collapsed and not loaded until the user opens them or one of them has an error.
#[component]
pub fn TlsSection(model: TlsModel, errors: FieldErrors) -> impl IntoView {
    let has_settings = model.stored.with_untracked(Option::is_some);
    // It stays open while the user corrects an error.
    let is_open = Memo::new(move |before: Option<&bool>| {
        let has_error = || errors.has_submitted_error(&["tls"]) || errors.has_server_error("tls");
        has_settings || before.is_some_and(|before| *before) || has_error()
    });
    let was_opened = RwSignal::new(false);
    view! {
        <details class="advanced" open=move || is_open.get() on:toggle=move |_| was_opened.set(true)>
            <summary>"TLS: client certificate, custom CA"</summary>
            <Show when=move || was_opened.get()>
                {areas::show_part(areas::webhookadvanced::Screen::Tls(model, errors))}
            </Show>
        </details>
    }
}

/// The TLS fields themselves.
#[component]
pub fn TlsFields(model: TlsModel, errors: FieldErrors) -> impl IntoView {
    let key_hint = move || match model.can_keep_key() {
        true => "Leave empty to keep the stored key, if it belongs to the certificate.",
        false => "Begins with -----BEGIN PRIVATE KEY-----. Berth encrypts it and never shows it.",
    };
    let has_client =
        move || [model.client_certificate, model.client_key].iter().any(|text| text.with(|text| !text.is_empty()));
    let remove_client = Callback::new(move |()| {
        model.client_certificate.set(String::new());
        model.client_key.set(String::new());
    });
    view! {
        <div class="stack">
            <fieldset class="stack tight">
                <legend>"Client certificate (mutual TLS)"</legend>
                <p class="hint">"Berth presents it to your service, and to the OAuth token endpoint."</p>
                <Contents model=model details=|tls| &tls.client_details pem=|tls| &tls.client_certificate value=model.client_certificate />
                <PemField
                    label="Client certificate"
                    value=model.client_certificate
                    hint="PEM: the client certificate first, then its intermediate certificates."
                    field="tls.client_certificate"
                    errors=errors
                />
                <PemField label="Private key" value=model.client_key hint=key_hint field="tls.client_key" errors=errors />
                <Show when=has_client>
                    <div>
                        <Button on_click=remove_client><IconView icon=Icon::Trash />"Remove client certificate"</Button>
                    </div>
                </Show>
            </fieldset>
            <fieldset class="stack tight">
                <legend>"Custom CA"</legend>
                <p class="hint">
                    "Authorities that Berth trusts for this webhook besides those of the system. For an internal authority or a self-signed certificate."
                </p>
                <Contents model=model details=|tls| &tls.ca_details pem=|tls| &tls.ca_certificates value=model.ca_certificates />
                <PemField
                    label="CA certificates"
                    value=model.ca_certificates
                    hint="PEM: one or several."
                    field="tls.ca_certificates"
                    errors=errors
                />
                <Show when=move || model.ca_certificates.with(|text| !text.is_empty())>
                    <div>
                        <Button on_click=Callback::new(move |()| model.ca_certificates.set(String::new()))>
                            <IconView icon=Icon::Trash />
                            "Remove CA certificates"
                        </Button>
                    </div>
                </Show>
            </fieldset>
        </div>
    }
}

/// The contents of the stored certificates of a field, while `value` is unchanged.
#[component]
fn Contents(
    model: TlsModel,
    details: fn(&TlsView) -> &Vec<CertificateDetails>,
    pem: fn(&TlsView) -> &String,
    value: RwSignal<String>,
) -> impl IntoView {
    move || {
        let stored = model.stored.get().filter(|tls| value.with(|value| value == pem(tls)))?;
        let items = details(&stored).iter().map(|one| {
            view! {
                <li>
                    <strong>{one.subject.clone()}</strong>
                    <span>{format!("Issued by {}, expires {}", one.issuer, intl::timestamp(one.expires_at))}</span>
                    <code>{format!("SHA-256 {}", one.sha256)}</code>
                </li>
            }
        });
        Some(view! { <ul class="certificates">{items.collect_view()}</ul> })
    }
}

/// A text in PEM, entered or read from a file.
#[component]
fn PemField(
    label: &'static str,
    value: RwSignal<String>,
    #[prop(into)] hint: TextProp,
    field: &'static str,
    errors: FieldErrors,
) -> impl IntoView {
    let read_error = RwSignal::new("");
    let message = errors.message(field);
    let choose = move |event: ev::Event| {
        let input: web_sys::HtmlInputElement = event_target(&event);
        read_error.set("");
        spawn_local(async move {
            let read = read_file(&input).await;
            // The change of the same file is read again.
            input.set_value("");
            match read {
                Ok(Some(text)) => {
                    // The user may have left the form meanwhile.
                    if value.try_set(text).is_none() {
                        untrack(|| message.edited());
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    let _ = read_error.try_set(error);
                }
            }
        });
    };
    view! {
        <div class="stack tight" on:focusout=move |_| errors.on_blur(field).run(())>
            <TextArea label=label value=value mono=true optional=true rows=4 hint=hint error=message />
            <div>
                <label class="button small file-choice">
                    <input
                        type="file"
                        class="visually-hidden"
                        aria-label=format!("Choose file: {label}")
                        accept=".pem,.crt,.cer,.key"
                        on:change=choose
                    />
                    "Choose file"
                </label>
            </div>
            <p class="error" aria-live="polite">{move || read_error.get()}</p>
        </div>
    }
}

/// The text of the selected file. `None` without one.
async fn read_file(input: &web_sys::HtmlInputElement) -> Result<Option<String>, &'static str> {
    let get = |object: &JsValue, name: &str| js_sys::Reflect::get(object, &name.into()).unwrap_or(JsValue::UNDEFINED);
    let file = get(&get(input, "files"), "0");
    if file.is_undefined() {
        return Ok(None);
    }
    if get(&file, "size").as_f64().is_none_or(|size| size > MAX_PEM as f64) {
        return Err("The file is larger than 32 KiB. Choose a certificate or a key in PEM.");
    }
    let promise = get(&file, "text").dyn_into::<js_sys::Function>().ok().and_then(|text| text.call0(&file).ok());
    let text = match promise.and_then(|promise| promise.dyn_into::<js_sys::Promise>().ok()) {
        Some(promise) => JsFuture::from(promise).await.ok().and_then(|text| text.as_string()),
        None => None,
    };
    let text = text.ok_or("The file cannot be read. Paste its text instead.")?;
    if text.contains(['\0', '\u{FFFD}']) {
        return Err("The file is binary. Convert it to PEM, e.g. openssl x509 -inform DER -in FILE");
    }
    Ok(Some(text))
}
