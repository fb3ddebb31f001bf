//! Alerts about webhooks: rules with hysteresis, their evaluation, and the notices that are sent.

mod channel;
mod evaluation;
mod notice;

pub use channel::{
    AlertChannels, AlertChannelsInput, AlertPreferences, ChannelResult, ChannelStatus, ChannelTest, NoticeFormat,
    OperationsWebhook, OperationsWebhookInput, mask_url,
};
pub use evaluation::{Condition, Step, Transition};
pub use notice::{Notice, NoticeAlert, NoticeKind, NoticeWebhook, SlackNotice};

use crate::id::WebhookId;
use crate::problem::{FieldError, Validator};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Maximum time in seconds for which a condition must last before an alert fires: one day.
pub const MAX_FOR_SECONDS: u32 = 86_400;
/// Minimum number of attempts from which `error_rate` and `p95_latency` are computed.
pub const MIN_ATTEMPTS: u64 = 5;
/// Length of the period of `error_rate` and `p95_latency` in seconds.
pub const RATE_WINDOW_SECONDS: i64 = 900;
/// Maximum number of failed attempts that `consecutive_failures` counts.
pub const MAX_CONSECUTIVE: u32 = 100;

/// What a rule measures.
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
pub enum AlertKind {
    /// Share of attempts of the last 15 minutes that failed, 0 to 1. Needs 5 attempts.
    ErrorRate,
    /// Number of the newest attempts that failed in a row.
    ConsecutiveFailures,
    /// 95th percentile of the duration of the attempts of the last 15 minutes, in milliseconds. Needs 5 attempts.
    P95Latency,
    /// Time since the earliest due time of a queued delivery, in seconds, also while the webhook is paused.
    BacklogAge,
    /// Number of health checks that failed in a row.
    Health,
    /// Days until a certificate expires: that of the endpoint, or the client certificate of the webhook, whichever is first. The
    /// alert fires below the threshold.
    CertificateExpiry,
    /// 1 if the receiver responded 410 Gone or Berth paused the webhook, 0 otherwise.
    Disabled,
}

impl AlertKind {
    /// Every kind, in the order of the rules.
    pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

    /// The wire name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The kind with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    /// Whether the alert fires at low values.
    pub fn fires_below(self) -> bool {
        self == Self::CertificateExpiry
    }

    /// The name on screens and in messages.
    pub fn label(self) -> &'static str {
        match self {
            Self::ErrorRate => "Error rate",
            Self::ConsecutiveFailures => "Consecutive failures",
            Self::P95Latency => "95th percentile of the duration",
            Self::BacklogAge => "Age of the queue",
            Self::Health => "Failed health checks",
            Self::CertificateExpiry => "Certificate expiry",
            Self::Disabled => "Disabled",
        }
    }

    /// A value of this kind with its unit, e.g. `42 %`.
    pub fn format(self, value: f64) -> String {
        match self {
            Self::ErrorRate => format!("{:.0} %", value * 100.0),
            Self::ConsecutiveFailures | Self::Health => format!("{value:.0}"),
            Self::P95Latency if value < 1_000.0 => format!("{value:.0} ms"),
            Self::P95Latency => format!("{:.1} s", value / 1_000.0),
            Self::BacklogAge => duration(value),
            Self::CertificateExpiry if value < 0.0 => "expired".to_owned(),
            Self::CertificateExpiry => format!("{value:.0} days"),
            Self::Disabled => if value >= 1.0 { "yes" } else { "no" }.to_owned(),
        }
    }

    /// The largest threshold.
    fn max(self) -> f64 {
        match self {
            Self::ErrorRate | Self::Disabled => 1.0,
            Self::ConsecutiveFailures | Self::Health => f64::from(MAX_CONSECUTIVE),
            Self::P95Latency => 30_000.0,
            Self::BacklogAge => 2_592_000.0,
            Self::CertificateExpiry => 365.0,
        }
    }

    /// The smallest threshold at which an alert can fire.
    fn min(self) -> f64 {
        match self {
            Self::ErrorRate => 0.01,
            Self::CertificateExpiry => 0.0,
            _ => 1.0,
        }
    }
}

/// A duration in seconds, rounded to its largest unit.
fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        format!("{seconds:.0} s")
    } else if seconds < 3_600.0 || (seconds < 7_200.0 && seconds % 3_600.0 != 0.0) {
        format!("{:.0} min", seconds / 60.0)
    } else if seconds < 172_800.0 {
        format!("{:.0} h", seconds / 3_600.0)
    } else {
        format!("{:.0} days", seconds / 86_400.0)
    }
}

/// A rule: when an alert fires, and when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AlertRule {
    /// What is measured, and its unit.
    pub kind: AlertKind,
    /// Whether the rule is applied.
    pub enabled: bool,
    /// The alert fires at this value and above; `certificate_expiry` at this value and below.
    pub threshold: f64,
    /// The alert ends at this value and below; `certificate_expiry` at this value and above. Between both thresholds it
    /// stays as it is (hysteresis).
    pub clear_threshold: f64,
    /// Time in seconds for which the condition must last before the alert fires, at most one day.
    pub for_seconds: u32,
}

