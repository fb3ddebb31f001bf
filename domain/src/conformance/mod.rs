//! Certification of a receiver: the checks, the requests of each check, and the rules for the verdicts.
//!
//! [`plan`] creates the requests, the crate `delivery` sends them, and [`judge`] decides on the answers. Every request is
//! a test event.

pub mod judge;
pub mod plan;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use strum::VariantArray as _;

/// A property of a receiver, in the order of the checks.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    strum::IntoStaticStr,
    strum::EnumString,
    strum::VariantArray,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Check {
    /// Accepts a valid `reservation.created`.
    Created,
    /// Accepts a valid `reservation.updated`.
    Updated,
    /// Accepts a valid `reservation.cancelled`.
    Cancelled,
    /// Accepts a valid `reservation.expired`.
    Expired,
    /// Accepts a valid `user.access_requested`.
    AccessRequested,
    /// Berth can interpret the responses.
    Response,
    /// Responds well within the time limit.
    ResponseTime,
    /// Processes an event once.
    Duplicate,
    /// Accepts an event that arrives late.
    LateRetry,
    /// Rejects a signature with another secret.
    WrongSignature,
    /// Rejects a request without signature.
    MissingSignature,
    /// Rejects an incomplete signature.
    ShortenedSignature,
    /// Rejects a changed body of an event that it knows.
    ChangedBody,
    /// Rejects an old, recorded request.
    OldTimestamp,
    /// Rejects a wrong API key or token.
    Credentials,
    /// Verifies the exact bytes of the body.
    RawBody,
    /// Reads UTF-8.
    NonAscii,
    /// Accepts empty optional fields.
    EmptyFields,
    /// Ignores unknown fields and headers.
    UnknownFields,
    /// Ignores unknown event types.
    UnknownEvent,
    /// Accepts a large body.
    LargeBody,
    /// Accepts an update that arrives before the reservation was created.
    UpdateFirst,
    /// Accepts the cancellation of an unknown reservation.
    CancelUnknown,
    /// Accepts a cancellation while it provisions.
    CancelWhileProvisioning,
    /// Accepts a request with two signatures, after it has the new secret.
    RotationNew,
    /// Accepts a request with two signatures, while it has the old secret.
    RotationOld,
    /// Has a health path.
    Health,
}

impl Check {
    /// Every check, in the order in which they run.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The wire name, e.g. `wrong_signature`.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The check with this name. `-` counts as `_`.
    pub fn parse(name: &str) -> Option<Self> {
        name.trim().replace('-', "_").parse().ok()
    }

    /// The property that a receiver should have.
    pub fn title(self) -> &'static str {
        match self {
            Self::Created => "Accepts reservation.created",
            Self::Updated => "Accepts reservation.updated",
            Self::Cancelled => "Accepts reservation.cancelled",
            Self::Expired => "Accepts reservation.expired",
            Self::AccessRequested => "Accepts user.access_requested",
            Self::Response => "Sends responses that Berth can read",
            Self::ResponseTime => "Responds in time",
            Self::Duplicate => "Processes an event once",
            Self::LateRetry => "Accepts a late retry",
            Self::WrongSignature => "Rejects a wrong signature",
            Self::MissingSignature => "Rejects a missing signature",
            Self::ShortenedSignature => "Rejects a shortened signature",
            Self::ChangedBody => "Rejects a changed body",
            Self::OldTimestamp => "Rejects an old timestamp",
            Self::Credentials => "Rejects wrong credentials",
            Self::RawBody => "Verifies the raw body",
            Self::NonAscii => "Reads UTF-8",
            Self::EmptyFields => "Accepts empty fields",
            Self::UnknownFields => "Ignores unknown fields",
            Self::UnknownEvent => "Ignores unknown events",
            Self::LargeBody => "Accepts a large body",
            Self::UpdateFirst => "Accepts an update before the creation",
            Self::CancelUnknown => "Accepts the cancellation of an unknown reservation",
            Self::CancelWhileProvisioning => "Accepts a cancellation while provisioning",
            Self::RotationNew => "Rotation: accepts requests with the new secret",
            Self::RotationOld => "Rotation: accepts requests with the old secret",
            Self::Health => "Has a health path",
        }
    }

    /// The checks without whose success this one says nothing.
    pub fn requires(self) -> &'static [Self] {
        match self {
            Self::Created | Self::Health => &[],
            Self::Expired | Self::CancelUnknown | Self::CancelWhileProvisioning => &[Self::Created, Self::Cancelled],
            Self::UpdateFirst => &[Self::Created, Self::Updated],
            Self::MissingSignature | Self::ShortenedSignature | Self::ChangedBody | Self::OldTimestamp => {
                &[Self::Created, Self::WrongSignature]
            }
            Self::LargeBody => &[Self::Created, Self::RawBody],
            Self::RotationOld => &[Self::Created, Self::RotationNew],
            _ => &[Self::Created],
        }
    }
}

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Verdict {
    /// The receiver has the property.
    Passed,
    /// The receiver works, but not as well as it should.
    Warning,
    /// The receiver does not have the property.
    Failed,
    /// The check did not run, or says nothing.
    Skipped,
}

