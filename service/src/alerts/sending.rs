//! Sending of notices, with leases and retries.

use super::{Alerts, millis};
use crate::Result;
use crate::db::codec::time;
use crate::db::entity::{alert_channel, alert_notices, users};
use chrono::{DateTime, Duration, Utc};
use delivery::{Auth, DeliveryRequest, Destination, Target};
use domain::Problem;
use domain::delivery::Outcome;
use domain::event::EventType;
use domain::id::{DeliveryId, EventId};
use domain::payload::PayloadFormat;
use domain::signature::Secret;
use futures::StreamExt as _;
use sea_orm::sea_query::Expr;
use sea_orm::{EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use std::sync::Arc;

/// Maximum number of notices that are sent at once.
const CONCURRENCY: usize = 4;
/// Maximum number of notices of one batch.
const BATCH: u64 = 50;
/// Time for which a process has the right to send a notice. It is longer than the time limits of both channels.
const LEASE: Duration = Duration::seconds(120);
/// Delay of the first retry. It doubles up to [`MAX_DELAY`].
const FIRST_DELAY: Duration = Duration::seconds(15);
/// Longest delay of a retry.
const MAX_DELAY: Duration = Duration::hours(1);
/// Age at which a notice is not sent again.
const GIVE_UP_AFTER: Duration = Duration::hours(24);
/// Maximum number of characters of a stored error.
const MAX_ERROR: usize = 500;

/// The delay before the next attempt.
fn delay(attempts: i32) -> Duration {
    let doublings = attempts.saturating_sub(1).clamp(0, 16).unsigned_abs();
    (FIRST_DELAY * 2_i32.pow(doublings)).min(MAX_DELAY)
}

/// A request to the operations webhook.
pub(super) struct NoticeRequest<'a> {
    pub(super) event_id: &'a str,
    pub(super) event_type: &'a str,
    pub(super) attempt: u32,
    pub(super) body: String,
    pub(super) is_test: bool,
}

impl Alerts {
    /// Waits until this process has created a notice.
    pub async fn wait_for_notice(&self) {
        self.wake.notified().await;
    }

    /// Sends the notices that are due. Returns their number.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    #[tracing::instrument(skip_all, err(level = "debug"))]
    pub async fn send_notices(&self) -> Result<u64, Problem> {
        Ok(self.send_due().await?)
    }

    async fn send_due(&self) -> Result<u64> {
        let now = self.context.now();
        let due = alert_notices::Entity::find()
            .filter(alert_notices::COLUMN.due_at.lte(millis(now)))
            .order_by_asc(alert_notices::COLUMN.id)
            .limit(BATCH)
            .all(&self.context.db.read)
            .await?;
        let sent = futures::stream::iter(due)
            .map(|notice| self.send_one(notice, now))
            .buffer_unordered(CONCURRENCY)
            .collect::<Vec<_>>()
            .await;
        let mut count = 0;
        for sent in sent {
            count += u64::from(sent?);
        }
        Ok(count)
    }

