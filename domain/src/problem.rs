//! The one error value of Berth, as RFC 9457 problem details; both doors (API and page) answer with it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What went wrong, as a closed list: every kind has a status, a title and a stable `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// The request could not be read (not JSON, wrong shape).
    Malformed,
    /// Nobody is logged in, or the credential is not valid.
    Unauthenticated,
    /// The person is known but may not do this.
    Forbidden,
    /// No such thing, or not for this person's eyes.
    NotFound,
    /// The path exists but not with this method.
    MethodNotAllowed,
    /// The request conflicts with the present state (overlap, duplicate, transition).
    Conflict,
    /// The body is larger than accepted.
    TooLarge,
    /// The body is not `application/json`.
    UnsupportedMediaType,
    /// Fields are invalid; `errors` names each of them.
    Invalid,
    /// Too many requests; `retry_after` says how many seconds to wait.
    RateLimited,
    /// The request comes from another site (CSRF protection).
    ForeignOrigin,
    /// A defect or an outage on our side; details are in the log only.
    Internal,
    /// The service is starting, stopping, or its database is away.
    Unavailable,
}

impl ProblemKind {
    /// Every kind, for exhaustive tests and documentation.
    pub const ALL: [ProblemKind; 13] = [
        Self::Malformed,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::Invalid,
        Self::RateLimited,
        Self::ForeignOrigin,
        Self::Internal,
        Self::Unavailable,
    ];

    /// The HTTP status code (RFC 9110) that goes with this kind.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden | Self::ForeignOrigin => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Invalid => 422,
            Self::RateLimited => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }

    /// A short human summary, the same for every occurrence (RFC 9457 `title`).
    pub fn title(self) -> &'static str {
        match self {
            Self::Malformed => "The request could not be read",
            Self::Unauthenticated => "Log in first",
            Self::Forbidden => "Not allowed",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::Conflict => "Conflict",
            Self::TooLarge => "The request is too large",
            Self::UnsupportedMediaType => "Send application/json",
            Self::Invalid => "Some fields are not valid",
            Self::RateLimited => "Too many requests",
            Self::ForeignOrigin => "The request comes from another site",
            Self::Internal => "Something went wrong on our side",
            Self::Unavailable => "Berth is not available right now",
        }
    }

    /// The stable RFC 9457 `type`, a relative reference into the product's documentation.
    pub fn type_uri(self) -> &'static str {
        match self {
            Self::Malformed => "/problems/malformed",
            Self::Unauthenticated => "/problems/unauthenticated",
            Self::Forbidden => "/problems/forbidden",
            Self::NotFound => "/problems/not-found",
            Self::MethodNotAllowed => "/problems/method-not-allowed",
            Self::Conflict => "/problems/conflict",
            Self::TooLarge => "/problems/too-large",
            Self::UnsupportedMediaType => "/problems/unsupported-media-type",
            Self::Invalid => "/problems/invalid",
            Self::RateLimited => "/problems/rate-limited",
            Self::ForeignOrigin => "/problems/foreign-origin",
            Self::Internal => "/problems/internal",
            Self::Unavailable => "/problems/unavailable",
        }
    }
}

/// One invalid field and its remedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldError {
    /// The field's path in the JSON body, dotted: `auth.token_url`, `headers.0.name`.
    pub field: String,
    /// What is wrong and what to do about it, as a sentence.
    pub message: String,
}

/// An error for a caller: kind, what happened, and the fields at fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What sort of problem.
    pub kind: ProblemKind,
    /// What happened this time and what to do, as a sentence fit for a person.
    pub detail: String,
    /// The fields at fault, for [`ProblemKind::Invalid`].
    #[serde(default)]
    pub errors: Vec<FieldError>,
    /// Seconds to wait, for [`ProblemKind::RateLimited`] and [`ProblemKind::Unavailable`].
    #[serde(default)]
    pub retry_after: Option<u64>,
}

impl Problem {
    /// A problem of `kind` with a sentence for the person.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new(), retry_after: None }
    }

    /// [`ProblemKind::NotFound`] for `what`, e.g. `"reservation"`.
    pub fn not_found(what: &str) -> Self {
        Self::new(ProblemKind::NotFound, format!("There is no such {what}, or you may not see it."))
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

    /// [`ProblemKind::Malformed`] with the reason.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::Malformed, detail)
    }

    /// [`ProblemKind::Internal`]: the caller learns nothing of the cause, which belongs in the log.
    pub fn internal() -> Self {
        Self::new(
            ProblemKind::Internal,
            "Please try again. If it happens again, tell the operator; the log has the details.",
        )
    }

    /// [`ProblemKind::Invalid`] with one field at fault.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError { field: field.into(), message: message.into() }])
    }

    /// [`ProblemKind::Invalid`] with all the fields at fault; `errors` must not be empty.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("{}: {}", one.field, one.message),
            many => format!("{} fields are not valid.", many.len()),
        };
        Self { kind: ProblemKind::Invalid, detail, errors, retry_after: None }
    }

    /// The message for `field`, if it is at fault.
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

/// Collects field errors while an input is checked; [`Validator::finish`] turns them into one [`Problem`].
#[derive(Debug, Default)]
pub struct Validator {
    errors: Vec<FieldError>,
}

impl Validator {
    /// Nothing at fault yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records that `field` is at fault.
    pub fn error(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.errors.push(FieldError { field: field.into(), message: message.into() });
    }

    /// Keeps a rule's value, or records its message under `field`.
    pub fn check<T>(&mut self, field: impl Into<String>, result: Result<T, String>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(message) => {
                self.error(field, message);
                None
            }
        }
    }

    /// Takes over the faults of a nested check, prefixing their fields with `prefix.`.
    pub fn nest(&mut self, prefix: &str, errors: Vec<FieldError>) {
        for e in errors {
            self.error(format!("{prefix}.{}", e.field), e.message);
        }
    }

    /// The faults so far.
    pub fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    /// `Ok` when nothing is at fault, else a [`ProblemKind::Invalid`] that names every field.
    ///
    /// # Errors
    /// The problem with all collected faults.
    pub fn finish(self) -> Result<(), Problem> {
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::invalid(self.errors)) }
    }
}
