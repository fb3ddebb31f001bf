//! HTTP client of all server functions.

use super::{RpcError, invalid_response};
use domain::Problem;
use leptos::server_fn::error::{FromServerFnError as _, ServerFnErrorErr};
use send_wrapper::SendWrapper;
use serde_json::Value;
use std::pin::Pin;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Headers, RequestInit, Response};

/// Sends JSON by `POST` and returns the JSON or the error of the response. The future is boxed, so that the code is generated
/// once.
pub(super) fn post(path: &str, body: Option<String>) -> Pin<Box<dyn Future<Output = Result<Value, RpcError>> + Send>> {
    let path = path.to_owned();
    Box::pin(SendWrapper::new(async move {
        let body = body.ok_or_else(Problem::internal)?;
        let (succeeded, text) = exchange(&path, &body).await.map_err(|error| {
            RpcError::from_server_fn_error(ServerFnErrorErr::Request(error.as_string().unwrap_or_default()))
        })?;
        if succeeded {
            domain::json::from_text(&text).map_err(|_| invalid_response())
        } else {
            Err(RpcError::de(text.into()))
        }
    }))
}

/// Sends one request. Returns whether the status is 2xx, and the body.
async fn exchange(path: &str, body: &str) -> Result<(bool, String), JsValue> {
    let headers = Headers::new()?;
    headers.set("content-type", "application/json")?;
    headers.set("accept", "application/json")?;
    let init = RequestInit::new();
    init.set_method("POST");
    init.set_headers(&headers);
    init.set_body(&JsValue::from_str(body));
    let window = web_sys::window().ok_or(JsValue::NULL)?;
    let response: Response = JsFuture::from(window.fetch_with_str_and_init(path, &init)).await?.dyn_into()?;
    let text = JsFuture::from(response.text()?).await?;
    Ok((response.ok(), text.as_string().unwrap_or_default()))
}
