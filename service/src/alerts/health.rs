//! Health checks, and the observation of certificates and OAuth tokens.

use super::{Alerts, ensure_monitor, millis};
use crate::Result;
use crate::db::codec::time;
use crate::db::column::Text;
use crate::db::entity::{webhook_monitors, webhooks};
use crate::outbox::stored_tls;
use crate::webhooks::change_of;
use chrono::{DateTime, Duration, Utc};
use delivery::Destination;
use domain::Problem;
use domain::change::Change;
use domain::id::WebhookId;
use domain::webhook::{AuthView, HealthCheckStatus, TokenStatus, health_url};
use futures::StreamExt as _;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use std::time::Instant;

/// Maximum number of health checks that run at once.
const CONCURRENCY: usize = 8;
/// Maximum number of health checks of one batch.
const BATCH: u64 = 100;
/// Maximum number of characters of a stored error.
const MAX_ERROR: usize = 500;
/// Time beyond the time limit of a request for which a process has the right to check.
const LEASE_MARGIN: Duration = Duration::seconds(15);

/// A round of health checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthRound {
    /// Number of checks that this process made.
    pub checked: u64,
    /// Time of the next round; `None` without health checks.
    pub next: Option<DateTime<Utc>>,
}

impl Alerts {
    /// Waits until this process has changed a health check.
    pub async fn wait_for_health_change(&self) {
        self.health_wake.notified().await;
    }

    /// Runs the health checks that are due.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    #[tracing::instrument(skip_all, err(level = "debug"))]
    pub async fn check_due_health(&self) -> Result<HealthRound, Problem> {
        Ok(self.run_due().await?)
    }

    async fn run_due(&self) -> Result<HealthRound> {
        let now = millis(self.context.now());
        let monitors: Vec<(webhook_monitors::Model, Option<webhooks::Model>)> = webhook_monitors::Entity::find()
            .find_also_related(webhooks::Entity)
            .filter(webhook_monitors::COLUMN.next_check_at.is_not_null())
            .filter(webhooks::COLUMN.deleted_at.is_null())
            .order_by_asc(webhook_monitors::COLUMN.next_check_at)
            .limit(BATCH)
            .all(&self.context.db.read)
            .await?;
        let is_due = |monitor: &webhook_monitors::Model| monitor.next_check_at.is_some_and(|at| at <= now);
        let (due, later): (Vec<_>, Vec<_>) = monitors.into_iter().partition(|(monitor, _)| is_due(monitor));
        let ran = !due.is_empty();
        let next = later.first().and_then(|(monitor, _)| monitor.next_check_at).map(time);
        let checks = due.into_iter().filter_map(|(monitor, webhook)| Some((monitor, webhook?)));
        let results = futures::stream::iter(checks)
            .map(|(monitor, webhook)| async move {
                Ok(if self.lease(&monitor).await? {
                    self.run_check(&webhook, &monitor).await?;
                    1
                } else {
                    0
                })
            })
            .buffer_unordered(CONCURRENCY)
            .collect::<Vec<Result<u64>>>()
            .await;
        let checked = results.into_iter().sum::<Result<u64>>()?;
        // The checks that ran have a next time too.
        Ok(HealthRound { checked, next: if ran { Some(self.context.now()) } else { next } })
    }

    /// Takes the right to check. Another process that read the same time does not get it.
    async fn lease(&self, monitor: &webhook_monitors::Model) -> Result<bool> {
        let timeout = Duration::from_std(self.context.settings.delivery_timeout).unwrap_or_default();
        let until = self.context.now() + timeout + LEASE_MARGIN;
        let leased = webhook_monitors::Entity::update_many()
            .col_expr(webhook_monitors::Column::NextCheckAt, Expr::value(millis(until)))
            .filter(webhook_monitors::COLUMN.webhook_id.eq(monitor.webhook_id))
            .filter(webhook_monitors::COLUMN.next_check_at.eq(monitor.next_check_at))
            .exec(&self.context.db.write)
            .await?;
        Ok(leased.rows_affected == 1)
    }

    /// Sends a health check outside any transaction, and stores its result.
    pub(super) async fn run_check(&self, webhook: &webhooks::Model, monitor: &webhook_monitors::Model) -> Result<()> {
        let Some(path) = &monitor.health_path else { return Ok(()) };
        let started = Instant::now();
        let (status_code, error) = self.check(webhook, path).await;
        let duration_ms = started.elapsed().as_secs_f64() * 1_000.0;
        let now = self.context.now();
        let status = if error.is_none() { HealthCheckStatus::Passing } else { HealthCheckStatus::Failing };
        let is_new = monitor.health_status.0 != status;
        let since = monitor.health_since.filter(|_| !is_new).unwrap_or_else(|| millis(now));
        let failed = if error.is_none() { 0 } else { monitor.failed_checks.saturating_add(1) };
        let row = webhook_monitors::ActiveModel {
            next_check_at: Set(Some(millis(now + Duration::seconds(monitor.health_interval)))),
            health_status: Set(Text(status)),
            status_code: Set(status_code.map(i32::from)),
            duration_ms: Set(Some(duration_ms)),
            health_error: Set(error.map(|error| error.chars().take(MAX_ERROR).collect())),
            checked_at: Set(Some(millis(now))),
            health_since: Set(Some(since)),
            failed_checks: Set(failed),
            ..Default::default()
        };
        let unchanged = match monitor.checked_at {
            Some(at) => webhook_monitors::COLUMN.checked_at.eq(at),
            None => webhook_monitors::COLUMN.checked_at.is_null(),
        };
        // The result of a path that was changed meanwhile, or after a newer result, is not stored.
        webhook_monitors::Entity::update_many()
            .set(row)
            .filter(webhook_monitors::COLUMN.webhook_id.eq(webhook.id))
            .filter(webhook_monitors::COLUMN.health_path.eq(path.as_str()))
            .filter(unchanged)
            .exec(&self.context.db.write)
            .await?;
        if is_new {
            self.feed.publish(vec![Change::Webhook(change_of(webhook))]);
        }
        Ok(())
    }

