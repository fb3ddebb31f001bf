//! HTTP client of all server functions.

use super::RpcError;
use domain::Problem;
use leptos::server_fn::error::{FromServerFnError as _, ServerFnErrorErr};
use send_wrapper::SendWrapper;
use std::pin::Pin;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Headers, RequestInit, Response};

/// Posts JSON and returns the JSON of the response, or the error that it contains.
///
/// The future is boxed, so that all server functions share its code.
pub(super) fn post(path: &str, body: Option<String>) -> Pin<Box<dyn Future<Output = Result<String, RpcError>> + Send>> {
    let path = path.to_owned();
    Box::pin(SendWrapper::new(async move {
        let body = body.ok_or_else(Problem::internal)?;
        let (succeeded, text) = exchange(&path, &body).await.map_err(|error| {
            RpcError::from_server_fn_error(ServerFnErrorErr::Request(error.as_string().unwrap_or_default()))
        })?;
        if succeeded { Ok(text) } else { Err(RpcError::de(text.into())) }
    }))
}

/// Sends a request. Returns whether the status is a success, and the body.
async fn exchange(path: &str, body: &str) -> Result<(bool, String), JsValue> {
    let headers = Headers::new()?;
    headers.set("content-type", "application/json")?;
    headers.set("accept", "application/json")?;
    let init = RequestInit::new();
    init.set_method("POST");
    init.set_headers(&headers);
    init.set_body(&JsValue::from_str(body));
    let response = JsFuture::from(leptos::prelude::window().fetch_with_str_and_init(path, &init)).await?;
    let response: Response = response.dyn_into()?;
    let text = JsFuture::from(response.text()?).await?;
    Ok((response.ok(), text.as_string().unwrap_or_default()))
}
