//! Pseudonyms in the rows of an erased account.

use crate::Result;
use crate::context::Context;
use crate::db::bulk::padded_keys;
use crate::db::codec::{json, to_json};
use crate::db::column::{JsonText, Text};
use crate::db::delivery_words;
use crate::db::entity::{access_requests, attempts, deliveries, idempotency_keys, notifications, outbox, reservations};
use crate::db::erasure::{Payload, StoredAttempt, update_payloads, update_transcripts};
use crate::db::link::DatabaseTransaction;
use crate::db::provisioning::{lock as lock_states, update as update_states};
use crate::db::stored_provisioning::to_stored;
use delivery::Transcript;
use domain::access_request::AccessStatus;
use domain::privacy::Pseudonymizer;
use domain::reservation::ReservationStatus;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait, DerivePartialModel, EntityTrait as _, PaginatorTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, QueryTrait as _, Set,
};
use serde_json::Value;

/// Number of rows that are read at once.
const BATCH: usize = 500;
/// Replaces a diagnosis, which can quote the response of a receiver.
const REMOVED: &str = "Details were removed, because the user's account was erased.";

/// The numbers of changed rows.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) reservations: u64,
    pub(super) access_requests: u64,
    pub(super) deliveries: u64,
    /// Reservations whose resource is not released.
    pub(super) unreleased: u64,
}

/// A payload of the delivery log.
#[derive(DerivePartialModel)]
#[sea_orm(entity = "deliveries::Entity")]
struct PayloadRow {
    seq: i64,
    body: String,
}

/// The transcript of an attempt.
#[derive(DerivePartialModel)]
#[sea_orm(entity = "attempts::Entity")]
struct TranscriptRow {
    delivery_seq: i64,
    attempt: i32,
    record: String,
}

/// The ids of the reservations of a user.
pub(super) async fn reservation_ids(connection: &impl ConnectionTrait, username: &str) -> Result<Vec<String>> {
    let ids = reservations::Entity::find()
        .select_only()
        .column(reservations::Column::Id)
        .filter(reservations::COLUMN.username.eq(username))
        .order_by_asc(reservations::Column::Id);
    Ok(ids.into_tuple().all(connection).await?)
}

/// The ids of the access requests of a user.
pub(super) async fn request_ids(connection: &impl ConnectionTrait, username: &str) -> Result<Vec<String>> {
    let ids = access_requests::Entity::find()
        .select_only()
        .column(access_requests::Column::Id)
        .filter(access_requests::COLUMN.username.eq(username));
    Ok(ids.into_tuple().all(connection).await?)
}

/// The number of reservations of a user that have not been cancelled or expired.
pub(super) async fn count_active(tx: &DatabaseTransaction, username: &str) -> Result<u64> {
    let active = reservations::Entity::find()
        .filter(reservations::COLUMN.username.eq(username))
        .filter(reservations::COLUMN.status.eq(Text(ReservationStatus::Active)));
    Ok(active.count(tx).await?)
}

/// The number of queued deliveries whose payload names a user.
pub(super) async fn count_queued(tx: &DatabaseTransaction, username: &str) -> Result<u64> {
    let reservations = reservations::Entity::find().select_only().column(reservations::Column::Id).filter(
        Condition::any()
            .add(reservations::COLUMN.username.eq(username))
            .add(reservations::COLUMN.cancelled_by.eq(username)),
    );
    let requests = access_requests::Entity::find()
        .select_only()
        .column(access_requests::Column::Id)
        .filter(access_requests::COLUMN.username.eq(username));
    let key = || Expr::col((outbox::Entity, outbox::Column::OrderingKey));
    let names_user = Condition::any()
        .add(key().in_subquery(reservations.into_query()))
        .add(key().in_subquery(requests.into_query()));
    Ok(outbox::Entity::find().filter(names_user).count(tx).await?)
}

/// Pseudonyms in the rows of one account, within the transaction of its erasure.
pub(super) struct ErasedRows<'a> {
    pub(super) context: &'a Context,
    pub(super) tx: &'a DatabaseTransaction,
    pub(super) names: &'a Pseudonymizer,
}

