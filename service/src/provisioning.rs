//! Provisioning: the effects of responses, failures, cancellations and status updates on a reservation.
//!
//! The state machine is [`domain::provisioning::Provisioning`]; this module applies it to stored reservations.
//! Functions return the ids of the reservations that may have changed, so that the caller announces them after the
//! commit.

use crate::context::Context;
use crate::db::connect::Database;
use crate::db::entity;
use crate::db::hand_over::mark_released;
use crate::db::link::DatabaseTransaction;
use crate::db::provisioning as rows;
use crate::db::queue_cancel::{self, Queued};
use crate::db::stored_provisioning::to_stored;
use crate::error::Result;
use chrono::{DateTime, Utc};
use domain::event::EventType;
use domain::id::WebhookId;
use domain::provisioning::{DrivingWebhook, Provisioning, ReceiverResponse, StatusUpdate};
use domain::reservation::{Reservation, ReservationStatus};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QuerySelect as _};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// The effect of a delivery on its reservation.
pub(crate) enum DeliveryEffect<'a> {
    /// The receiver responded to a request that was sent at this time.
    Response(Box<ReceiverResponse>, DateTime<Utc>),
    /// An attempt failed, with this reason; another one follows at this time.
    Retry(&'a str, DateTime<Utc>),
    /// The delivery failed permanently, with this reason.
    Failure(&'a str),
    /// The delivery was cancelled, with this reason.
    Cancellation(&'a str),
}

/// The effect of one delivery on one reservation.
pub(crate) struct ProvisioningUpdate<'a> {
    pub(crate) reservation_id: &'a str,
    /// The webhook of the delivery. It drives provisioning.
    pub(crate) webhook: DrivingWebhook<'a>,
    pub(crate) event: EventType,
    pub(crate) effect: DeliveryEffect<'a>,
}

/// Applies the effects of deliveries, in the given order.
pub(crate) async fn apply(
    db: &Database,
    tx: &DatabaseTransaction,
    mut updates: Vec<ProvisioningUpdate<'_>>,
    now: DateTime<Utc>,
) -> Result<Vec<String>> {
    let mut changed = insert_initial_provisioning(db, tx, &mut updates, now).await?;
    changed.extend(update_provisioning(db, tx, updates, now).await?);
    changed.sort_unstable();
    changed.dedup();
    Ok(changed)
}

/// Applies first responses, the most frequent updates. A reservation without a provisioning row is waiting and active,
/// and at most one service provisions it, because every other change inserts the row, and so does a creation with
/// several services. The next state is therefore written without a read of the reservation.
///
/// Removes the applied responses from `updates` and returns their reservations. If one of the reservations had a row,
/// all responses remain in `updates`: applying a response twice is idempotent.
async fn insert_initial_provisioning<'a>(
    db: &Database,
    tx: &DatabaseTransaction,
    updates: &mut Vec<ProvisioningUpdate<'a>>,
    now: DateTime<Utc>,
) -> Result<Vec<String>> {
    // Sorted by reservation, so that concurrent transactions lock rows in the same order, which avoids a deadlock. Only
    // the first update of a reservation counts: a response after a failure must not be applied before it.
    let mut first: BTreeMap<&'a str, Option<String>> = BTreeMap::new();
    for ProvisioningUpdate { reservation_id, webhook, event, effect } in updates.iter() {
        let Entry::Vacant(entry) = first.entry(*reservation_id) else { continue };
        let next = match effect {
            DeliveryEffect::Response(response, sent) if event.provisions() => {
                Provisioning::after_first_response(*webhook, *event, response, *sent, now)
            }
            _ => None,
        };
        entry.insert(next.as_ref().map(to_stored).transpose()?);
    }
    let states: Vec<_> = first.into_iter().filter_map(|(id, next)| Some((id, next?))).collect();
    let inserted = rows::insert_missing(db, tx, &states).await?;
    let ids = states.iter().map(|(id, _)| (*id).to_owned()).collect();
    if inserted == states.len() as u64 {
        let mut applied: HashSet<&str> = states.iter().map(|(id, _)| *id).collect();
        updates.retain(|update| !applied.remove(update.reservation_id));
    }
    Ok(ids)
}

/// Applies later updates, with the rows of their reservations locked. Returns the reservations that change.
///
/// Rows are locked in the order of their ids. A batch of initial responses and a batch of later updates can still
/// deadlock. PostgreSQL then aborts one of them after a second, and the dispatcher records that batch again.
async fn update_provisioning(
    db: &Database,
    tx: &DatabaseTransaction,
    updates: Vec<ProvisioningUpdate<'_>>,
    now: DateTime<Utc>,
) -> Result<Vec<String>> {
    if updates.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<&str> =
        updates.iter().map(|update| update.reservation_id).collect::<BTreeSet<_>>().into_iter().collect();
    rows::ensure_rows(db, tx, &ids).await?;
    let locked = rows::lock(db, tx, &ids).await?;
    let mut known: BTreeMap<&str, _> =
        locked.iter().map(|row| (row.reservation_id.as_str(), (row.active, row.provisioning.clone(), false))).collect();
    let mut confirmed: BTreeSet<&str> = BTreeSet::new();
    for ProvisioningUpdate { reservation_id, webhook, event, effect } in updates {
        let Some((active, provisioning, changed)) = known.get_mut(reservation_id) else { continue };
        // A release that is not sent is not a confirmation: the service may still hold the resource.
        let confirms = !matches!(effect, DeliveryEffect::Cancellation(_));
        // A late response to `created` must not undo the release of a reservation that has ended.
        if event.provisions() && !*active {
            continue;
        }
        let next = match effect {
            DeliveryEffect::Response(response, sent) => {
                provisioning.after_response(webhook, event, &response, sent, now)
            }
            DeliveryEffect::Retry(reason, due) => provisioning.after_retry(webhook, event, reason, due, now),
            DeliveryEffect::Failure(reason) => provisioning.after_failure(webhook, event, reason, now),
            DeliveryEffect::Cancellation(reason) => provisioning.after_cancellation(webhook, event, reason, now),
        };
        if let Some(next) = next {
            *provisioning = next;
            *changed = true;
            if confirms && !*active && !provisioning.is_unreleased() {
                confirmed.insert(reservation_id);
            }
        }
    }
    let confirmed: Vec<&str> = confirmed.into_iter().collect();
    mark_released(db, tx, &confirmed, now).await?;
    let mut states = Vec::with_capacity(known.len());
    for (id, (_, provisioning, _)) in known.into_iter().filter(|(_, (_, _, changed))| *changed) {
        states.push((id.to_owned(), to_stored(&provisioning)?));
    }
    rows::update(db, tx, &states).await?;
    Ok(states.into_iter().map(|(id, _)| id).collect())
}

