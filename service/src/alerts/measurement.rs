//! The values that rules compare: from the counters of attempts, the newest attempts, the queue, and the monitoring.

use super::{Alerts, millis};
use crate::Result;
use crate::db::codec::time;
use crate::db::column::Text;
use crate::db::entity::attempts::{self, StatusAfter};
use crate::db::entity::{delivery_counts, outbox, webhook_monitors, webhooks};
use chrono::{DateTime, Utc};
use domain::alert::{AlertKind, ExpiringCertificate, MAX_CONSECUTIVE, MIN_ATTEMPTS, RATE_WINDOW_SECONDS};
use domain::delivery::Outcome;
use domain::id::WebhookId;
use domain::metrics::{Histogram, STORED_STEPS};
use domain::webhook::WebhookState;
use sea_orm::sea_query::{Alias, Asterisk, Expr, Func, Query};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, ExprTrait as _, FromQueryResult, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, QueryTrait as _,
};
use std::collections::HashMap;

/// Milliseconds of one day.
const DAY: f64 = 86_400_000.0;

/// Attempts to one webhook within the period of rates.
#[derive(Default)]
struct Attempts {
    total: u64,
    failed: u64,
    durations: Histogram,
}

#[derive(FromQueryResult)]
struct CountRow {
    webhook_id: i64,
    outcome: String,
    bucket: i32,
    attempts: i64,
}

/// What is known about one webhook.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Measured {
    values: HashMap<AlertKind, f64>,
    /// Start of the newest attempt that succeeded, among the newest 100.
    pub(super) last_success: Option<DateTime<Utc>>,
    /// The certificate that expires first.
    pub(super) certificate: ExpiringCertificate,
}

impl Measured {
    /// The value of a kind; `None` without data.
    pub(super) fn value(&self, kind: AlertKind) -> Option<f64> {
        self.values.get(&kind).copied()
    }
}

impl Alerts {
    /// Measures webhooks by two statements: their counters, and their newest attempts and queues.
    pub(super) async fn measure(
        &self,
        connection: &impl ConnectionTrait,
        webhooks: &[&webhooks::Model],
        monitors: &HashMap<WebhookId, webhook_monitors::Model>,
        now: DateTime<Utc>,
    ) -> Result<HashMap<WebhookId, Measured>> {
        let mut rates = rates(connection, webhooks, now).await?;
        let ids: Vec<WebhookId> = webhooks.iter().map(|webhook| webhook.id).collect();
        let mut recent = recent(connection, &ids).await?;
        let mut measured = HashMap::with_capacity(webhooks.len());
        for webhook in webhooks {
            let mut values = HashMap::new();
            if let Some(attempts) = rates.remove(&webhook.id).filter(|attempts| attempts.total >= MIN_ATTEMPTS) {
                values.insert(AlertKind::ErrorRate, attempts.failed as f64 / attempts.total as f64);
                values.extend(attempts.durations.quantile(0.95).map(|p95| (AlertKind::P95Latency, p95)));
            }
            let monitor = monitors.get(&webhook.id);
            let is_paused = monitor.is_some_and(|monitor| monitor.paused_at.is_some());
            let recent = recent.remove(&webhook.id).unwrap_or_default();
            values.extend(recent.consecutive_failures().map(|failures| (AlertKind::ConsecutiveFailures, failures)));
            // The queue of a webhook that somebody has paused grows on purpose.
            let is_paused_by_user = webhook.state.0 == WebhookState::Paused && !is_paused;
            let backlog_age = if is_paused_by_user { 0.0 } else { recent.backlog_age(now) };
            values.insert(AlertKind::BacklogAge, backlog_age);
            if let Some(monitor) = monitor.filter(|monitor| monitor.health_path.is_some()) {
                values.insert(AlertKind::Health, f64::from(monitor.failed_checks));
            }
            let expiring = first_to_expire(webhook, monitor);
            let certificate = expiring.map(|(_, certificate)| certificate).unwrap_or_default();
            values.extend(
                expiring.map(|(expires_at, _)| (AlertKind::CertificateExpiry, (expires_at - millis(now)) as f64 / DAY)),
            );
            let is_disabled = match webhook.state.0 {
                WebhookState::Gone => true,
                WebhookState::Paused => is_paused,
                WebhookState::Enabled => false,
            };
            values.insert(AlertKind::Disabled, f64::from(u8::from(is_disabled)));
            let last_success = recent.last_success.map(time);
            measured.insert(webhook.id, Measured { values, last_success, certificate });
        }
        Ok(measured)
    }
}

/// The certificate of a webhook that expires first, and its end: that of the endpoint or the client certificate.
fn first_to_expire(
    webhook: &webhooks::Model,
    monitor: Option<&webhook_monitors::Model>,
) -> Option<(i64, ExpiringCertificate)> {
    let endpoint = monitor
        .and_then(|monitor| monitor.certificate_expires_at)
        .filter(|_| webhook.endpoint_url.starts_with("https:"))
        .map(|expires_at| (expires_at, ExpiringCertificate::Endpoint));
    let client = webhook.client_certificate.as_deref().and_then(delivery::client_certificate_expiry);
    let client = client.map(|expires_at| (millis(expires_at), ExpiringCertificate::Client));
    endpoint.into_iter().chain(client).min_by_key(|(expires_at, _)| *expires_at)
}

