//! Call-backs of receivers of the older reservation system (docs/contract.md §8): their logs, and their messages to users.

use super::Reservations;
use super::commands::record;
use crate::audit_trail::{Author, Record, Target};
use crate::db::column::Text;
use crate::db::entity::{deliveries, receiver_callbacks, reservations, resources};
use crate::db::link::DatabaseTransaction;
use crate::notifications::{Notifications, Recipient};
use crate::outbox::WebhookConfig;
use crate::secrets::digest;
use crate::{Error, Result, provisioning};
use chrono::{DateTime, Duration, Utc};
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::change::Change;
use domain::classic::{ReceiverLog, ReceiverNotification, number_of, webhook_of_callback};
use domain::id::{ReservationId, WebhookId};
use domain::payload::PayloadFormat;
use domain::provisioning::StatusUpdate;
use domain::reservation::ReservationStatus;
use domain::webhook::WebhookState;
use domain::{Problem, ProblemKind, signature};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    TryInsertResult,
};
use std::sync::Arc;
use tracing::instrument;

/// Largest accepted difference between the timestamp of a call-back, if it has one, and Berth's clock.
const MAX_CLOCK_SKEW: Duration = Duration::minutes(5);
/// Number of a webhook's newest deliveries in which the reservation of an event id is searched.
const SEARCHED_DELIVERIES: u64 = 2_000;

/// One answer for every reason, so that a caller without the secret learns nothing about webhooks.
fn unauthenticated() -> Problem {
    Problem::unauthenticated(
        "The signature is missing or wrong, or the webhook is unknown, disabled or of another payload format. Send webhookId in the body, and X-Webhook-Signature: <Base64 HMAC-SHA256 of the raw body>.",
    )
}

