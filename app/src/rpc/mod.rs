//! Server functions: the page's private door to the same use cases as the public API. Each calls one use case.
#![allow(
    missing_docs,
    reason = "the macro makes a structure of each function's arguments, whose fields cannot be documented"
)]

#[cfg(feature = "ssr")]
pub mod context;

pub mod accounts;
pub mod catalogue;
pub mod deliveries;
pub mod reservations;
pub mod session;
pub mod webhooks;

use domain::{FieldError, Problem, ProblemKind};
use leptos::server_fn::codec::JsonEncoding;
use leptos::server_fn::error::{FromServerFnError, ServerFnErrorErr};
use serde::{Deserialize, Serialize};

/// A [`Problem`] through the page's door.
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
        context::set_status(&problem);
        Self(problem)
    }
}

/// RFC 9457, as the server's guards answer before a server function runs.
#[derive(Deserialize)]
struct ProblemBody {
    status: u16,
    detail: String,
    #[serde(default)]
    errors: Vec<FieldError>,
}

impl FromServerFnError for RpcError {
    type Encoder = JsonEncoding;

    fn from_server_fn_error(error: ServerFnErrorErr) -> Self {
        Self(match error {
            ServerFnErrorErr::Request(_) => Problem::new(
                ProblemKind::Unavailable,
                "Berth cannot be reached. Check your connection; the page tries again when you do.",
            ),
            ServerFnErrorErr::Args(text) | ServerFnErrorErr::MissingArg(text) => Problem::malformed(text),
            _ => Problem::internal(),
        })
    }

    fn de(data: leptos::server_fn::Bytes) -> Self {
        if let Ok(error) = serde_json::from_slice::<Self>(&data) {
            return error;
        }
        match serde_json::from_slice::<ProblemBody>(&data) {
            Ok(body) => {
                let kind = ProblemKind::ALL.into_iter().find(|kind| kind.status() == body.status);
                let mut problem = Problem::new(kind.unwrap_or(ProblemKind::Internal), body.detail);
                problem.errors = body.errors;
                Self(problem)
            }
            Err(_) => Self(Problem::new(
                ProblemKind::Unavailable,
                "Berth's answer could not be read. It may be restarting; try again in a moment.",
            )),
        }
    }
}
