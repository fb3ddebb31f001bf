//! Retention, backups and the rotation of the master key.

use crate::Result;
use crate::audit_trail::{Author, Record, Target};
use crate::context::Context;
use crate::db::column::Text;
use crate::db::connect::Database;
use crate::db::delivery_words;
use crate::db::entity::{
    alert_notices, alerts, attempts, challenges, deliveries, delivery_counts, idempotency_keys, login_budgets,
    notifications, outbox, provisioning, receiver_callbacks, replay_items, replays, reservations, sessions,
    status_updates, used_log_in_states,
};
use crate::db::link::DatabaseTransaction;
use crate::db::provisioning::{lock as lock_states, update as update_states};
use crate::db::stored_provisioning::to_stored;
use crate::db::vacuum::vacuum_into;
use crate::idempotency::KEY_LIFETIME;
use crate::keys::{Rotated, rotate};
use crate::secrets::Cipher;
use chrono::Duration;
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::metrics::STORED_STEPS;
use domain::reservation::ReservationStatus;
use domain::{Problem, ProblemKind};
use sea_orm::sea_query::{Expr, ExprTrait as _, Func};
use sea_orm::{
    ColumnTrait, Condition, DbErr, EntityTrait, FromQueryResult, Iterable as _, PrimaryKeyToColumn as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, QueryTrait as _,
};
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tracing::instrument;

/// Maximum number of rows of each kind in one batch. Small batches do not block other writers.
const BATCH: u64 = 500;
/// Retention of the counters of each of [`STORED_STEPS`] in days.
const COUNT_DAYS: [i64; 3] = [3, 100, 400];
/// Retention of the digests of status updates, which detect repeats.
const STATUS_UPDATE_LIFETIME: Duration = Duration::hours(1);
/// Retention of the digests of call-backs of classic receivers. A call-back may have no timestamp, so they are kept for longer.
const CALLBACK_LIFETIME: Duration = Duration::days(7);

/// Retention of the notices of alerts. It is longer than the time for which they are sent again.
const NOTICE_LIFETIME: Duration = Duration::days(30);

/// Parts of the stored text of a provisioning state with access information or details.
const HAS_ACCESS_INFO: [&str; 2] = ["\"access_info\":{", "\"details\":{\""];

/// Retention, backups and the rotation of the master key.
#[derive(Clone)]
pub struct Maintenance {
    context: Context,
    cipher: Cipher,
    /// The last delivery that retention has checked in this pass; 0 at the start of a pass.
    retention_cursor: Arc<AtomicI64>,
}

/// A delivery that has left the queue.
#[derive(FromQueryResult)]
struct FinishedDelivery {
    seq: i64,
    created_at: i64,
    ended_at: i64,
}

impl Maintenance {
    pub(crate) fn new(context: Context, cipher: Cipher) -> Self {
        Self { context, cipher, retention_cursor: Arc::default() }
    }

