//! Diagnoses: the cause of an attempt's failure, with a remedy.
//!
//! `transport` classifies failures before a response (DNS, connection, TLS, time limit), `response` classifies
//! responses.

mod response;
mod transport;

pub(crate) use response::of_response;
pub(crate) use transport::of_failure;

use crate::ssrf::BlockedAddress;
use domain::delivery::{Diagnosis, DiagnosisCode};
use std::time::Duration;

/// The progress of an exchange, for the diagnosis of a timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Fetching an OAuth token.
    Token,
    /// Resolving, connecting, TLS.
    Connecting,
    /// The request was sent; no response has arrived.
    Waiting,
    /// The response's body is arriving.
    Reading,
}

impl Phase {
    /// The phase with this discriminant.
    pub(crate) fn from_number(number: u8) -> Self {
        [Self::Token, Self::Connecting, Self::Waiting, Self::Reading]
            .into_iter()
            .find(|phase| *phase as u8 == number)
            .unwrap_or(Self::Waiting)
    }
}

/// A failure that ended an exchange before its response was complete.
pub(crate) enum Failure {
    /// The stored URL cannot be parsed.
    InvalidUrl,
    /// The HTTP client of a test event could not be built.
    Client(String),
    /// The address is blocked.
    BlockedAddress(BlockedAddress),
    /// The token endpoint issued no token.
    Token(String),
    /// The token endpoint could not be reached.
    TokenTransport(reqwest::Error),
    /// The connection failed.
    Transport(reqwest::Error),
    /// The time limit was exceeded.
    TimedOut {
        /// The progress at that time.
        phase: Phase,
        /// The time limit.
        limit: Duration,
    },
}

/// Builds a diagnosis. Messages can quote the receiver: control characters are replaced, because PostgreSQL rejects NUL
/// and terminals interpret escape sequences.
fn diagnosis(code: DiagnosisCode, message: impl Into<String>, hint: impl Into<String>) -> Diagnosis {
    let message: String = message.into().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Diagnosis { code, message, hint: hint.into() }
}