impl Verdict {
    /// The wire name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A request of a check and its response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConformanceExchange {
    /// The request in words, e.g. `reservation.created, signed with another secret`.
    pub sent: String,
    /// The called URL.
    pub url: String,
    /// The response in words, e.g. `401`, or why there is none.
    pub received: String,
    /// The status code; null without a response.
    pub status_code: Option<u16>,
    /// The duration in milliseconds.
    pub duration_ms: f64,
}

/// A check with its verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CheckResult {
    /// The check.
    pub check: Check,
    /// The property that a receiver should have.
    pub title: String,
    /// The verdict.
    pub verdict: Verdict,
    /// What to change, or why the check was skipped, in one sentence; `""` if it passed.
    pub remedy: String,
    /// The requests in the order sent.
    pub exchanges: Vec<ConformanceExchange>,
}

/// The report on a receiver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConformanceReport {
    /// The endpoint URL.
    pub endpoint_url: String,
    /// Start time.
    pub started_at: DateTime<Utc>,
    /// Duration in milliseconds.
    pub duration_ms: f64,
    /// Number of passed checks.
    pub passed: usize,
    /// Number of warnings.
    pub warnings: usize,
    /// Number of failed checks. The receiver conforms if it is 0.
    pub failed: usize,
    /// Number of skipped checks.
    pub skipped: usize,
    /// The checks in the order of their run.
    pub checks: Vec<CheckResult>,
}

impl ConformanceReport {
    /// The report on checks.
    pub fn new(endpoint_url: String, started_at: DateTime<Utc>, duration_ms: f64, checks: Vec<CheckResult>) -> Self {
        let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
        Self {
            endpoint_url,
            started_at,
            duration_ms,
            passed: count(Verdict::Passed),
            warnings: count(Verdict::Warning),
            failed: count(Verdict::Failed),
            skipped: count(Verdict::Skipped),
            checks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn required_checks_run_before_those_that_require_them() {
        for check in Check::ALL {
            assert!(check.requires().iter().all(|required| required < check), "{check:?}");
            assert_eq!(Check::parse(check.as_str()), Some(*check));
            assert_eq!(Check::parse(&check.as_str().replace('_', "-")), Some(*check));
        }
        assert_eq!(Check::parse("unknown"), None);
    }

    #[test]
    fn report_counts_verdicts_and_is_read_by_the_page() {
        let exchange = ConformanceExchange {
            sent: "GET".into(),
            url: "https://a.example/health".into(),
            received: "404".into(),
            status_code: Some(404),
            duration_ms: 1.5,
        };
        let result = |check: Check, verdict, exchanges| CheckResult {
            check,
            title: check.title().into(),
            verdict,
            remedy: String::new(),
            exchanges,
        };
        let checks = vec![
            result(Check::Created, Verdict::Passed, vec![]),
            result(Check::Health, Verdict::Failed, vec![exchange]),
        ];
        let report = ConformanceReport::new("https://a.example".into(), DateTime::UNIX_EPOCH, 2.0, checks);
        assert_eq!((report.passed, report.warnings, report.failed, report.skipped), (1, 0, 1, 0));
        let text = crate::json::to_text(&report).unwrap();
        assert_eq!(crate::json::from_text::<ConformanceReport>(&text), Ok(report));
    }
}