    /// Sends a health check. Returns the status code, and a sentence if it failed.
    async fn check(&self, webhook: &webhooks::Model, path: &str) -> (Option<u16>, Option<String>) {
        let url = match health_url(&webhook.endpoint_url, path) {
            Ok(url) => url,
            Err(message) => return (None, Some(message)),
        };
        let Ok(tls) = stored_tls(webhook, &self.cipher) else {
            let message =
                "The private key of the client certificate cannot be decrypted with the master key of this process.";
            return (None, Some(message.to_owned()));
        };
        match self.sender.get(&Destination::new(url), tls.as_ref()).await {
            Ok(code @ 200..=299) => (Some(code), None),
            Ok(code) => (Some(code), Some(format!("The health check returned {code}."))),
            Err(diagnosis) => (None, Some(diagnosis.message)),
        }
    }

    /// Stores the certificates and OAuth tokens that this process has seen, if they are newer than the stored ones.
    pub(super) async fn store_observations(&self, webhooks: &[webhooks::Model]) -> Result<()> {
        let now = self.context.now();
        // Without webhooks that have a token or a certificate, nothing is read.
        let has_secrets = webhooks.iter().any(|webhook| {
            webhook.endpoint_url.starts_with("https:") || matches!(webhook.auth.0, AuthView::Oauth2 { .. })
        });
        if !has_secrets {
            return Ok(());
        }
        let configs = self.configs.load(&self.context.db.read).await?;
        for webhook in webhooks {
            let id = webhook.id;
            let certificate = self.sender.certificate(&webhook.endpoint_url);
            let token = configs.get(id).and_then(|config| self.sender.token_status(&config.target(now)));
            if certificate.is_none() && token.is_none() {
                continue;
            }
            let stored = self.monitor(id).await?;
            if let Some(certificate) = certificate {
                let seen_at = millis(now - Duration::from_std(certificate.age).unwrap_or_default());
                let expires_at = millis(certificate.expires_at);
                // The time is computed from the age, so it varies by milliseconds.
                let is_newer = stored.certificate_seen_at.is_none_or(|stored| stored + 60_000 <= seen_at);
                let is_other = stored.certificate_expires_at != Some(expires_at)
                    && stored.certificate_seen_at.is_none_or(|stored| stored < seen_at);
                if is_newer || is_other {
                    self.store_certificate(id, expires_at, seen_at).await?;
                }
            }
            if let Some(token) = token.filter(|token| stored.token().updated_at() < token.updated_at()) {
                ensure_monitor(&self.context.db.write, id).await?;
                self.store_token(id, &token).await?;
            }
        }
        Ok(())
    }

    async fn store_certificate(&self, id: WebhookId, expires_at: i64, seen_at: i64) -> Result<()> {
        ensure_monitor(&self.context.db.write, id).await?;
        let seen = Expr::col(webhook_monitors::Column::CertificateSeenAt);
        webhook_monitors::Entity::update_many()
            .col_expr(webhook_monitors::Column::CertificateExpiresAt, Expr::value(expires_at))
            .col_expr(webhook_monitors::Column::CertificateSeenAt, Expr::value(seen_at))
            .filter(webhook_monitors::COLUMN.webhook_id.eq(id))
            .filter(seen.clone().is_null().or(seen.lt(seen_at)))
            .exec(&self.context.db.write)
            .await?;
        Ok(())
    }

    pub(super) async fn store_token(&self, id: WebhookId, token: &TokenStatus) -> Result<()> {
        let row = webhook_monitors::ActiveModel {
            token_obtained_at: Set(token.obtained_at.map(millis)),
            token_expires_at: Set(token.expires_at.map(millis)),
            token_error: Set(token.error.as_ref().map(|error| error.chars().take(MAX_ERROR).collect())),
            token_failed_at: Set(token.failed_at.map(millis)),
            ..Default::default()
        };
        webhook_monitors::Entity::update_many()
            .set(row)
            .filter(webhook_monitors::COLUMN.webhook_id.eq(id))
            .exec(&self.context.db.write)
            .await?;
        Ok(())
    }
}