    /// Encrypts every secret again with the current master key, for `berth key rotate`. Every other process must have
    /// the current master key.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn rotate_master_key(&self) -> Result<Rotated, Problem> {
        let rotated = rotate(&self.context, &self.cipher).await?;
        let target = Target::new(AuditTargetType::MasterKey, "");
        let changes = Changes::none().secret("master_key").field("encrypted", (), rotated.encrypted).field(
            "unreadable",
            (),
            &rotated.unreadable,
        );
        let record = Record::new(Author::Operator, AuditAction::MasterKeyRotated, target);
        self.context.trail.write(record.changes(changes)).await?;
        Ok(rotated)
    }

    /// Deletes one batch of rows past their retention, and returns their number; 0 if none are left.
    ///
    /// The retention of deliveries and their attempts counts from the end of the delivery. Sessions, budgets of log-ins,
    /// idempotency keys, digests of status updates and notifications expire too.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn retention_batch(&self) -> Result<u64, Problem> {
        Ok(self.delete_batch().await?)
    }

    /// Removes access information and details of services from one batch of reservations that ended long enough ago. Returns
    /// their number; 0 if none are left.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn access_info_batch(&self) -> Result<u64, Problem> {
        Ok(self.remove_access_info().await?)
    }

    async fn remove_access_info(&self) -> Result<u64> {
        let days = Duration::days(self.context.settings.access_info_retention_days.into());
        let state = provisioning::COLUMN.state;
        let ids: Vec<String> = provisioning::Entity::find()
            .select_only()
            .column(provisioning::Column::ReservationId)
            .inner_join(reservations::Entity)
            .filter(reservations::COLUMN.status.ne(Text(ReservationStatus::Active)))
            .filter(reservations::COLUMN.end_at.lt((self.context.now() - days).timestamp_millis()))
            .filter(HAS_ACCESS_INFO.iter().fold(Condition::any(), |any, part| any.add(state.contains(*part))))
            .limit(BATCH)
            .into_tuple()
            .all(&self.context.db.read)
            .await?;
        if ids.is_empty() {
            return Ok(0);
        }
        let mut ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        // All transactions lock in the same order, which avoids a deadlock.
        ids.sort_unstable();
        let tx = self.context.db.begin_unaudited().await?;
        let mut states = Vec::with_capacity(ids.len());
        for locked in lock_states(&self.context.db, &tx, &ids).await? {
            states.push((locked.reservation_id, to_stored(&locked.provisioning.without_access_info())?));
        }
        update_states(&self.context.db, &tx, &states).await?;
        tx.commit().await?;
        metrics::counter!("berth_retention_deleted_total", "kind" => "access_info").increment(states.len() as u64);
        Ok(states.len() as u64)
    }

    async fn delete_batch(&self) -> Result<u64> {
        let now = self.context.now();
        let before = |age: Duration| (now - age).timestamp_millis();
        let until = before(Duration::days(self.context.settings.retention_days.into()));
        let expired = self.expired_deliveries(until).await?;
        let tx = self.context.db.begin_unaudited().await?;
        let counts = [
            ("delivery", delete_deliveries(&self.context.db, &tx, &expired).await?),
            (
                "session",
                delete_older(&tx, sessions::Entity, sessions::Column::ExpiresAt, before(Duration::zero())).await?,
            ),
            (
                "idempotency_key",
                delete_older(&tx, idempotency_keys::Entity, idempotency_keys::Column::CreatedAt, before(KEY_LIFETIME))
                    .await?,
            ),
            (
                "status_update",
                delete_older(
                    &tx,
                    status_updates::Entity,
                    status_updates::Column::ReceivedAt,
                    before(STATUS_UPDATE_LIFETIME),
                )
                .await?,
            ),
            (
                "receiver_callback",
                delete_older(
                    &tx,
                    receiver_callbacks::Entity,
                    receiver_callbacks::Column::ReceivedAt,
                    before(CALLBACK_LIFETIME),
                )
                .await?,
            ),
            (
                "login_budget",
                delete_older(&tx, login_budgets::Entity, login_budgets::Column::SpentUntil, before(Duration::zero()))
                    .await?,
            ),
            (
                "log_in_state",
                delete_older(
                    &tx,
                    used_log_in_states::Entity,
                    used_log_in_states::Column::ExpiresAt,
                    before(Duration::zero()),
                )
                .await?,
            ),
            (
                "challenge",
                delete_older(&tx, challenges::Entity, challenges::Column::ExpiresAt, before(Duration::zero())).await?,
            ),
            ("delivery_count", delete_counts(&tx, now.timestamp()).await?),
            ("replay", delete_replays(&tx, until).await?),
            (
                "alert_notice",
                delete_older(&tx, alert_notices::Entity, alert_notices::Column::CreatedAt, before(NOTICE_LIFETIME))
                    .await?,
            ),
            ("alert", delete_older(&tx, alerts::Entity, alerts::Column::ResolvedAt, until).await?),
            ("notification", delete_older(&tx, notifications::Entity, notifications::Column::At, until).await?),
        ];
        tx.commit().await?;
        for (kind, count) in counts {
            metrics::counter!("berth_retention_deleted_total", "kind" => kind).increment(count);
        }
        Ok(counts.iter().map(|(_, count)| count).sum())
    }

    /// The next finished deliveries that ended before `until`, about one batch; empty at the end of a pass.
    async fn expired_deliveries(&self, until: i64) -> Result<Vec<i64>> {
        loop {
            let mut cursor = self.retention_cursor.load(Ordering::Relaxed);
            let finished = self.finished_deliveries(cursor).await?;
            let mut has_more = finished.len() as u64 == BATCH;
            let mut expired = Vec::new();
            for delivery in finished {
                // Ordered by `seq`, which is roughly the order of creation: the rest is younger.
                if delivery.created_at >= until {
                    has_more = false;
                    break;
                }
                cursor = delivery.seq;
                // An old delivery can have ended recently, e.g. after a pause. It is kept, and the cursor moves past
                // it.
                if delivery.ended_at < until {
                    expired.push(delivery.seq);
                }
            }
            self.retention_cursor.store(if has_more { cursor } else { 0 }, Ordering::Relaxed);
            if !has_more || !expired.is_empty() {
                return Ok(expired);
            }
        }
    }

    /// The first batch after `cursor` of deliveries that have left the queue, along the primary key.
    async fn finished_deliveries(&self, cursor: i64) -> Result<Vec<FinishedDelivery>, DbErr> {
        let queued = outbox::Entity::find().filter(correlate(outbox::Column::Seq, deliveries::Column::Seq));
        // A success does not update the row in `deliveries`; it ended with its last attempt.
        let last_attempt = attempts::Entity::find()
            .select_only()
            .expr(attempts::Column::StartedAt.max())
            .filter(correlate(attempts::Column::DeliverySeq, deliveries::Column::Seq));
        let ended_at = Func::coalesce([
            Expr::col(deliveries::Column::EndedAt.as_column_ref()),
            last_attempt.into_query().into(),
            Expr::col(deliveries::Column::UpdatedAt.as_column_ref()),
        ]);
        deliveries::Entity::find()
            .select_only()
            .columns([deliveries::Column::Seq, deliveries::Column::CreatedAt])
            .expr_as(ended_at, "ended_at")
            .filter(deliveries::COLUMN.seq.gt(cursor))
            .filter(Expr::exists(queued.into_query()).not())
            .order_by_asc(deliveries::Column::Seq)
            .limit(BATCH)
            .into_model()
            .all(&self.context.db.read)
            .await
    }

    /// Writes a consistent copy of the SQLite database to `file`, while Berth runs.
    ///
    /// # Errors
    /// 409 if the file exists, or on PostgreSQL, which has its own tools.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn backup(&self, file: &Path) -> Result<(), Problem> {
        if self.context.db.is_postgres() {
            return Err(Problem::conflict(
                "This command copies SQLite databases. Use PostgreSQL's tools instead, e.g. pg_dump --format=custom.",
            ));
        }
        reserve_file(file)?;
        vacuum_into(&self.context.db.read, file).await.map_err(|error| {
            // The incomplete file would make a second attempt fail.
            let _ = std::fs::remove_file(file);
            backup_failed(file, &error)
        })
    }
}

