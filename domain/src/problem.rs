//! The error type of Berth (RFC 9457 problem details), for the API and the page.

use crate::id::ResourceId;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The kind of a problem: an HTTP status, a title and a stable `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// The request cannot be parsed (for example invalid JSON).
    Malformed,
    /// The credential is missing or invalid.
    Unauthenticated,
    /// The password is correct, and the log-in needs a second factor.
    SecondFactorRequired,
    /// The user is authenticated but may not do this.
    Forbidden,
    /// The user must confirm the change: enter a credential again, then repeat the request.
    ConfirmationRequired,
    /// The user must set up a second factor before anything else.
    SecondFactorSetupRequired,
    /// The object does not exist, or the user may not see it.
    NotFound,
    /// The path exists, but not with this method.
    MethodNotAllowed,
    /// The request conflicts with the current state (overlap, duplicate, transition).
    Conflict,
    /// The object has another revision than the request expects (`If-Match`).
    PreconditionFailed,
    /// The body is larger than accepted.
    TooLarge,
    /// The body is not `application/json`.
    UnsupportedMediaType,
    /// Fields are invalid; `errors` lists them.
    Invalid,
    /// The request names a host that this server does not serve (DNS rebinding protection).
    Misdirected,
    /// Too many requests; `retry_after` is the number of seconds to wait.
    RateLimited,
    /// The request comes from another site (CSRF protection).
    ForeignOrigin,
    /// An internal error; details are in the log only.
    Internal,
    /// The server is starting or stopping, or its database is unavailable.
    Unavailable,
}

impl ProblemKind {
    /// Every kind, for exhaustive tests and documentation.
    pub const ALL: [ProblemKind; 18] = [
        Self::Malformed,
        Self::Unauthenticated,
        Self::SecondFactorRequired,
        Self::Forbidden,
        Self::ConfirmationRequired,
        Self::SecondFactorSetupRequired,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::PreconditionFailed,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::Invalid,
        Self::Misdirected,
        Self::RateLimited,
        Self::ForeignOrigin,
        Self::Internal,
        Self::Unavailable,
    ];

    /// The HTTP status code (RFC 9110) of this kind.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Unauthenticated | Self::SecondFactorRequired => 401,
            Self::Forbidden | Self::ConfirmationRequired | Self::SecondFactorSetupRequired | Self::ForeignOrigin => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict => 409,
            Self::PreconditionFailed => 412,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Misdirected => 421,
            Self::Invalid => 422,
            Self::RateLimited => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }

    /// A short summary, the same for every occurrence (RFC 9457 `title`).
    pub fn title(self) -> &'static str {
        match self {
            Self::Malformed => "The request cannot be read",
            Self::Unauthenticated => "Session expired",
            Self::SecondFactorRequired => "Second factor required",
            Self::Forbidden => "Not allowed",
            Self::ConfirmationRequired => "Confirm this change",
            Self::SecondFactorSetupRequired => "Set up a second factor",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::Conflict => "Conflict",
            Self::PreconditionFailed => "Changed since it was read",
            Self::TooLarge => "The request is too large",
            Self::UnsupportedMediaType => "Send application/json",
            Self::Misdirected => "Unknown host",
            Self::Invalid => "Some fields are invalid",
            Self::RateLimited => "Too many requests",
            Self::ForeignOrigin => "The request comes from another site",
            Self::Internal => "Internal error",
            Self::Unavailable => "Berth is not available right now",
        }
    }

    /// The stable RFC 9457 `type`, a relative reference into the product's documentation.
    pub fn type_uri(self) -> &'static str {
        match self {
            Self::Malformed => "/problems/malformed",
            Self::Unauthenticated => "/problems/unauthenticated",
            Self::SecondFactorRequired => "/problems/second-factor-required",
            Self::Forbidden => "/problems/forbidden",
            Self::ConfirmationRequired => "/problems/confirmation-required",
            Self::SecondFactorSetupRequired => "/problems/second-factor-setup-required",
            Self::NotFound => "/problems/not-found",
            Self::MethodNotAllowed => "/problems/method-not-allowed",
            Self::Conflict => "/problems/conflict",
            Self::PreconditionFailed => "/problems/precondition-failed",
            Self::TooLarge => "/problems/too-large",
            Self::UnsupportedMediaType => "/problems/unsupported-media-type",
            Self::Misdirected => "/problems/misdirected",
            Self::Invalid => "/problems/invalid",
            Self::RateLimited => "/problems/rate-limited",
            Self::ForeignOrigin => "/problems/foreign-origin",
            Self::Internal => "/problems/internal",
            Self::Unavailable => "/problems/unavailable",
        }
    }
}

/// An invalid field and its remedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldError {
    /// The field's path in the JSON body, dotted: `auth.token_url`, `headers.0.name`.
    pub field: String,
    /// The error and its remedy, in one or two sentences.
    pub message: String,
}

/// The span of a reservation that overlaps the requested span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConflictSpan {
    /// Start.
    pub start_time: DateTime<Utc>,
    /// End, exclusive.
    pub end_time: DateTime<Utc>,
}

/// What is possible instead of an extension that overlaps another reservation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExtensionOffer {
    /// The latest end to which the reservation can be extended; null if the next one begins at its present end.
    pub extend_until: Option<DateTime<Utc>>,
    /// Other resources of the type that the caller may reserve and that are free from the present end to the requested one, at
    /// most 5.
    pub alternatives: Vec<AlternativeResource>,
}

/// A resource that is free for an extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AlternativeResource {
    /// The resource.
    pub id: ResourceId,
    /// Its name.
    pub name: String,
}

/// An error for a caller: the kind, a description, and the invalid fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The kind of problem.
    pub kind: ProblemKind,
    /// The cause and its remedy.
    pub detail: String,
    /// The invalid fields, for [`ProblemKind::Invalid`].
    #[serde(default)]
    pub errors: Vec<FieldError>,
    /// The span of the reservation that overlaps the requested one, for [`ProblemKind::Conflict`].
    #[serde(default)]
    pub conflict: Option<ConflictSpan>,
    /// What is possible instead of an extension that overlaps another reservation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<Box<ExtensionOffer>>,
    /// Seconds to wait, for [`ProblemKind::RateLimited`] and [`ProblemKind::Unavailable`].
    #[serde(default)]
    pub retry_after: Option<u64>,
}

impl Problem {
    /// A problem of `kind` with this detail.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new(), conflict: None, extension: None, retry_after: None }
    }

    /// [`ProblemKind::NotFound`] for an `object`, e.g. `"reservation"`.
    pub fn not_found(object: &str) -> Self {
        Self::new(ProblemKind::NotFound, format!("This {object} does not exist, or you do not have access to it."))
    }

    /// [`ProblemKind::Forbidden`] with the reason.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::Forbidden, detail)
    }

    /// [`ProblemKind::Conflict`] with the reason.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::Conflict, detail)
    }

    /// [`ProblemKind::Unauthenticated`] with the reason.
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::Unauthenticated, detail)
    }

    /// [`ProblemKind::RateLimited`] with the reason and the seconds to wait.
    pub fn rate_limited(detail: impl Into<String>, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..Self::new(ProblemKind::RateLimited, detail) }
    }

    /// [`ProblemKind::Malformed`] with the reason.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::Malformed, detail)
    }

    /// [`ProblemKind::Internal`]. The cause is in the log; the caller does not see it.
    pub fn internal() -> Self {
        Self::new(
            ProblemKind::Internal,
            "Try again. If it happens again, contact the operator: the server log contains the details.",
        )
    }

    /// [`ProblemKind::Invalid`] with one invalid field.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError { field: field.into(), message: message.into() }])
    }

    /// [`ProblemKind::Invalid`] with every invalid field; `errors` must not be empty.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("{}: {}", one.field, one.message),
            many => format!("{} fields are invalid.", many.len()),
        };
        Self { errors, ..Self::new(ProblemKind::Invalid, detail) }
    }

    /// The message for `field`, if it is invalid.
    pub fn message_for(&self, field: &str) -> Option<&str> {
        self.errors.iter().find(|e| e.field == field).map(|e| e.message.as_str())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.title(), self.detail)
    }
}

impl std::error::Error for Problem {}

/// Collects field errors during validation; [`Validator::finish`] returns them as one [`Problem`].
#[derive(Debug, Default)]
pub struct Validator {
    errors: Vec<FieldError>,
}

impl Validator {
    /// A validator without errors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an error for `field`.
    pub fn error(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.errors.push(FieldError { field: field.into(), message: message.into() });
    }

    /// Returns the value of a check, or adds its message as an error for `field`.
    pub fn check<T>(&mut self, field: impl Into<String>, result: Result<T, String>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(message) => {
                self.error(field, message);
                None
            }
        }
    }

    /// Adds the errors of a nested check; prefixes their fields with `prefix.`.
    pub fn nest(&mut self, prefix: &str, errors: Vec<FieldError>) {
        for e in errors {
            self.error(format!("{prefix}.{}", e.field), e.message);
        }
    }

    /// The errors so far.
    pub fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    /// Ends the validation.
    ///
    /// # Errors
    /// [`ProblemKind::Invalid`] with all collected errors.
    pub fn finish(self) -> Result<(), Problem> {
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::invalid(self.errors)) }
    }
}