/// The attempts of the period of rates, from the counters of five minutes. The first step can begin before the period.
async fn rates(
    connection: &impl ConnectionTrait,
    webhooks: &[&webhooks::Model],
    now: DateTime<Utc>,
) -> Result<HashMap<WebhookId, Attempts>> {
    use delivery_counts::Column;
    let step = STORED_STEPS[0];
    let begin = (now.timestamp() - RATE_WINDOW_SECONDS).div_euclid(step) * step;
    // A sum of integers is NUMERIC on PostgreSQL.
    let sum = delivery_counts::COLUMN.attempts.sum().cast_as(Alias::new("BIGINT"));
    let rows: Vec<CountRow> = delivery_counts::Entity::find()
        .select_only()
        .columns([Column::WebhookId, Column::Outcome, Column::Bucket])
        .column_as(sum, "attempts")
        .filter(delivery_counts::COLUMN.step.eq(step))
        .filter(delivery_counts::COLUMN.start_at.gte(begin))
        .filter(delivery_counts::COLUMN.webhook_id.is_in(webhooks.iter().map(|webhook| webhook.id)))
        .group_by(Column::WebhookId)
        .group_by(Column::Outcome)
        .group_by(Column::Bucket)
        .into_model()
        .all(connection)
        .await?;
    let mut rates: HashMap<WebhookId, Attempts> = HashMap::new();
    for row in rows {
        let attempts = rates.entry(row.webhook_id).or_default();
        let count = row.attempts.unsigned_abs();
        attempts.total += count;
        if row.outcome == Outcome::Failed.as_str() {
            attempts.failed += count;
        }
        attempts.durations.add(usize::try_from(row.bucket).unwrap_or(usize::MAX), count);
    }
    Ok(rates)
}

/// The newest attempts of all webhooks and their queues. Plan: for each webhook, the end of the index `attempts_webhook` (at most
/// [`MAX_CONSECUTIVE`] rows, twice) and the start of the index `outbox_due`.
async fn recent(connection: &impl ConnectionTrait, ids: &[WebhookId]) -> Result<HashMap<WebhookId, Recent>> {
    // The columns of a webhook's row in the inner and in the outer statement.
    let webhook = || Expr::col((webhooks::Entity, webhooks::Column::Id));
    let row = |column: &'static str| Expr::col((Alias::new("w"), Alias::new(column)));
    let attempts = |id: Expr| {
        attempts::Entity::find()
            .select_only()
            .filter(Expr::col(attempts::Column::WebhookId.as_column_ref()).eq(id))
            .filter(attempts::COLUMN.delivery_status.ne(Text(StatusAfter::Test)))
            .limit(u64::from(MAX_CONSECUTIVE))
    };
    let newest = attempts(webhook())
        .columns([attempts::Column::Outcome, attempts::Column::StartedAt])
        .order_by_desc(attempts::COLUMN.started_at)
        .into_query();
    let last_success = Query::select()
        .expr(Func::max(Expr::col((Alias::new("newest"), attempts::Column::StartedAt))))
        .from_subquery(newest, Alias::new("newest"))
        .and_where(Expr::col((Alias::new("newest"), attempts::Column::Outcome)).eq(Outcome::Succeeded.as_str()))
        .to_owned();
    let due_at = outbox::Entity::find()
        .select_only()
        .column(outbox::Column::DueAt)
        .filter(Expr::col(outbox::Column::WebhookId.as_column_ref()).eq(webhook()))
        .filter(outbox::COLUMN.lease_owner.is_null())
        .order_by_asc(outbox::COLUMN.due_at)
        .order_by_asc(outbox::COLUMN.seq)
        .limit(1)
        .into_query();
    let measured = webhooks::Entity::find()
        .select_only()
        .column(webhooks::Column::Id)
        .expr_as(Expr::SubQuery(None, Box::new(last_success.into())), "last_success")
        .expr_as(Expr::SubQuery(None, Box::new(due_at.into())), "due_at")
        .filter(webhooks::COLUMN.id.is_in(ids.iter().copied()))
        .into_query();
    let since = Func::coalesce([row("last_success"), Expr::val(0_i64)]);
    let failed = attempts(row("id"))
        .column(attempts::Column::StartedAt)
        .filter(Expr::col(attempts::Column::StartedAt.as_column_ref()).gt(since))
        .into_query();
    let failures =
        Query::select().expr(Func::count(Expr::col(Asterisk))).from_subquery(failed, Alias::new("failed")).to_owned();
    let select = Query::select()
        .expr(row("id"))
        .expr(row("last_success"))
        .expr(row("due_at"))
        .expr_as(Expr::SubQuery(None, Box::new(failures.into())), Alias::new("failures"))
        .from_subquery(measured, Alias::new("w"))
        .to_owned();
    let rows = Recent::find_by_statement(connection.get_database_backend().build(&select)).all(connection).await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

/// The newest attempts of a webhook, without test events, and its queue.
#[derive(Debug, Default, FromQueryResult)]
struct Recent {
    id: WebhookId,
    /// Start of the newest attempt that succeeded, among the newest [`MAX_CONSECUTIVE`].
    last_success: Option<i64>,
    /// Number of attempts that failed since, at most [`MAX_CONSECUTIVE`].
    failures: i64,
    /// Earliest due time of a queued delivery.
    due_at: Option<i64>,
}

impl Recent {
    /// The number of the newest attempts that failed in a row; `None` without attempts.
    fn consecutive_failures(&self) -> Option<f64> {
        (self.last_success.is_some() || self.failures > 0).then_some(self.failures as f64)
    }

    /// Seconds since the earliest due time of a queued delivery; 0 without one.
    fn backlog_age(&self, now: DateTime<Utc>) -> f64 {
        self.due_at.map_or(0.0, |due_at| ((millis(now) - due_at) as f64 / 1_000.0).max(0.0))
    }
}
