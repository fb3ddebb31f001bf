//! Sending for all server functions.

use super::{RpcError, unreadable};
use domain::Problem;
use leptos::server_fn::error::{FromServerFnError as _, ServerFnErrorErr};
use send_wrapper::SendWrapper;
use serde_json::Value;
use std::pin::Pin;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Headers, RequestInit, Response};

/// Posts JSON and gives that of the answer, or the error that the answer is. Boxed, so that there is one of it.
pub(super) fn post(path: &str, body: Option<String>) -> Pin<Box<dyn Future<Output = Result<Value, RpcError>> + Send>> {
    let path = path.to_owned();
    Box::pin(SendWrapper::new(async move {
        let body = body.ok_or_else(Problem::internal)?;
        let (good, text) = exchange(&path, &body).await.map_err(|error| {
            RpcError::from_server_fn_error(ServerFnErrorErr::Request(error.as_string().unwrap_or_default()))
        })?;
        if good { domain::json::from_text(&text).map_err(|_| unreadable()) } else { Err(RpcError::de(text.into())) }
    }))
}

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
