//! Monitoring of a webhook: health checks of its receiver, its certificate, its OAuth token, and the automatic pause.

use crate::alert::{AlertRule, AlertStatus, check_rules};
use crate::endpoint::same_origin;
use crate::problem::{Problem, Validator};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Interval of health checks in seconds without a setting.
pub const DEFAULT_HEALTH_INTERVAL: u32 = 60;
/// Limits of the interval of health checks in seconds.
pub const HEALTH_INTERVAL: std::ops::RangeInclusive<u32> = 10..=86_400;
/// Limits of the time of failure in minutes after which Berth pauses a webhook; at most one week.
pub const PAUSE_AFTER_MINUTES: std::ops::RangeInclusive<u32> = 1..=10_080;
/// Maximum length of a health check path.
const MAX_PATH: usize = 200;

/// The settings of the monitoring of a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MonitoringSettings {
    /// Path of the health check on the server of the endpoint, e.g. `/health`; null = no health checks.
    pub health_path: Option<String>,
    /// Interval of health checks in seconds.
    pub health_interval_seconds: u32,
    /// Time of failure in minutes after which Berth pauses the webhook; null = never.
    pub pause_after_minutes: Option<u32>,
    /// Whether Berth resumes a webhook that it paused, and redelivers what failed, when its health checks pass again.
    pub resume_on_recovery: bool,
}

impl Default for MonitoringSettings {
    fn default() -> Self {
        Self {
            health_path: None,
            health_interval_seconds: DEFAULT_HEALTH_INTERVAL,
            pause_after_minutes: None,
            resume_on_recovery: false,
        }
    }
}

impl MonitoringSettings {
    /// Checks the settings for a webhook with this endpoint.
    ///
    /// # Errors
    /// Names every invalid field.
    pub fn check(&self, endpoint_url: &str) -> Result<(), Problem> {
        let mut validator = Validator::new();
        if let Some(path) = &self.health_path {
            validator.check("health_path", health_url(endpoint_url, path));
        }
        if !HEALTH_INTERVAL.contains(&self.health_interval_seconds) {
            let (min, max) = (HEALTH_INTERVAL.start(), HEALTH_INTERVAL.end());
            validator.error("health_interval_seconds", format!("Choose {min} to {max} seconds."));
        }
        if self.pause_after_minutes.is_some_and(|minutes| !PAUSE_AFTER_MINUTES.contains(&minutes)) {
            let (min, max) = (PAUSE_AFTER_MINUTES.start(), PAUSE_AFTER_MINUTES.end());
            validator.error("pause_after_minutes", format!("Choose {min} to {max} minutes."));
        }
        if self.resume_on_recovery && self.health_path.is_none() {
            validator.error("resume_on_recovery", "Set a health check path: it detects the recovery.");
        }
        validator.finish()
    }
}

/// The URL of a health check. A path cannot lead to another server, because the endpoint's owner allowed only that one.
///
/// # Errors
/// A message for the field `health_path`.
pub fn health_url(endpoint_url: &str, path: &str) -> Result<String, String> {
    let invalid = || "Use a path of the endpoint's server that begins with /, e.g. /health.".to_owned();
    let is_plain = path.chars().all(|c| c.is_ascii_graphic() && c != '\\' && c != '#');
    if path.len() > MAX_PATH || !path.starts_with('/') || !is_plain {
        return Err(invalid());
    }
    let url = url::Url::parse(endpoint_url).and_then(|endpoint| endpoint.join(path)).map_err(|_| invalid())?;
    let url = String::from(url);
    if same_origin(endpoint_url, &url) { Ok(url) } else { Err(invalid()) }
}

/// Body of `PATCH /api/v1/webhooks/{id}/monitoring`; absent fields are unchanged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct MonitoringPatch {
    /// Path of the health check, e.g. `/health`; null = no health checks; absent = unchanged.
    #[serde(deserialize_with = "super::double_option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub health_path: Option<Option<String>>,
    /// Interval of health checks in seconds, 10 to 86,400.
    pub health_interval_seconds: Option<u32>,
    /// Time of failure in minutes after which Berth pauses the webhook, 1 to 10,080; null = never; absent = unchanged.
    #[serde(deserialize_with = "super::double_option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u32>))]
    pub pause_after_minutes: Option<Option<u32>>,
    /// Whether Berth resumes a webhook that it paused. Needs a health check.
    pub resume_on_recovery: Option<bool>,
    /// Alert rules of this webhook, which replace all earlier ones; those of other kinds are the rules for all webhooks.
    pub rules: Option<Vec<AlertRule>>,
}