/// A call-back with a timestamp is valid for some minutes, so that a captured one cannot be repeated later.
fn check_time(timestamp: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Result<(), Problem> {
    if timestamp.is_some_and(|at| (at - now).abs() > MAX_CLOCK_SKEW) {
        return Err(Problem::unauthenticated(
            "The timestamp is more than 5 minutes off. Check the clock of your service.",
        ));
    }
    Ok(())
}

impl Reservations {
    /// Records the log of a classic receiver in the audit log of its webhook. A repeated one changes nothing.
    ///
    /// # Errors
    /// 401 with one text for an invalid or missing signature and for an unknown, disabled or other webhook; 401 for an old
    /// timestamp; 400 and 422 for an invalid body.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn log_of_receiver(&self, signature: Option<&str>, body: &[u8]) -> Result<()> {
        let now = self.context.now();
        let webhook = self.classic_receiver(signature, body, now).await?;
        let log = ReceiverLog::parse(body)?;
        check_time(log.timestamp, now)?;
        let tx = self.context.begin_change().await?;
        if !insert_digest(&tx, "log", webhook.id, body, now).await? {
            return Ok(());
        }
        let changes = Changes::none()
            .field("event_type", (), &log.event_type)
            .field("success", (), log.success)
            .field("status_code", (), log.status_code)
            .field("response", (), &log.response)
            .field("error", (), &log.error);
        let target = Target::named(AuditTargetType::Webhook, webhook.id, &webhook.name);
        let author = Author::Receiver(webhook.id, &webhook.name);
        tx.commit(Record::new(author, AuditAction::WebhookLogReceived, target).changes(changes)).await
    }

    /// Sends the message of a classic receiver to the user of a reservation, and applies the provisioning status that it
    /// reports. A repeated one changes nothing.
    ///
    /// # Errors
    /// As [`Self::log_of_receiver`]; 404 if the webhook serves no such reservation of the user.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn notification_of_receiver(&self, signature: Option<&str>, body: &[u8]) -> Result<()> {
        let now = self.context.now();
        let webhook = self.classic_receiver(signature, body, now).await?;
        let notification = ReceiverNotification::parse(body)?;
        check_time(notification.timestamp, now)?;
        let id = self.reservation_of(&webhook, &notification).await?;
        let id = id.ok_or_else(|| Problem::not_found("reservation"))?;
        let tx = self.context.begin_change().await?;
        let mut reservation = self.lock_reservation(&tx, None, &id).await?;
        if !webhook.serves(&reservation.resource_type) || reservation.user_id != notification.user_id {
            return Err(Problem::not_found("reservation").into());
        }
        if !insert_digest(&tx, "notification", webhook.id, body, now).await? {
            return Ok(());
        }
        let before = reservation.provisioning.status;
        if let Some(status) = notification.status.filter(|_| webhook.provisions) {
            let update = StatusUpdate {
                status,
                timestamp: now,
                progress: None,
                message: Some(notification.message.clone()),
                details: None,
                reservation_id: None,
                webhook_id: None,
            };
            let service = webhook.driving_webhook();
            let db = &self.context.db;
            match provisioning::apply_status_update(db, &tx, &mut reservation, service, &update, now).await {
                // A status that cannot follow the present one has no effect; the user gets the message all the same.
                Err(Error::Problem(problem)) if problem.kind == ProblemKind::Conflict => {}
                result => drop(result?),
            }
        }
        let link = format!("/reservations/{id}");
        let (user, message) = (Recipient::User(&notification.user_id), &notification.message);
        let notifications = Notifications::new(self.context.clone());
        let created = notifications.create(&tx, user, notification.severity, message, Some(&link)).await?;
        let changes = Changes::none()
            .field("provisioning.status", before, reservation.provisioning.status)
            .field("status_update.status", (), notification.status)
            .field("message", (), message);
        let author = Author::Receiver(webhook.id, &webhook.name);
        let record = record(author, AuditAction::ReservationNotificationReceived, &reservation).changes(changes);
        let reservation = self.shown(&*tx, reservation).await?;
        tx.commit(record).await?;
        self.feed.publish(vec![Change::Reservation(Box::new(reservation)), Change::Notification(created)]);
        Ok(())
    }

    /// Finds the webhook that a call-back names, and verifies the signature with each of its valid secrets. A rejected one is
    /// counted in the audit log.
    async fn classic_receiver(
        &self,
        signature: Option<&str>,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Result<Arc<WebhookConfig>> {
        let configs = self.outbox.configs().load(&self.context.db.read).await?;
        let named = webhook_of_callback(body);
        let webhook = named.and_then(|id| configs.get(id)).filter(|webhook| {
            let signed = |signature| {
                let target = webhook.target(now);
                target.secrets.iter().any(|secret| signature::verify_classic(secret, body, signature))
            };
            webhook.payload_format == PayloadFormat::Classic
                && webhook.state == WebhookState::Enabled
                && signature.is_some_and(|signature| signed(signature.trim()))
        });
        match webhook {
            Some(webhook) => Ok(webhook.clone()),
            None => {
                let target = Target::new(AuditTargetType::Webhook, named.map(|id| id.to_string()).unwrap_or_default());
                let record = Record::new(Author::Anonymous, AuditAction::StatusUpdateRejected, target);
                self.context.trail.write_failure(record).await;
                Err(unauthenticated().into())
            }
        }
    }

    /// The reservation of a notification: by the number of its event or its id, otherwise the active one of the user on the
    /// named resource.
    async fn reservation_of(
        &self,
        webhook: &WebhookConfig,
        notification: &ReceiverNotification,
    ) -> Result<Option<ReservationId>> {
        let db = &self.context.db.read;
        if let Some(event_id) = &notification.event_id {
            let sent: Vec<String> = deliveries::Entity::find()
                .select_only()
                .column(deliveries::Column::ReservationId)
                .filter(deliveries::COLUMN.webhook_id.eq(webhook.id))
                .filter(deliveries::COLUMN.reservation_id.is_not_null())
                .order_by_desc(deliveries::Column::Seq)
                .limit(SEARCHED_DELIVERIES)
                .into_tuple()
                .all(db)
                .await?;
            let is_named = |id: &ReservationId| id.as_str() == event_id || number_of(id).to_string() == *event_id;
            if let Some(id) = sent.into_iter().map(ReservationId).find(is_named) {
                return Ok(Some(id));
            }
        }
        let Some(resource_name) = &notification.resource_name else { return Ok(None) };
        let id: Option<String> = reservations::Entity::find()
            .inner_join(resources::Entity)
            .select_only()
            .column(reservations::Column::Id)
            .filter(reservations::COLUMN.username.eq(notification.user_id.as_str()))
            .filter(reservations::COLUMN.status.eq(Text(ReservationStatus::Active)))
            .filter(reservations::COLUMN.start_at.lte(self.context.now().timestamp_millis()))
            .filter(resources::COLUMN.name.eq(resource_name.as_str()))
            .order_by_desc(reservations::Column::StartAt)
            .into_tuple()
            .one(db)
            .await?;
        Ok(id.map(ReservationId))
    }
}

/// Stores the digest of a call-back. Returns false if the same one was processed before.
async fn insert_digest(
    tx: &DatabaseTransaction,
    route: &str,
    webhook_id: WebhookId,
    body: &[u8],
    now: DateTime<Utc>,
) -> Result<bool> {
    let row = receiver_callbacks::ActiveModel {
        digest: Set(digest(&format!("{route} {webhook_id} {}", String::from_utf8_lossy(body)))),
        received_at: Set(now.timestamp_millis()),
    };
    let inserted = receiver_callbacks::Entity::insert(row).on_conflict_do_nothing().exec_without_returning(tx).await?;
    Ok(matches!(inserted, TryInsertResult::Inserted(rows) if rows > 0))
}