impl ErasedRows<'_> {
    /// Replaces the name in all rows but those of the audit log and of the account itself.
    ///
    /// `decided_by` is the name of the user who erases the account: their decision ends its pending access requests.
    pub(super) async fn pseudonymize(&self, decided_by: &str) -> Result<Counts> {
        let mut counts = Counts::default();
        let own = reservation_ids(self.tx, self.names.username()).await?;
        for ids in own.chunks(BATCH) {
            counts.unreleased += self.clear_states(ids).await?;
        }
        counts.reservations = self.update_reservations().await?;
        let cancelled = self.update_cancelled().await?;
        for ids in own.chunks(BATCH).chain(cancelled.chunks(BATCH)) {
            counts.deliveries += self.update_deliveries_of(ids).await?;
        }
        let requests = request_ids(self.tx, self.names.username()).await?;
        counts.access_requests = self.update_requests(decided_by).await?;
        counts.deliveries += self.update_other_deliveries(&requests).await?;
        self.update_notifications().await?;
        let used_keys = idempotency_keys::Entity::delete_many();
        used_keys.filter(idempotency_keys::COLUMN.username.eq(self.names.username())).exec(self.tx).await?;
        Ok(counts)
    }

    /// Removes the texts of receivers from the states of ended reservations, and returns how many are not released.
    async fn clear_states(&self, ids: &[String]) -> Result<u64> {
        let keys: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut unreleased = 0;
        let mut states = Vec::new();
        for locked in lock_states(&self.context.db, self.tx, &keys).await? {
            unreleased += u64::from(locked.provisioning.is_unreleased());
            states.push((locked.reservation_id, to_stored(&locked.provisioning.without_received_texts())?));
        }
        update_states(&self.context.db, self.tx, &states).await?;
        Ok(unreleased)
    }

    async fn update_reservations(&self) -> Result<u64> {
        let is_own = || reservations::COLUMN.username.eq(self.names.username());
        // Only texts of the user can contain the address or the key, so few rows have them.
        let configs: Vec<(String, JsonText<serde_json::Map<String, Value>>)> = reservations::Entity::find()
            .select_only()
            .columns([reservations::Column::Id, reservations::Column::AdditionalConfig])
            .filter(is_own())
            .filter(reservations::COLUMN.additional_config.ne("{}"))
            .into_tuple()
            .all(self.tx)
            .await?;
        for (id, config) in configs {
            let mut config = Value::Object(config.0);
            if self.names.replace_in_json(&mut config)
                && let Value::Object(config) = config
            {
                let change =
                    reservations::ActiveModel { additional_config: Set(JsonText(config)), ..Default::default() };
                let update = reservations::Entity::update_many().set(change);
                update.filter(reservations::COLUMN.id.eq(id)).exec(self.tx).await?;
            }
        }
        let change = reservations::ActiveModel {
            username: Set(self.names.pseudonym().to_owned()),
            title: Set(String::new()),
            user_ssh_key: Set(String::new()),
            cancel_reason: Set(String::new()),
            ..Default::default()
        };
        Ok(reservations::Entity::update_many().set(change).filter(is_own()).exec(self.tx).await?.rows_affected)
    }

    /// Replaces the name where the user cancelled a reservation. Returns the ids of those of other users.
    async fn update_cancelled(&self) -> Result<Vec<String>> {
        let by_user = || reservations::COLUMN.cancelled_by.eq(self.names.username());
        let ids = reservations::Entity::find()
            .select_only()
            .column(reservations::Column::Id)
            .filter(by_user())
            .filter(reservations::COLUMN.username.ne(self.names.pseudonym()))
            .into_tuple()
            .all(self.tx)
            .await?;
        let change = reservations::ActiveModel {
            cancelled_by: Set(Some(self.names.pseudonym().to_owned())),
            ..Default::default()
        };
        reservations::Entity::update_many().set(change).filter(by_user()).exec(self.tx).await?;
        Ok(ids)
    }

    /// Ends pending access requests without an event, and replaces the name in all of them.
    async fn update_requests(&self, decided_by: &str) -> Result<u64> {
        let is_own = || access_requests::COLUMN.username.eq(self.names.username());
        let denial = access_requests::ActiveModel {
            status: Set(Text(AccessStatus::Denied)),
            decided_by: Set(Some(decided_by.to_owned())),
            decided_at: Set(Some(self.context.now().timestamp_millis())),
            ..Default::default()
        };
        access_requests::Entity::update_many()
            .set(denial)
            .filter(is_own())
            .filter(access_requests::COLUMN.status.eq(Text(AccessStatus::Pending)))
            .exec(self.tx)
            .await?;
        let change = access_requests::ActiveModel {
            username: Set(self.names.pseudonym().to_owned()),
            reason: Set(String::new()),
            ..Default::default()
        };
        let updated = access_requests::Entity::update_many().set(change).filter(is_own()).exec(self.tx).await?;
        let decided = access_requests::ActiveModel {
            decided_by: Set(Some(self.names.pseudonym().to_owned())),
            ..Default::default()
        };
        access_requests::Entity::update_many()
            .set(decided)
            .filter(access_requests::COLUMN.decided_by.eq(self.names.username()))
            .exec(self.tx)
            .await?;
        Ok(updated.rows_affected)
    }

    /// Deletes the notifications to the user, and replaces the name in those to others.
    async fn update_notifications(&self) -> Result<()> {
        let to_user = notifications::COLUMN.username.eq(self.names.username());
        notifications::Entity::delete_many().filter(to_user).exec(self.tx).await?;
        let naming = notifications::Entity::find()
            .filter(notifications::COLUMN.message.contains(self.names.username()))
            .all(self.tx)
            .await?;
        for mut row in naming {
            if self.names.replace_words(&mut row.message) {
                let change = notifications::ActiveModel { message: Set(row.message), ..Default::default() };
                let update = notifications::Entity::update_many().set(change);
                update.filter(notifications::COLUMN.id.eq(row.id)).exec(self.tx).await?;
            }
        }
        Ok(())
    }

    /// Replaces the name in the deliveries of reservations. Returns their number.
    async fn update_deliveries_of(&self, reservations: &[String]) -> Result<u64> {
        let rows: Vec<PayloadRow> = deliveries::Entity::find()
            .filter(deliveries::COLUMN.reservation_id.is_in(padded_keys(reservations)))
            .into_partial_model()
            .all(self.tx)
            .await?;
        self.update_payloads(rows).await
    }

    /// Replaces the name in the deliveries of access requests and test events, which have no index. Returns their number.
    async fn update_other_deliveries(&self, requests: &[String]) -> Result<u64> {
        let mut updated = 0;
        let mut after = 0;
        loop {
            let rows: Vec<PayloadRow> = deliveries::Entity::find()
                .filter(deliveries::COLUMN.seq.gt(after))
                .filter(
                    Condition::any()
                        .add(deliveries::COLUMN.test.eq(true))
                        .add_option((!requests.is_empty()).then(|| deliveries::COLUMN.reservation_id.is_null())),
                )
                .order_by_asc(deliveries::Column::Seq)
                .limit(BATCH as u64)
                .into_partial_model()
                .all(self.tx)
                .await?;
            let Some(last) = rows.last() else { return Ok(updated) };
            after = last.seq;
            updated += self.update_payloads(rows).await?;
        }
    }

    async fn update_payloads(&self, rows: Vec<PayloadRow>) -> Result<u64> {
        let mut payloads = Vec::new();
        for row in rows {
            let mut body: Value = json(&row.body)?;
            if self.names.replace_in_payload(&mut body) {
                payloads.push(Payload { seq: row.seq, body: to_json(&body)? });
            }
        }
        for chunk in payloads.chunks(BATCH) {
            let transcripts: Vec<TranscriptRow> = attempts::Entity::find()
                .filter(attempts::COLUMN.delivery_seq.is_in(chunk.iter().map(|payload| payload.seq)))
                .into_partial_model()
                .all(self.tx)
                .await?;
            let reduced = |row: TranscriptRow| StoredAttempt {
                delivery_seq: row.delivery_seq,
                attempt: row.attempt,
                record: Transcript::stored(row.record).without_received_texts(REMOVED).into_text(),
            };
            let transcripts: Vec<StoredAttempt> = transcripts.into_iter().map(reduced).collect();
            update_transcripts(&self.context.db, self.tx, &transcripts).await?;
            let seqs: Vec<i64> = chunk.iter().map(|payload| payload.seq).collect();
            delivery_words::invalidate(&self.context.db, self.tx, &seqs).await?;
        }
        update_payloads(&self.context.db, self.tx, &payloads, REMOVED).await?;
        Ok(payloads.len() as u64)
    }
}