/// Creates an empty file that only this user may read, because the copy contains password hashes. Fails if it exists.
fn reserve_file(file: &Path) -> Result<(), Problem> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(file) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(Problem::conflict(format!("{} already exists. Choose another file.", file.display())))
        }
        Err(error) => Err(backup_failed(file, &error)),
    }
}

fn backup_failed(file: &Path, error: &dyn Display) -> Problem {
    tracing::error!(%error, "the backup failed");
    let file = file.display();
    Problem::new(
        ProblemKind::Internal,
        format!("The backup cannot be written to {file}. Check that the folder exists and the disk has space."),
    )
}

/// Deletes counters of attempts after their retention.
async fn delete_counts(tx: &DatabaseTransaction, now: i64) -> Result<u64, DbErr> {
    let expired = STORED_STEPS.into_iter().zip(COUNT_DAYS).fold(Condition::any(), |any, (step, days)| {
        let of_step = Condition::all().add(delivery_counts::COLUMN.step.eq(step));
        any.add(of_step.add(delivery_counts::COLUMN.start_at.lt(now - days * 86_400)))
    });
    Ok(delivery_counts::Entity::delete_many().filter(expired).exec(tx).await?.rows_affected)
}

/// Deletes deliveries with their attempts and their rows of the index.
async fn delete_deliveries(db: &Database, tx: &DatabaseTransaction, seqs: &[i64]) -> Result<u64, DbErr> {
    if seqs.is_empty() {
        return Ok(0);
    }
    delivery_words::remove(db, tx, seqs).await?;
    let seqs = seqs.iter().copied();
    attempts::Entity::delete_many().filter(attempts::COLUMN.delivery_seq.is_in(seqs.clone())).exec(tx).await?;
    let deleted = deliveries::Entity::delete_many().filter(deliveries::COLUMN.seq.is_in(seqs)).exec(tx).await?;
    Ok(deleted.rows_affected)
}

/// Deletes one batch of rows of `E` whose `column` is less than `until`.
async fn delete_older<E: EntityTrait>(
    tx: &DatabaseTransaction,
    _: E,
    column: E::Column,
    until: i64,
) -> Result<u64, DbErr> {
    let key = || E::PrimaryKey::iter().map(|key| key.into_column());
    let expired = E::find().select_only().columns(key()).filter(column.lt(until)).limit(BATCH);
    let key = Expr::tuple(key().map(|column| Expr::col(column.as_column_ref())));
    let deleted = E::delete_many().filter(key.in_subquery(expired.into_query())).exec(tx).await?;
    Ok(deleted.rows_affected)
}

/// Deletes one batch of the items of a replay that began before `until`, or the replay itself if it has none left.
async fn delete_replays(tx: &DatabaseTransaction, until: i64) -> Result<u64, DbErr> {
    let expired = replays::Entity::find().select_only().column(replays::Column::Id);
    let expired = expired.filter(replays::COLUMN.created_at.lt(until)).limit(1);
    let Some(id) = expired.into_tuple::<String>().one(tx).await? else { return Ok(0) };
    let of_replay = replay_items::COLUMN.replay_id.eq(id.as_str());
    let batch = replay_items::Entity::find().select_only().column(replay_items::Column::Position);
    let batch = batch.filter(of_replay.clone()).limit(BATCH);
    let items = replay_items::Entity::delete_many()
        .filter(of_replay)
        .filter(replay_items::COLUMN.position.in_subquery(batch.into_query()))
        .exec(tx)
        .await?;
    if items.rows_affected > 0 {
        return Ok(items.rows_affected);
    }
    Ok(replays::Entity::delete_by_id(id).exec(tx).await?.rows_affected)
}

/// Correlates a subquery with the outer query by equal columns.
fn correlate(inner: impl ColumnTrait, outer: impl ColumnTrait) -> Expr {
    Expr::col(inner.as_column_ref()).equals(outer.as_column_ref())
}
