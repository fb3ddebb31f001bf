//! HTTP client of all server functions.

use super::{RpcError, session};
use crate::intl;
use domain::{Problem, ProblemKind};
use gloo_timers::future::TimeoutFuture;
use leptos::server_fn::ServerFn as _;
use leptos::server_fn::error::{FromServerFnError as _, ServerFnErrorErr};
use send_wrapper::SendWrapper;
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Headers, RequestInit, Response};

/// Number of times that a request is sent again after 429.
const MAX_REPEATS: u32 = 3;
/// The longest `Retry-After` in seconds after which a request is sent again. A longer one is shown to the user.
const MAX_RETRY_AFTER: u64 = 5;

/// Asks the user for something. The promise resolves to whether they have done it.
type Handler = Rc<dyn Fn() -> js_sys::Promise>;

thread_local! {
    static LOG_IN_HANDLER: RefCell<Option<Handler>> = const { RefCell::new(None) };
    static CONFIRMATION_HANDLER: RefCell<Option<Handler>> = const { RefCell::new(None) };
}

/// Sets what happens when the server reports that the session has ended. The requests wait for the promise and are then sent again.
pub fn set_log_in_handler(handler: impl Fn() -> js_sys::Promise + 'static) {
    LOG_IN_HANDLER.with_borrow_mut(|current| *current = Some(Rc::new(handler)));
}

/// Sets what happens when the server requires a confirmation. The requests wait for the promise and are then sent again.
pub fn set_confirmation_handler(handler: impl Fn() -> js_sys::Promise + 'static) {
    CONFIRMATION_HANDLER.with_borrow_mut(|current| *current = Some(Rc::new(handler)));
}

/// Whether the user has done what a handler asks for.
async fn ask(handler: Option<Handler>) -> bool {
    let Some(handler) = handler else { return false };
    JsFuture::from(handler()).await.is_ok_and(|done| done.is_truthy())
}

/// Whether a request belongs to a log-in, so that its rejection asks for no other log-in.
fn is_log_in(path: &str) -> bool {
    [session::LogIn::PATH, session::FinishLogIn::PATH, session::StartSecondStep::PATH, session::FinishSecondStep::PATH]
        .contains(&path)
}

/// Posts JSON and returns the JSON of the response, or the error that it contains.
///
/// A request over the rate limit is sent again after `Retry-After`, one without a valid session after a log-in, and one that needs a
/// confirmation after it: the server has not executed it. The future is boxed, so that all server functions share its code.
pub(super) fn post(path: &str, body: Option<String>) -> Pin<Box<dyn Future<Output = Result<String, RpcError>> + Send>> {
    let path = path.to_owned();
    Box::pin(SendWrapper::new(async move {
        let body = body.ok_or_else(Problem::internal)?;
        let mut repeats = 0;
        loop {
            let RpcError(problem) = match send(&path, &body).await {
                Ok(text) => return Ok(text),
                Err(error) => error,
            };
            match (problem.kind, problem.retry_after) {
                (ProblemKind::RateLimited, Some(seconds)) if seconds <= MAX_RETRY_AFTER && repeats < MAX_REPEATS => {
                    repeats += 1;
                    // The random part keeps many pages from sending at once.
                    let delay = (seconds as f64 + js_sys::Math::random()) * 1_000.0;
                    TimeoutFuture::new(delay as u32).await;
                }
                (ProblemKind::Unauthenticated, _) if !is_log_in(&path) => {
                    if !ask(LOG_IN_HANDLER.with_borrow(Clone::clone)).await {
                        return Err(RpcError(problem));
                    }
                }
                (ProblemKind::ConfirmationRequired, _) => {
                    if !ask(CONFIRMATION_HANDLER.with_borrow(Clone::clone)).await {
                        return Err(RpcError(problem));
                    }
                }
                (ProblemKind::SecondFactorSetupRequired, _) => {
                    // The settings have changed while the page was open. The new page shows the set-up.
                    let _ = leptos::prelude::window().location().reload();
                    return Err(RpcError(problem));
                }
                _ => return Err(RpcError(problem)),
            }
        }
    }))
}

/// Sends a request. Returns the body of a success.
async fn send(path: &str, body: &str) -> Result<String, RpcError> {
    let (response, text) = exchange(path, body).await.map_err(|error| {
        RpcError::from_server_fn_error(ServerFnErrorErr::Request(error.as_string().unwrap_or_default()))
    })?;
    if response.ok() {
        return Ok(text);
    }
    let RpcError(mut problem) = RpcError::de(text.into());
    let retry_after = response.headers().get("retry-after").ok().flatten();
    problem.retry_after = problem.retry_after.or_else(|| retry_after?.parse().ok());
    Err(RpcError(in_local_time(problem)))
}

/// Describes a conflict with the times of the reader's time zone. The server does not know it.
fn in_local_time(mut problem: Problem) -> Problem {
    if let Some(span) = problem.conflict {
        let span = intl::span(span.start_time, span.end_time);
        problem.detail = format!("The resource is already reserved: {span}. Choose another time or another resource.");
    }
    problem
}

/// Sends a request and reads the body.
async fn exchange(path: &str, body: &str) -> Result<(Response, String), JsValue> {
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
    Ok((response, text.as_string().unwrap_or_default()))
}