impl MonitoringPatch {
    /// The settings after the patch.
    pub fn apply(&self, current: MonitoringSettings) -> MonitoringSettings {
        MonitoringSettings {
            health_path: self.health_path.clone().unwrap_or(current.health_path),
            health_interval_seconds: self.health_interval_seconds.unwrap_or(current.health_interval_seconds),
            pause_after_minutes: self.pause_after_minutes.unwrap_or(current.pause_after_minutes),
            resume_on_recovery: self.resume_on_recovery.unwrap_or(current.resume_on_recovery),
        }
    }

    /// Checks the rules.
    ///
    /// # Errors
    /// Names every invalid field.
    pub fn check_rules(&self) -> Result<(), Problem> {
        let mut validator = Validator::new();
        check_rules(self.rules.as_deref().unwrap_or_default(), &mut validator);
        validator.finish()
    }
}

/// The result of health checks.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr, strum::EnumString,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum HealthCheckStatus {
    /// No check has ended, or there is no health check.
    #[default]
    Unknown,
    /// The last response was 2xx.
    Passing,
    /// The last check had another response, or none.
    Failing,
}

impl HealthCheckStatus {
    /// The wire name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The status with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// The last health check.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HealthCheck {
    /// The status.
    pub status: HealthCheckStatus,
    /// Status code of the response; null without one.
    pub status_code: Option<u16>,
    /// Duration in milliseconds.
    pub duration_ms: Option<f64>,
    /// Why it failed; null if it passed.
    pub error: Option<String>,
    /// Time of the check.
    pub checked_at: Option<DateTime<Utc>>,
    /// Start of the present status.
    pub since: Option<DateTime<Utc>>,
    /// Number of checks that failed in a row.
    pub failed_checks: u32,
}

/// The TLS certificate of the endpoint, as of the last connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CertificateStatus {
    /// End of its validity.
    pub expires_at: DateTime<Utc>,
    /// Time of the connection.
    pub seen_at: DateTime<Utc>,
}

/// The OAuth token of a webhook. The token itself is not shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenStatus {
    /// Time at which the last token was issued; null if none was.
    pub obtained_at: Option<DateTime<Utc>>,
    /// End of its validity.
    pub expires_at: Option<DateTime<Utc>>,
    /// Why the last token request failed; null if it succeeded.
    pub error: Option<String>,
    /// Time of the last failure.
    pub failed_at: Option<DateTime<Utc>>,
}

impl TokenStatus {
    /// Time of the last token request.
    pub fn updated_at(&self) -> Option<DateTime<Utc>> {
        self.obtained_at.max(self.failed_at)
    }
}

/// The automatic pause of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AutomaticPause {
    /// Time at which Berth paused it.
    pub paused_at: DateTime<Utc>,
    /// Start of the failure.
    pub failing_since: DateTime<Utc>,
    /// Time at which its health checks passed again; null before.
    pub recovered_at: Option<DateTime<Utc>>,
    /// Deliveries that wait in the queue.
    pub queued: u64,
    /// Deliveries that failed since the start of the failure and were not redelivered.
    pub failed: u64,
}

/// A rule for one webhook with its state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WebhookRule {
    /// The rule that applies.
    pub rule: AlertRule,
    /// Whether it is the webhook's own.
    pub own: bool,
    /// Its state.
    pub status: AlertStatus,
    /// The last measurement; null without one.
    pub value: Option<f64>,
    /// Start of the state; null before the first evaluation.
    pub since: Option<DateTime<Utc>>,
    /// End of the time in which no notices are sent; null if they are sent.
    pub muted_until: Option<DateTime<Utc>>,
}

