//! Server functions: the private API of the page. Each function calls one use case.
#![allow(
    missing_docs,
    reason = "the macro makes a structure of each function's arguments, whose fields cannot be documented"
)]

#[cfg(feature = "ssr")]
pub mod context;
#[cfg(feature = "ssr")]
pub mod session_cookie;

pub mod accounts;
pub mod alerts;
pub mod audit;
pub mod catalogue;
pub mod deliveries;
pub mod groups;
pub mod replays;
pub mod reservations;
pub mod second_factor;
pub mod session;
mod strict_json;
pub mod webhooks;

#[cfg(feature = "csr")]
mod fetch;
#[cfg(feature = "csr")]
pub use fetch::{set_confirmation_handler, set_log_in_handler};

use domain::problem::ConflictSpan;
use domain::{FieldError, Problem, ProblemKind};
use http::Method;
use leptos::server_fn::client::Client;
use leptos::server_fn::codec::{Json, JsonEncoding, Post};
use leptos::server_fn::error::{FromServerFnError, ServerFnErrorErr};
use leptos::server_fn::server::Server;
use leptos::server_fn::{Http, Protocol};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use strict_json::StrictJson;

/// The protocol of the server functions: POST with JSON in both directions.
///
/// The server uses Leptos's [`Http`]. In the browser, all functions share one implementation of the request, because `Http`
/// compiles one for each function.
pub struct Rpc;

impl<I, O, C, S> Protocol<I, O, C, S, RpcError> for Rpc
where
    Http<Post<StrictJson>, Json>: Protocol<I, O, C, S, RpcError>,
    C: Client<RpcError>,
    S: Server<RpcError>,
    I: Serialize + Send,
    O: DeserializeOwned + Send,
{
    const METHOD: Method = Method::POST;

    fn run_server<F, Fut>(
        request: S::Request,
        function: F,
    ) -> impl Future<Output = Result<S::Response, RpcError>> + Send
    where
        F: Fn(I) -> Fut + Send,
        Fut: Future<Output = Result<O, RpcError>> + Send,
    {
        <Http<Post<StrictJson>, Json> as Protocol<I, O, C, S, RpcError>>::run_server(request, function)
    }

    #[cfg(feature = "csr")]
    fn run_client(path: &str, input: I) -> impl Future<Output = Result<O, RpcError>> + Send {
        let response = fetch::post(path, domain::json::to_text(&input).ok());
        async move { domain::json::from_text(&response.await?).map_err(|_| invalid_response()) }
    }

    /// Only the page calls server functions.
    #[cfg(not(feature = "csr"))]
    fn run_client(_: &str, _: I) -> impl Future<Output = Result<O, RpcError>> + Send {
        std::future::ready(Err(RpcError(Problem::internal())))
    }
}

/// Error for a response that cannot be parsed.
fn invalid_response() -> RpcError {
    RpcError(Problem::new(
        ProblemKind::Unavailable,
        "The response cannot be read; Berth may be restarting. Try again in a moment.",
    ))
}

/// A [`Problem`] as the error of a server function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RpcError(pub Problem);

impl std::fmt::Display for RpcError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for RpcError {}

impl From<Problem> for RpcError {
    fn from(problem: Problem) -> Self {
        #[cfg(feature = "ssr")]
        {
            context::set_status(&problem);
            service::audit_trail::note_refusal(&problem);
        }
        Self(problem)
    }
}

#[cfg(feature = "ssr")]
impl From<service::Error> for RpcError {
    fn from(error: service::Error) -> Self {
        domain::Problem::from(error).into()
    }
}

/// RFC 9457 problem details, which the server returns for a request that it rejects before a server function runs.
#[derive(Deserialize)]
struct ProblemBody {
    status: u16,
    detail: String,
    #[serde(default)]
    errors: Vec<FieldError>,
    #[serde(default)]
    conflict: Option<ConflictSpan>,
}

impl FromServerFnError for RpcError {
    type Encoder = JsonEncoding;

    fn from_server_fn_error(error: ServerFnErrorErr) -> Self {
        // The conversion also sets the status of the response.
        Self::from(match error {
            ServerFnErrorErr::Request(_) => Problem::new(
                ProblemKind::Unavailable,
                "Berth cannot be reached. Check your connection. Retrying automatically…",
            ),
            // The body of a request: not UTF-8, not JSON, or not the arguments of the function.
            ServerFnErrorErr::Args(text)
            | ServerFnErrorErr::MissingArg(text)
            | ServerFnErrorErr::Deserialization(text) => Problem::malformed(format!(
                "The request cannot be read: {}. Reload the page.",
                text.trim_end_matches('.')
            )),
            _ => Problem::internal(),
        })
    }

    fn de(data: leptos::server_fn::Bytes) -> Self {
        let text = String::from_utf8_lossy(&data);
        if let Ok(problem) = domain::json::from_text(&text) {
            return Self(problem);
        }
        match domain::json::from_text::<ProblemBody>(&text) {
            Ok(body) => {
                let kind = ProblemKind::ALL.into_iter().find(|kind| kind.status() == body.status);
                let mut problem = Problem::new(kind.unwrap_or(ProblemKind::Internal), body.detail);
                problem.errors = body.errors;
                problem.conflict = body.conflict;
                Self(problem)
            }
            Err(_) => invalid_response(),
        }
    }
}