    /// Sends one notice, unless another process does. Returns whether it made an attempt.
    async fn send_one(&self, notice: alert_notices::Model, now: DateTime<Utc>) -> Result<bool> {
        let attempts = notice.attempts + 1;
        let leased = alert_notices::Entity::update_many()
            .col_expr(alert_notices::Column::DueAt, Expr::value(millis(now + LEASE)))
            .col_expr(alert_notices::Column::Attempts, Expr::value(attempts))
            .filter(alert_notices::COLUMN.id.eq(notice.id))
            .filter(alert_notices::COLUMN.due_at.eq(notice.due_at))
            .exec(&self.context.db.write)
            .await?;
        if leased.rows_affected != 1 {
            return Ok(false);
        }
        let result = match &notice.username {
            Some(username) => self.send_email(username, &notice).await?,
            None => self.send_to_webhook(&notice, attempts).await?,
        };
        let now = self.context.now();
        let (due_at, sent_at, error) = match result {
            Ok(()) => (None, Some(millis(now)), None),
            Err(error) => {
                let is_over = now - time(notice.created_at) >= GIVE_UP_AFTER;
                tracing::warn!(notice = notice.event_id, attempts, %error, "a notice of an alert was not sent");
                let due_at = (!is_over).then(|| millis(now + delay(attempts)));
                (due_at, None, Some(error.chars().take(MAX_ERROR).collect::<String>()))
            }
        };
        alert_notices::Entity::update_many()
            .col_expr(alert_notices::Column::DueAt, Expr::value(due_at))
            .col_expr(alert_notices::Column::SentAt, Expr::value(sent_at))
            .col_expr(alert_notices::Column::Error, Expr::value(error))
            .filter(alert_notices::COLUMN.id.eq(notice.id))
            .exec(&self.context.db.write)
            .await?;
        let outcome = if sent_at.is_some() { Outcome::Succeeded } else { Outcome::Failed };
        metrics::counter!("berth_alert_notices_total", "outcome" => outcome.as_str()).increment(1);
        Ok(true)
    }

    /// Sends an e-mail to the present address of an account. A disabled account gets none.
    async fn send_email(&self, username: &str, notice: &alert_notices::Model) -> Result<Result<(), String>> {
        let user = users::Entity::find_by_id(username).one(&self.context.db.read).await?;
        let Some(user) = user.filter(|user| !user.disabled && !user.email.is_empty()) else { return Ok(Ok(())) };
        Ok(match &self.mailer {
            Some(mailer) => mailer.send(&user.email, &notice.subject, &notice.body, &notice.event_id).await,
            None => Err("E-mail is not configured on this server.".to_owned()),
        })
    }

    async fn send_to_webhook(&self, notice: &alert_notices::Model, attempts: i32) -> Result<Result<(), String>> {
        let channel = alert_channel::Entity::find_by_id(alert_channel::ID).one(&self.context.db.read).await?;
        // It was removed or turned off after the alert.
        let Some(channel) = channel.filter(|channel| channel.enabled) else { return Ok(Ok(())) };
        let request = NoticeRequest {
            event_id: &notice.event_id,
            event_type: &notice.event_type,
            attempt: attempts.unsigned_abs(),
            body: notice.body.clone(),
            is_test: false,
        };
        self.request(&channel, request).await
    }

    /// Sends a signed request to the operations webhook. The inner result has the diagnosis of a failure.
    pub(super) async fn request(
        &self,
        channel: &alert_channel::Model,
        request: NoticeRequest<'_>,
    ) -> Result<Result<(), String>> {
        let (url, secret) = self.channel_secrets(channel)?;
        let secret = Secret::parse(&secret).map_err(|_| Problem::internal())?;
        let delivery = DeliveryRequest {
            target: Arc::new(Target {
                webhook_id: 0,
                auth: Auth::None,
                secrets: vec![secret],
                keys: Vec::new(),
                headers: Vec::new(),
                public_url: self.context.settings.public_url.as_str().into(),
                tls: None,
            }),
            url: Destination::new(url.as_str()),
            delivery_id: DeliveryId(request.event_id.to_owned()),
            event_id: EventId(request.event_id.to_owned()),
            // Replaced by `attempt_as`.
            event_type: EventType::ReservationCreated,
            attempt: request.attempt,
            test: request.is_test,
            format: PayloadFormat::Berth,
            body: request.body.into_bytes().into(),
        };
        let outcome = self.sender.attempt_as(&delivery, request.event_type, self.context.now()).await;
        if outcome.outcome == Outcome::Succeeded {
            return Ok(Ok(()));
        }
        // The URL can contain a secret.
        Ok(Err(outcome.diagnosis.message.replace(&url, &channel.url_hint)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_doubles_up_to_an_hour() {
        let delays: Vec<i64> = [1, 2, 3, 8, 9, 40].map(|attempts| delay(attempts).num_seconds()).to_vec();
        assert_eq!(delays, [15, 30, 60, 1_920, 3_600, 3_600]);
    }
}
