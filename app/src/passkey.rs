//! Passkeys in the browser: `navigator.credentials` (WebAuthn), with the JSON of the server.
//!
//! `PublicKeyCredential.parseCreationOptionsFromJSON` and `toJSON` do the same, but Safari has them only since 18.4.

use domain::Problem;
use js_sys::{Array, Function, JSON, Object, Reflect, Uint8Array};
use leptos::prelude::window;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;

/// Whether the browser supports passkeys.
pub fn is_supported() -> bool {
    Reflect::has(&window(), &"PublicKeyCredential".into()).unwrap_or(false)
}

/// Creates a passkey. `options` and the result are JSON with binary values in base64url.
///
/// # Errors
/// A problem for `passkey`: cancelled, not supported, or known already.
pub async fn create(options: &str) -> Result<String, Problem> {
    call("create", options).await
}

/// Asks for the use of a passkey. `options` and the result are JSON with binary values in base64url.
///
/// # Errors
/// A problem for `passkey`: cancelled or not supported.
pub async fn get(options: &str) -> Result<String, Problem> {
    call("get", options).await
}

async fn call(method: &str, options: &str) -> Result<String, Problem> {
    if !is_supported() {
        return Err(problem("This browser does not support passkeys. Use another way or another browser."));
    }
    let options = JSON::parse(options).map_err(|_| Problem::internal())?;
    let relying_party = relying_party(&options);
    let result = async {
        decode(&options, "challenge")?;
        decode(&field(&options, "user"), "id")?;
        for list in ["excludeCredentials", "allowCredentials"] {
            let list = field(&options, list);
            if Array::is_array(&list) {
                for descriptor in Array::from(&list).iter() {
                    decode(&descriptor, "id")?;
                }
            }
        }
        let argument = Object::new();
        Reflect::set(&argument, &"publicKey".into(), &options)?;
        let credentials = field(&window().navigator(), "credentials");
        let method: Function = field(&credentials, method).dyn_into()?;
        let credential = JsFuture::from(js_sys::Promise::resolve(&method.call1(&credentials, &argument)?)).await?;
        encode(&credential)
    };
    result.await.map_err(|error: JsValue| failure(&error, &relying_party))
}

/// The host name for which the server accepts passkeys.
fn relying_party(options: &JsValue) -> String {
    let id = field(&field(options, "rp"), "id").as_string();
    id.or_else(|| field(options, "rpId").as_string()).unwrap_or_default()
}

fn problem(message: impl Into<String>) -> Problem {
    Problem::field("passkey", message)
}

fn failure(error: &JsValue, relying_party: &str) -> Problem {
    problem(match field(error, "name").as_string().as_deref() {
        Some("NotAllowedError" | "AbortError") => {
            "The passkey was not used: it was cancelled, or the time was up. Try again.".to_owned()
        }
        Some("InvalidStateError") => "This device already has a passkey for your account.".to_owned(),
        Some("SecurityError") => {
            format!("Passkeys work only at the host name {relying_party}. Open Berth there, or use another way.")
        }
        _ => "The browser cannot use a passkey here. Try again, or use another way.".to_owned(),
    })
}

fn field(object: &JsValue, name: &str) -> JsValue {
    if object.is_object() { Reflect::get(object, &name.into()).unwrap_or_default() } else { JsValue::UNDEFINED }
}

/// Replaces a field in base64url by its bytes.
fn decode(object: &JsValue, name: &str) -> Result<(), JsValue> {
    let Some(text) = field(object, name).as_string() else { return Ok(()) };
    let binary = window().atob(&text.replace('-', "+").replace('_', "/"))?;
    let bytes: Vec<u8> = binary.chars().map(|c| c as u8).collect();
    Reflect::set(object, &name.into(), &Uint8Array::from(bytes.as_slice()))?;
    Ok(())
}

/// Bytes in base64url.
fn to_base64(buffer: &JsValue) -> Result<JsValue, JsValue> {
    let binary: String = Uint8Array::new(buffer).to_vec().into_iter().map(char::from).collect();
    let text = window().btoa(&binary)?;
    Ok(text.replace('+', "-").replace('/', "_").trim_end_matches('=').into())
}

/// The JSON of a credential.
fn encode(credential: &JsValue) -> Result<String, JsValue> {
    let json = Object::new();
    let set = |object: &Object, name: &str, value: &JsValue| Reflect::set(object, &name.into(), value).map(|_| ());
    for name in ["id", "type"] {
        set(&json, name, &field(credential, name))?;
    }
    set(&json, "rawId", &to_base64(&field(credential, "rawId"))?)?;
    set(&json, "extensions", &Object::new())?;
    let response = Object::new();
    for name in ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"] {
        let value = field(&field(credential, "response"), name);
        if value.is_object() {
            set(&response, name, &to_base64(&value)?)?;
        }
    }
    set(&json, "response", &response)?;
    Ok(JSON::stringify(&json)?.into())
}
