//! Status updates: a receiver reports how far the provisioning of a reservation is (docs/contract.md §4).

use super::Reservations;
use super::commands::record;
use crate::audit_trail::{Author, Record, Target};
use crate::db::entity::status_updates;
use crate::db::link::DatabaseTransaction;
use crate::outbox::WebhookConfig;
use crate::secrets::digest;
use crate::{Error, Result, provisioning};
use chrono::{DateTime, Duration, SecondsFormat, Utc};
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::change::Change;
use domain::id::{ReservationId, WebhookId};
use domain::provisioning::{Provisioning, ProvisioningStatus, StatusUpdate};
use domain::reservation::{Reservation, ReservationStatus};
use domain::webhook::WebhookState;
use domain::{Problem, ProblemKind, signature};
use sea_orm::{ActiveValue::Set, EntityTrait as _, TryInsertResult};
use std::sync::Arc;
use tracing::instrument;

/// Largest accepted difference between the timestamp of a status update and Berth's clock (docs/contract.md §4).
const MAX_CLOCK_SKEW: Duration = Duration::minutes(5);

/// One answer for every reason, so that a caller without the secret learns nothing about webhooks.
fn unauthenticated() -> Problem {
    Problem::unauthenticated(
        "The signature is missing or wrong, or the webhook is unknown or disabled. Send X-Webhook-Id and X-Webhook-Signature: sha256=<HMAC of the raw body>.",
    )
}

/// A release is final, so a premature one would take the resource from its user.
fn release_of_active(reservation: &Reservation, status: ProvisioningStatus) -> Problem {
    Problem::conflict(format!(
        "\"{}\" is accepted only after the reservation has ended or was cancelled. It ends at {}. Send \"failed\" if the resource is not available.",
        status.as_str(),
        reservation.end_time.to_rfc3339_opts(SecondsFormat::Secs, true)
    ))
}

impl Reservations {
    /// Applies a receiver's status update from the MAC of its URL, its raw headers and its body. A repeated update changes nothing, and neither does one that
    /// is older than the newest applied one of the same webhook.
    ///
    /// # Errors
    /// 401 with one text for an invalid or missing signature and for an unknown or disabled webhook; 401 for a timestamp that
    /// differs by more than 5 minutes; 404; 403 if the webhook does not serve the resource type or listens
    /// only; 400 and 422 for an invalid body; 422 if neither the MAC nor the body identifies the reservation, or the
    /// body names another reservation or webhook; 409 for a status that cannot follow the current one, and for a release
    /// before the reservation has ended.
    #[instrument(skip_all, fields(reservation = %id), err(level = "debug"))]
    pub async fn apply_status_update(
        &self,
        id: &ReservationId,
        mac: Option<&str>,
        webhook_id: Option<&str>,
        signature: Option<&str>,
        body: &[u8],
    ) -> Result<Provisioning> {
        let now = self.context.now();
        let webhook = match self.authenticate_receiver(webhook_id, signature, body, now).await {
            Ok(webhook) => webhook,
            Err(error) => {
                if matches!(&error, Error::Problem(problem) if problem.kind == ProblemKind::Unauthenticated) {
                    let target = Target::new(AuditTargetType::Reservation, id);
                    let record = Record::new(Author::Anonymous, AuditAction::StatusUpdateRejected, target);
                    self.context.trail.write_failure(record).await;
                }
                return Err(error);
            }
        };
        let tx = self.context.begin_change().await?;
        let mut reservation = self.lock_reservation(&tx, None, id).await?;
        if !webhook.serves(&reservation.resource_type) {
            return Err(Problem::forbidden("This webhook does not serve the reservation's resource type.").into());
        }
        if !webhook.provisions {
            return Err(Problem::forbidden("This webhook listens only. Change that in its settings first.").into());
        }
        let update = StatusUpdate::parse(body)?;
        if (update.timestamp - now).abs() > MAX_CLOCK_SKEW {
            return Err(Problem::unauthenticated(
                "The timestamp is more than 5 minutes off. Check the clock of your service.",
            )
            .into());
        }
        let mac_is_valid = mac.is_some_and(|mac| self.context.status_urls.verify(id, webhook.id, mac));
        update.check_target(id, webhook.id, mac_is_valid)?;
        let is_active = reservation.status.at(reservation.end_time, now) == ReservationStatus::Active;
        if is_active && update.status.is_release() {
            return Err(release_of_active(&reservation, update.status).into());
        }
        if !insert_digest(&tx, id, webhook.id, body, now).await? {
            return Ok(self.shown(&*tx, reservation).await?.provisioning);
        }
        let before = reservation.provisioning.status;
        let db = &self.context.db;
        let service = webhook.driving_webhook();
        if !provisioning::apply_status_update(db, &tx, &mut reservation, service, &update, now).await? {
            return Ok(self.shown(&*tx, reservation).await?.provisioning);
        }
        let author = Author::Receiver(webhook.id, &webhook.name);
        let changes = Changes::none().field("provisioning.status", before, reservation.provisioning.status).field(
            "status_update.status",
            (),
            update.status,
        );
        let record = record(author, AuditAction::ReservationStatusUpdated, &reservation).changes(changes);
        let reservation = self.shown(&*tx, reservation).await?;
        tx.commit(record).await?;
        let provisioning = reservation.provisioning.clone();
        self.feed.publish(vec![Change::Reservation(Box::new(reservation))]);
        Ok(provisioning)
    }

    /// Finds the webhook and verifies the signature with each of its valid secrets.
    async fn authenticate_receiver(
        &self,
        webhook_id: Option<&str>,
        signature: Option<&str>,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Result<Arc<WebhookConfig>> {
        let id: WebhookId = webhook_id.and_then(|id| id.trim().parse().ok()).ok_or_else(unauthenticated)?;
        let signature = signature.ok_or_else(unauthenticated)?.trim();
        let configs = self.outbox.configs().load(&self.context.db.read).await?;
        let webhook = configs.get(id).ok_or_else(unauthenticated)?;
        let target = webhook.target(now);
        let signed = target.secrets.iter().any(|secret| signature::verify_body(secret, body, signature));
        if !signed || webhook.state != WebhookState::Enabled {
            return Err(unauthenticated().into());
        }
        Ok(webhook.clone())
    }
}

/// Stores the digest of an update. Returns false if the same update was applied before.
async fn insert_digest(
    tx: &DatabaseTransaction,
    id: &ReservationId,
    webhook_id: WebhookId,
    body: &[u8],
    now: DateTime<Utc>,
) -> Result<bool> {
    let row = status_updates::ActiveModel {
        reservation_id: Set(id.0.clone()),
        digest: Set(digest(&format!("{webhook_id} {}", String::from_utf8_lossy(body)))),
        received_at: Set(now.timestamp_millis()),
    };
    let inserted = status_updates::Entity::insert(row).on_conflict_do_nothing().exec_without_returning(tx).await?;
    Ok(matches!(inserted, TryInsertResult::Inserted(rows) if rows > 0))
}