/// The monitoring of a webhook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WebhookMonitoring {
    /// The settings.
    pub settings: MonitoringSettings,
    /// The last health check.
    pub health: HealthCheck,
    /// The certificate; null before the first connection over TLS.
    pub certificate: Option<CertificateStatus>,
    /// The OAuth token; null with another authentication.
    pub token: Option<TokenStatus>,
    /// The automatic pause; null if Berth has not paused it.
    pub pause: Option<AutomaticPause>,
    /// One rule of each kind.
    pub rules: Vec<WebhookRule>,
}

/// Body of `POST /api/v1/webhooks/{id}/recover`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RecoverInput {
    /// Whether deliveries that failed since the start of the failure are redelivered too; true when absent.
    pub redeliver_failed: Option<bool>,
}

/// The start of a failure that causes an automatic pause: of deliveries that fail permanently, or of health checks after
/// which no delivery succeeded. `None` if nothing fails.
pub fn failure_start(
    failing_since: Option<DateTime<Utc>>,
    health: &HealthCheck,
    last_success: Option<DateTime<Utc>>,
) -> Option<DateTime<Utc>> {
    let health = health.since.filter(|since| {
        health.status == HealthCheckStatus::Failing && last_success.is_none_or(|success| success < *since)
    });
    match (failing_since, health) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Whether a receiver has recovered from the failure for which its webhook was paused: its health checks failed at some time,
/// and passed again after the pause. Checks that always passed say nothing about the failure.
pub fn has_recovered(paused_at: DateTime<Utc>, health: &HealthCheck) -> bool {
    health.status == HealthCheckStatus::Passing && health.since.is_some_and(|since| since > paused_at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::Duration;

    #[test]
    fn health_path_stays_on_the_server_of_the_endpoint() {
        let endpoint = "https://a.example:8443/api/webhook?x=1";
        assert_eq!(health_url(endpoint, "/health").unwrap(), "https://a.example:8443/health");
        assert_eq!(health_url(endpoint, "/health?deep=1").unwrap(), "https://a.example:8443/health?deep=1");
        for path in ["", "health", "//evil.example/", "/\\evil.example", "https://evil.example/", "/a b", "/a#b", "/ä"]
        {
            health_url(endpoint, path).unwrap_err();
        }
        health_url(endpoint, &format!("/{}", "a".repeat(200))).unwrap_err();
    }

    #[test]
    fn settings_are_checked() {
        let endpoint = "https://a.example/";
        MonitoringSettings::default().check(endpoint).unwrap();
        let settings = MonitoringSettings {
            health_path: None,
            health_interval_seconds: 9,
            pause_after_minutes: Some(0),
            resume_on_recovery: true,
        };
        let problem = settings.check(endpoint).unwrap_err();
        for field in ["health_interval_seconds", "pause_after_minutes", "resume_on_recovery"] {
            assert!(problem.message_for(field).is_some(), "{field}: {problem:?}");
        }
    }

    #[test]
    fn failure_begins_with_deliveries_or_with_health_checks_without_a_later_success() {
        let at = |minutes| Some(DateTime::UNIX_EPOCH + Duration::minutes(minutes));
        let failing =
            |since| HealthCheck { status: HealthCheckStatus::Failing, since: at(since), ..Default::default() };
        let passing = HealthCheck { status: HealthCheckStatus::Passing, since: at(1), ..Default::default() };
        assert_eq!(failure_start(None, &passing, None), None);
        assert_eq!(failure_start(at(3), &passing, None), at(3));
        assert_eq!(failure_start(at(3), &failing(2), None), at(2));
        assert_eq!(failure_start(None, &failing(2), at(1)), at(2));
        assert_eq!(failure_start(None, &failing(2), at(5)), None, "deliveries succeed although the check fails");
    }

    #[test]
    fn recovery_needs_a_check_that_failed_before() {
        let at = |minutes| DateTime::UNIX_EPOCH + Duration::minutes(minutes);
        let check = |status, since| HealthCheck { status, since: Some(at(since)), ..Default::default() };
        assert!(has_recovered(at(10), &check(HealthCheckStatus::Passing, 11)));
        assert!(!has_recovered(at(10), &check(HealthCheckStatus::Passing, 5)), "it passed during the failure");
        assert!(!has_recovered(at(10), &check(HealthCheckStatus::Failing, 11)));
    }
}
