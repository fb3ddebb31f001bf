//! The monitoring of webhooks: settings, the last results, and the automatic pause.

use crate::db::codec::time;
use crate::db::column::Text;
use domain::webhook::{
    CertificateStatus, DEFAULT_HEALTH_INTERVAL, HealthCheck, HealthCheckStatus, MonitoringSettings, TokenStatus,
};
use sea_orm::entity::prelude::*;

/// The monitoring of one webhook. Without a row it has the default settings and no results.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "webhook_monitors")]
pub(crate) struct Model {
    /// The webhook.
    #[sea_orm(primary_key, auto_increment = false)]
    pub webhook_id: i64,
    /// Path of the health check; NULL = no health checks.
    pub health_path: Option<String>,
    /// Interval of health checks in seconds.
    pub health_interval: i64,
    /// Time of failure in minutes before an automatic pause; NULL = no automatic pause.
    pub pause_after: Option<i64>,
    /// Whether Berth resumes the webhook when its health checks pass again.
    pub resume_on_recovery: bool,
    /// Time of the next health check, which a process moves into the future while it checks (lease).
    pub next_check_at: Option<i64>,
    /// Result of the last health check.
    pub health_status: Text<HealthCheckStatus>,
    /// Its status code.
    pub status_code: Option<i32>,
    /// Its duration.
    pub duration_ms: Option<f64>,
    /// Why it failed.
    pub health_error: Option<String>,
    /// Its time.
    pub checked_at: Option<i64>,
    /// Start of the present result.
    pub health_since: Option<i64>,
    /// Number of health checks that failed in a row.
    pub failed_checks: i32,
    /// End of the validity of the certificate.
    pub certificate_expires_at: Option<i64>,
    /// Time of the connection with the certificate.
    pub certificate_seen_at: Option<i64>,
    /// Time at which the last OAuth token was issued.
    pub token_obtained_at: Option<i64>,
    /// End of the validity of the token.
    pub token_expires_at: Option<i64>,
    /// Why the last token request failed.
    pub token_error: Option<String>,
    /// Time of the last failure.
    pub token_failed_at: Option<i64>,
    /// Time of the automatic pause; NULL without one.
    pub paused_at: Option<i64>,
    /// Start of the failure that caused it.
    pub pause_failing_since: Option<i64>,
    /// Time at which health checks passed again.
    pub recovered_at: Option<i64>,
    /// The webhook.
    #[sea_orm(belongs_to, from = "webhook_id", to = "id", skip_fk)]
    pub webhook: BelongsTo<super::webhooks::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// The row of a webhook whose monitoring was never changed.
    pub(crate) fn new(webhook_id: i64) -> Self {
        Self {
            webhook_id,
            health_path: None,
            health_interval: DEFAULT_HEALTH_INTERVAL.into(),
            pause_after: None,
            resume_on_recovery: false,
            next_check_at: None,
            health_status: Text(HealthCheckStatus::Unknown),
            status_code: None,
            duration_ms: None,
            health_error: None,
            checked_at: None,
            health_since: None,
            failed_checks: 0,
            certificate_expires_at: None,
            certificate_seen_at: None,
            token_obtained_at: None,
            token_expires_at: None,
            token_error: None,
            token_failed_at: None,
            paused_at: None,
            pause_failing_since: None,
            recovered_at: None,
        }
    }

    /// The settings.
    pub(crate) fn settings(&self) -> MonitoringSettings {
        let number = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
        MonitoringSettings {
            health_path: self.health_path.clone(),
            health_interval_seconds: number(self.health_interval),
            pause_after_minutes: self.pause_after.map(number),
            resume_on_recovery: self.resume_on_recovery,
        }
    }

    /// The last health check; unknown without a path.
    pub(crate) fn health(&self) -> HealthCheck {
        if self.health_path.is_none() {
            return HealthCheck::default();
        }
        HealthCheck {
            status: self.health_status.0,
            status_code: self.status_code.and_then(|code| u16::try_from(code).ok()),
            duration_ms: self.duration_ms,
            error: self.health_error.clone(),
            checked_at: self.checked_at.map(time),
            since: self.health_since.map(time),
            failed_checks: self.failed_checks.unsigned_abs(),
        }
    }

    /// The certificate of the last connection.
    pub(crate) fn certificate(&self) -> Option<CertificateStatus> {
        let (expires_at, seen_at) = self.certificate_expires_at.zip(self.certificate_seen_at)?;
        Some(CertificateStatus { expires_at: time(expires_at), seen_at: time(seen_at) })
    }

    /// The last OAuth token.
    pub(crate) fn token(&self) -> TokenStatus {
        TokenStatus {
            obtained_at: self.token_obtained_at.map(time),
            expires_at: self.token_expires_at.map(time),
            error: self.token_error.clone(),
            failed_at: self.token_failed_at.map(time),
        }
    }
}