/// Cancels queued deliveries and updates their reservations, which would otherwise wait forever.
pub(crate) async fn cancel_queued(
    context: &Context,
    tx: &DatabaseTransaction,
    queued: Queued<'_>,
    reason: &str,
) -> Result<Vec<String>> {
    let now = context.now();
    let cancelled = queue_cancel::cancel(&context.db, tx, queued, now.timestamp_millis()).await?;
    if cancelled.is_empty() {
        return Ok(Vec::new());
    }
    let driving: HashMap<WebhookId, String> = entity::webhooks::Entity::find()
        .select_only()
        .columns([entity::webhooks::Column::Id, entity::webhooks::Column::Name])
        .filter(entity::webhooks::Column::Provisions.eq(true))
        .into_tuple()
        .all(tx)
        .await?
        .into_iter()
        .collect();
    let updates = cancelled
        .iter()
        .filter_map(|delivery| {
            let name = driving.get(&delivery.webhook_id)?;
            Some(ProvisioningUpdate {
                reservation_id: delivery.reservation_id.as_deref()?,
                webhook: DrivingWebhook { id: delivery.webhook_id, name },
                event: EventType::parse(&delivery.event_type)?,
                effect: DeliveryEffect::Cancellation(reason),
            })
        })
        .collect();
    apply(&context.db, tx, updates, now).await
}

/// Applies a service's status update to a reservation that is locked by the transaction. Returns false, and changes
/// nothing, if a newer one was applied before.
///
/// # Errors
/// 409 for a status that cannot follow the current one.
pub(crate) async fn apply_status_update(
    db: &Database,
    tx: &DatabaseTransaction,
    reservation: &mut Reservation,
    webhook: DrivingWebhook<'_>,
    update: &StatusUpdate,
    now: DateTime<Utc>,
) -> Result<bool> {
    let Some(next) = reservation.provisioning.after_update(webhook, update, now)? else { return Ok(false) };
    reservation.provisioning = next;
    write(db, tx, reservation).await?;
    record_release(db, tx, reservation, now).await?;
    Ok(true)
}

/// Records that the resource of a reservation, which is locked by the transaction, is released, if it has ended and each service has
/// released it. Returns whether that is so.
pub(crate) async fn record_release(
    db: &Database,
    tx: &DatabaseTransaction,
    reservation: &mut Reservation,
    now: DateTime<Utc>,
) -> Result<bool> {
    let is_released = reservation.status != ReservationStatus::Active && !reservation.provisioning.is_unreleased();
    if is_released {
        reservation.released_at = reservation.released_at.or(Some(now));
        mark_released(db, tx, &[reservation.id.as_str()], now).await?;
    }
    Ok(is_released)
}

/// Applies the end of a reservation that is locked by the transaction: begins its release by the services that are
/// notified, and completes it for the others.
pub(crate) async fn begin_release(
    db: &Database,
    tx: &DatabaseTransaction,
    reservation: &mut Reservation,
    notified: &[DrivingWebhook<'_>],
    now: DateTime<Utc>,
) -> Result<()> {
    reservation.provisioning = reservation.provisioning.on_release(notified, now);
    write(db, tx, reservation).await
}

/// Inserts the states of new reservations that several services provision. See [`insert_initial_provisioning`].
pub(crate) async fn insert_shared(
    db: &Database,
    tx: &DatabaseTransaction,
    reservations: impl Iterator<Item = &Reservation>,
) -> Result<()> {
    let shared = reservations.filter(|reservation| reservation.provisioning.services.len() > 1);
    let mut ids: Vec<&str> = shared.map(|reservation| reservation.id.as_str()).collect();
    if ids.is_empty() {
        return Ok(());
    }
    ids.sort_unstable();
    rows::ensure_rows(db, tx, &ids).await
}

/// Writes the provisioning state of a reservation that is locked by the transaction.
pub(crate) async fn write(db: &Database, tx: &DatabaseTransaction, reservation: &Reservation) -> Result<()> {
    let state = to_stored(&reservation.provisioning)?;
    rows::update(db, tx, &[(reservation.id.0.clone(), state)]).await
}

/// Ensures that a reservation has a provisioning row, before it is locked for a change.
pub(crate) async fn ensure_row(db: &Database, tx: &DatabaseTransaction, id: &str) -> Result<()> {
    rows::ensure_rows(db, tx, &[id]).await
}