impl AlertRule {
    /// Berth's own rule of a kind.
    pub fn built_in(kind: AlertKind) -> Self {
        let (threshold, clear_threshold, for_seconds) = match kind {
            AlertKind::ErrorRate => (0.5, 0.2, 300),
            AlertKind::ConsecutiveFailures => (5.0, 0.0, 120),
            AlertKind::P95Latency => (10_000.0, 5_000.0, 600),
            AlertKind::BacklogAge => (3_600.0, 300.0, 0),
            AlertKind::Health => (2.0, 0.0, 0),
            AlertKind::CertificateExpiry => (21.0, 30.0, 0),
            AlertKind::Disabled => (1.0, 0.0, 0),
        };
        Self { kind, enabled: true, threshold, clear_threshold, for_seconds }
    }

    /// The invalid fields.
    fn errors(&self) -> Vec<FieldError> {
        let (min, max) = (self.kind.min(), self.kind.max());
        let mut validator = Validator::new();
        if !(min..=max).contains(&self.threshold) {
            validator.error("threshold", format!("Choose a value from {min} to {max}."));
        }
        let is_on_other_side = if self.kind.fires_below() {
            self.clear_threshold >= self.threshold && self.clear_threshold <= max
        } else {
            self.clear_threshold <= self.threshold && self.clear_threshold >= 0.0
        };
        if !is_on_other_side {
            let message = if self.kind.fires_below() {
                format!("Choose a value from the threshold to {max}.")
            } else {
                "Choose a value from 0 to the threshold.".to_owned()
            };
            validator.error("clear_threshold", message);
        }
        if self.for_seconds > MAX_FOR_SECONDS {
            validator.error("for_seconds", format!("At most {MAX_FOR_SECONDS} seconds, which is one day."));
        }
        validator.errors().to_vec()
    }
}

/// The rules for every webhook without rules of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AlertRules {
    /// One rule of each kind.
    pub rules: Vec<AlertRule>,
}

/// Body of `PUT /api/v1/alerts/rules`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AlertRulesInput {
    /// At most one rule of each kind. For other kinds, Berth's own rules apply.
    pub rules: Vec<AlertRule>,
}

/// Checks rules: their values, and that no kind occurs twice. Adds errors for the field `rules`.
pub fn check_rules(rules: &[AlertRule], validator: &mut Validator) {
    for (n, rule) in rules.iter().enumerate() {
        validator.nest(&format!("rules.{n}"), rule.errors());
        if rules[..n].iter().any(|other| other.kind == rule.kind) {
            validator.error(format!("rules.{n}.kind"), "Each kind occurs once at most. Remove this rule.");
        }
    }
}

/// The rule of a kind: the webhook's own, else that for all webhooks, else Berth's own. The flag states whether it is the
/// webhook's own.
pub fn effective_rule(kind: AlertKind, own: &[AlertRule], defaults: &[AlertRule]) -> (AlertRule, bool) {
    let find = |rules: &[AlertRule]| rules.iter().find(|rule| rule.kind == kind).copied();
    match find(own) {
        Some(rule) => (rule, true),
        None => (find(defaults).unwrap_or_else(|| AlertRule::built_in(kind)), false),
    }
}

/// The state of a rule for one webhook.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr, strum::EnumString,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum AlertStatus {
    /// The condition is not met.
    #[default]
    Ok,
    /// The condition is met, but not yet for long enough.
    Pending,
    /// The alert is active.
    Firing,
}

impl AlertStatus {
    /// The wire name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The status with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// An alert that fires or has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Alert {
    /// A positive integer.
    pub id: i64,
    /// The webhook.
    pub webhook_id: WebhookId,
    /// Its name.
    pub webhook_name: String,
    /// What was measured, and the unit of the values.
    pub kind: AlertKind,
    /// The value at which the alert fired.
    pub value: f64,
    /// The threshold at that time.
    pub threshold: f64,
    /// One sentence.
    pub message: String,
    /// Time at which it fired.
    pub fired_at: DateTime<Utc>,
    /// Time at which it ended; null while it fires.
    pub resolved_at: Option<DateTime<Utc>>,
    /// End of the time in which no notices are sent; null if they are sent.
    pub muted_until: Option<DateTime<Utc>>,
}

/// Filter of `GET /api/v1/alerts`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(default)]
pub struct AlertFilter {
    /// Only alerts of this webhook.
    pub webhook_id: Option<WebhookId>,
    /// Only those that fire (`true`), or only those that have ended (`false`).
    pub firing: Option<bool>,
}

/// Body of `POST /api/v1/webhooks/{id}/alerts/mute`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct MuteInput {
    /// Only the rule of this kind; every rule when absent.
    pub kind: Option<AlertKind>,
    /// No notices are sent before this time, at most 30 days from now; null ends the mute.
    #[serde(deserialize_with = "crate::timestamp::deserialize_optional")]
    pub until: Option<DateTime<Utc>>,
}

