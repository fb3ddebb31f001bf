//! Diagnoses: the cause of an attempt's failure, with a remedy.
//!
//! `transport` classifies failures before a response (DNS, connection, time limit), `tls` those of certificates and
//! handshakes, `head` malformed responses, `response` and `wrapped` responses.

mod head;
mod response;
mod tls;
mod transport;
mod wrapped;

pub(crate) use response::{error_text, of_failed_renewal, of_response};
pub(crate) use transport::{of_failure, of_token_failure};

use domain::delivery::{Diagnosis, DiagnosisCode};
use std::error::Error;
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
    /// The response's status line and headers are arriving.
    Head,
    /// The response's body is arriving.
    Reading,
}

impl Phase {
    /// The phase with this discriminant.
    pub(crate) fn from_number(number: u8) -> Self {
        [Self::Token, Self::Connecting, Self::Waiting, Self::Head, Self::Reading]
            .into_iter()
            .find(|phase| *phase as u8 == number)
            .unwrap_or(Self::Waiting)
    }
}

/// A failure that ended an exchange before its response was complete.
pub(crate) enum Failure {
    /// The stored URL cannot be parsed.
    InvalidUrl,
    /// The stored TLS settings cannot be used, for this reason.
    TlsSettings(String),
    /// The connection failed.
    Transport {
        /// The error of the connector or the HTTP client.
        error: Box<dyn Error + Send + Sync>,
        /// The first bytes of the response, if its head cannot be parsed.
        received: Vec<u8>,
    },
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
pub(crate) fn diagnosis(code: DiagnosisCode, message: impl Into<String>, hint: impl Into<String>) -> Diagnosis {
    let message: String = message.into().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Diagnosis { code, message, hint: hint.into() }
}