/// The certificate that an alert is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExpiringCertificate {
    /// That of the endpoint.
    #[default]
    Endpoint,
    /// The client certificate of the webhook.
    Client,
}

impl ExpiringCertificate {
    fn describe(self) -> &'static str {
        match self {
            Self::Endpoint => "certificate",
            Self::Client => "client certificate",
        }
    }
}

/// The sentence that describes an alert. `certificate` is the one that expires first.
pub fn alert_message(webhook: &str, rule: &AlertRule, value: f64, certificate: ExpiringCertificate) -> String {
    let kind = rule.kind;
    let certificate = certificate.describe();
    let (value, threshold) = (kind.format(value), kind.format(rule.threshold));
    match kind {
        AlertKind::ErrorRate => {
            format!("{value} of the attempts to {webhook} failed within 15 minutes (threshold {threshold}).")
        }
        AlertKind::ConsecutiveFailures => {
            format!("The last {value} attempts to {webhook} failed (threshold {threshold}).")
        }
        AlertKind::P95Latency => {
            format!("95 % of the attempts to {webhook} take up to {value} (threshold {threshold}).")
        }
        AlertKind::BacklogAge => {
            format!("Deliveries to {webhook} have been queued for {value} (threshold {threshold}).")
        }
        AlertKind::Health => format!("The last {value} health checks of {webhook} failed (threshold {threshold})."),
        AlertKind::CertificateExpiry if value == "expired" => format!("The {certificate} of {webhook} has expired."),
        AlertKind::CertificateExpiry => {
            format!("The {certificate} of {webhook} expires in {value} (threshold {threshold}).")
        }
        AlertKind::Disabled => format!("{webhook} is disabled or was paused by Berth. Its events are kept."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_rules_are_valid() {
        let rules: Vec<AlertRule> = AlertKind::ALL.iter().map(|kind| AlertRule::built_in(*kind)).collect();
        let mut validator = Validator::new();
        check_rules(&rules, &mut validator);
        validator.finish().unwrap();
    }

    #[test]
    fn rule_rejects_thresholds_on_the_wrong_side_and_duplicates() {
        let rule = AlertRule::built_in(AlertKind::ErrorRate);
        let certificate = AlertRule::built_in(AlertKind::CertificateExpiry);
        for (rules, field) in [
            (vec![AlertRule { threshold: 1.5, ..rule }], "rules.0.threshold"),
            (vec![AlertRule { threshold: f64::NAN, ..rule }], "rules.0.threshold"),
            (vec![AlertRule { clear_threshold: 0.6, ..rule }], "rules.0.clear_threshold"),
            (vec![AlertRule { clear_threshold: -0.1, ..rule }], "rules.0.clear_threshold"),
            (vec![AlertRule { clear_threshold: 20.0, ..certificate }], "rules.0.clear_threshold"),
            (vec![AlertRule { for_seconds: 86_401, ..rule }], "rules.0.for_seconds"),
            (vec![certificate, rule, certificate], "rules.2.kind"),
        ] {
            let mut validator = Validator::new();
            check_rules(&rules, &mut validator);
            let problem = validator.finish().unwrap_err();
            assert!(problem.message_for(field).is_some(), "{field}: {problem:?}");
        }
    }

    #[test]
    fn own_rule_precedes_default_and_built_in() {
        let kind = AlertKind::Health;
        let built_in = AlertRule::built_in(kind);
        let default = AlertRule { threshold: 3.0, ..built_in };
        let own = AlertRule { threshold: 4.0, ..built_in };
        assert_eq!(effective_rule(kind, &[own], &[default]), (own, true));
        assert_eq!(effective_rule(kind, &[], &[default]), (default, false));
        assert_eq!(effective_rule(kind, &[], &[]), (built_in, false));
    }

    #[test]
    fn values_have_units() {
        for (kind, value, text) in [
            (AlertKind::ErrorRate, 0.42, "42 %"),
            (AlertKind::P95Latency, 250.0, "250 ms"),
            (AlertKind::P95Latency, 1_500.0, "1.5 s"),
            (AlertKind::BacklogAge, 45.0, "45 s"),
            (AlertKind::BacklogAge, 3_600.0, "1 h"),
            (AlertKind::BacklogAge, 5_400.0, "90 min"),
            (AlertKind::BacklogAge, 10_800.0, "3 h"),
            (AlertKind::BacklogAge, 259_200.0, "3 days"),
            (AlertKind::CertificateExpiry, 7.2, "7 days"),
            (AlertKind::CertificateExpiry, -1.0, "expired"),
            (AlertKind::Disabled, 1.0, "yes"),
        ] {
            assert_eq!(kind.format(value), text);
        }
        let rule = AlertRule::built_in(AlertKind::CertificateExpiry);
        let message = |value, certificate| alert_message("GPU", &rule, value, certificate);
        assert_eq!(message(-2.0, ExpiringCertificate::Endpoint), "The certificate of GPU has expired.");
        let expected = "The client certificate of GPU expires in 3 days (threshold 21 days).";
        assert_eq!(message(3.0, ExpiringCertificate::Client), expected);
    }
}
