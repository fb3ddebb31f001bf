//! The claim: leases due deliveries, for each webhook at most its budget, and reads them.
//!
//! Hand-written: SeaORM expresses neither a LATERAL subquery with SKIP LOCKED for each webhook nor an update by `ctid`.
//! Benchmarks: drain, latency, isolation, slow receiver, idle.

use super::connect::Database;
use crate::db::codec::to_json;
use crate::error::Error;
use domain::id::WebhookId;
use sea_orm::{ConnectionTrait as _, DbErr, QueryResult, TryGetableMany as _};
use serde_json::json;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A position in a webhook's queue. Positions have the order of the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct QueuePosition {
    /// Due time of the entry, in milliseconds since the epoch.
    pub(crate) due_at: i64,
    /// Sequence number of the entry.
    pub(crate) seq: i64,
}

impl QueuePosition {
    /// The position before every entry.
    pub(crate) const START: Self = Self { due_at: 0, seq: 0 };
}

/// The claim budget of one webhook.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClaimBudget {
    /// Maximum number of deliveries.
    pub(crate) free: u32,
    /// The scan cursor: only entries after this position are claimed.
    pub(crate) after: QueuePosition,
}

/// The parameters of one claim.
pub(crate) struct ClaimRequest<'a> {
    pub(crate) token: &'a Arc<str>,
    /// The current time, in milliseconds since the epoch.
    pub(crate) at: i64,
    /// Expiry of the leases, in milliseconds since the epoch.
    pub(crate) lease_until: i64,
    /// Maximum number of deliveries of all webhooks together.
    pub(crate) limit: u32,
    pub(crate) budgets: BTreeMap<WebhookId, ClaimBudget>,
    /// Whether retries are excluded.
    pub(crate) first_attempts_only: bool,
}

/// The order of webhooks in claims. Each claim begins with another webhook, which avoids starvation when one claim
/// cannot serve all webhooks.
#[derive(Default)]
pub(crate) struct RoundRobin(AtomicUsize);

impl RoundRobin {
    fn order(&self, budgets: &BTreeMap<WebhookId, ClaimBudget>) -> Vec<(WebhookId, ClaimBudget)> {
        let mut order: Vec<_> = budgets.iter().map(|(id, budget)| (*id, *budget)).collect();
        let first = self.0.fetch_add(1, Ordering::Relaxed) % order.len().max(1);
        order.rotate_left(first);
        order
    }
}

/// A claimed delivery.
pub(crate) struct ClaimedRow {
    pub(crate) seq: i64,
    /// The number of the attempt that this claim begins.
    pub(crate) attempt: u32,
    pub(crate) ordering_key: String,
    pub(crate) due_at: i64,
    pub(crate) delivery_id: String,
    pub(crate) event_id: String,
    pub(crate) event_type: String,
    pub(crate) webhook_id: WebhookId,
    pub(crate) reservation_id: Option<String>,
    pub(crate) body: String,
    /// The name of the payload format; `None` for the default one.
    pub(crate) payload_format: Option<String>,
    pub(crate) created_at: i64,
    pub(crate) redelivery_of: Option<String>,
}

/// The columns of a [`ClaimedRow`], of an entry `o` and its delivery `d`.
const COLUMNS: &str =
    "o.seq, o.attempts, o.ordering_key, o.due_at, d.id, d.event_id, d.event_type, d.webhook_id, d.reservation_id,
    d.body, d.created_at, d.redelivery_of, d.payload_format";
type Columns = (i64, i32, String, i64, String, String, String, WebhookId, Option<String>, String, i64, Option<String>);

impl ClaimedRow {
    /// Reads a row by position: a lookup by name costs more than the value.
    fn read(row: &QueryResult) -> Result<Self, DbErr> {
        let (
            seq,
            attempt,
            ordering_key,
            due_at,
            delivery_id,
            event_id,
            event_type,
            webhook_id,
            reservation_id,
            body,
            created_at,
            redelivery_of,
        ) = Columns::try_get_many_by_index(row)?;
        // A tuple has at most 12 elements.
        let payload_format = row.try_get_by_index(12)?;
        Ok(Self {
            seq,
            attempt: attempt as u32,
            ordering_key,
            due_at,
            delivery_id,
            event_id,
            event_type,
            webhook_id,
            reservation_id,
            body,
            payload_format,
            created_at,
            redelivery_of,
        })
    }
}

/// The delivery of a lease that is still held. Plan: the primary keys of `outbox` and `deliveries`.
pub(crate) async fn find_leased(
    db: &Database,
    webhook: WebhookId,
    lease: &super::queue_leases::Lease,
) -> Result<Option<ClaimedRow>, Error> {
    let sql = format!(
        "SELECT {COLUMNS}
        FROM outbox o JOIN deliveries d ON d.seq = o.seq
        WHERE o.seq = $1 AND o.lease_owner = $2 AND o.webhook_id = $3"
    );
    let rows = db.query(&sql, [lease.seq.into(), (&*lease.token).into(), webhook.into()]).await?;
    Ok(rows.first().map(ClaimedRow::read).transpose()?)
}

/// The condition for a claimable entry `o`, in addition to its webhook: unleased, due at `$2`, and the first of its
/// ordering key.
///
/// `fresh` entries were the first at insertion. For the others a correlated subquery reads `outbox_order` for each
/// entry; with NOT EXISTS the planner could choose an anti-join over the whole queue.
fn claimable(first_attempts_only: bool) -> String {
    let first = if first_attempts_only { "AND o.attempts = 0" } else { "" };
    format!(
        "o.lease_owner IS NULL
            AND o.due_at <= $2
            {first}
            AND (o.fresh OR (
                SELECT 1 FROM outbox e
                WHERE e.webhook_id = o.webhook_id AND e.ordering_key = o.ordering_key AND e.seq < o.seq
                LIMIT 1
            ) IS NULL)"
    )
}

/// Leases due deliveries and reads them.
pub(crate) async fn claim(
    db: &Database,
    request: &ClaimRequest<'_>,
    round_robin: &RoundRobin,
) -> Result<Vec<ClaimedRow>, Error> {
    if db.is_postgres() {
        claim_postgres(db, request, round_robin).await
    } else {
        claim_sqlite(db, request, round_robin).await
    }
}

/// Claims in one statement. Plan: for each webhook with due deliveries, a range of `outbox_due` up to its share; an
/// update by `ctid`; the primary key of `deliveries`. SKIP LOCKED skips entries of other transactions. A locked row
/// does not move, so its `ctid` stays valid until the update.
async fn claim_postgres(
    db: &Database,
    request: &ClaimRequest<'_>,
    round_robin: &RoundRobin,
) -> Result<Vec<ClaimedRow>, Error> {
    let budgets: Vec<_> = round_robin
        .order(&request.budgets)
        .into_iter()
        .map(|(id, ClaimBudget { free, after })| json!({"id": id, "free": free, "due": after.due_at, "seq": after.seq}))
        .collect();
    let claimable = claimable(request.first_attempts_only);
    let sql = format!(
        "WITH r AS MATERIALIZED (
            SELECT r.id, LEAST(r.free, GREATEST(1, $5 / COUNT(*) OVER ())) AS share, r.due, r.seq
            FROM json_to_recordset($1::json) AS r(id bigint, free bigint, due bigint, seq bigint)
            WHERE EXISTS (
                SELECT 1 FROM outbox o
                WHERE o.webhook_id = r.id AND (o.due_at, o.seq) > (r.due, r.seq)
                    AND o.lease_owner IS NULL AND o.due_at <= $2
            )
        ),
        due AS MATERIALIZED (
            SELECT q.place
            FROM r CROSS JOIN LATERAL (
                SELECT o.ctid AS place
                FROM outbox o
                WHERE o.webhook_id = r.id AND (o.due_at, o.seq) > (r.due, r.seq) AND {claimable}
                ORDER BY o.due_at, o.seq
                LIMIT r.share
                FOR UPDATE SKIP LOCKED
            ) q
            LIMIT $5
        ),
        taken AS MATERIALIZED (
            UPDATE outbox AS o
            SET attempts = o.attempts + 1, lease_until = $3, lease_owner = $4, updated_at = $2
            WHERE o.ctid = ANY(ARRAY(SELECT place FROM due))
            RETURNING o.seq, o.attempts, o.ordering_key, o.due_at
        )
        SELECT {COLUMNS}
        FROM taken o JOIN deliveries d ON d.seq = o.seq"
    );
    let values = [
        to_json(&budgets)?.into(),
        request.at.into(),
        request.lease_until.into(),
        (&**request.token).into(),
        i64::from(request.limit).into(),
    ];
    let rows = db.claim.query_all_raw(db.statement(sql, values)).await?;
    rows.iter().map(|row| ClaimedRow::read(row).map_err(Error::from)).collect()
}

/// Claims in two steps: finds due deliveries on read connections, and uses the writer only for the leases.
async fn claim_sqlite(
    db: &Database,
    request: &ClaimRequest<'_>,
    round_robin: &RoundRobin,
) -> Result<Vec<ClaimedRow>, Error> {
    let budgets = budgets_with_work(db, request).await?;
    if budgets.is_empty() {
        return Ok(Vec::new());
    }
    let rows = find_due(db, request, round_robin.order(&budgets)).await?;
    lease_found(db, request, rows).await
}

/// The budgets of webhooks with due deliveries, read without the writer: an idle dispatcher never locks it. A webhook
/// with a scan cursor had more due deliveries than its last claim leased. Plan: a seek in `outbox_due` for each
/// webhook.
async fn budgets_with_work(
    db: &Database,
    request: &ClaimRequest<'_>,
) -> Result<BTreeMap<WebhookId, ClaimBudget>, Error> {
    let (mut budgets, unknown): (BTreeMap<_, _>, BTreeMap<_, _>) = request
        .budgets
        .iter()
        .map(|(id, budget)| (*id, *budget))
        .partition(|(_, budget)| budget.after != QueuePosition::START);
    if unknown.is_empty() {
        return Ok(budgets);
    }
    let sql = "SELECT w.value
        FROM json_each($1) w
        WHERE EXISTS (
            SELECT 1 FROM outbox o
            WHERE o.webhook_id = w.value AND o.lease_owner IS NULL AND o.due_at <= $2
        )";
    let ids = to_json(&unknown.keys().collect::<Vec<_>>())?;
    for row in db.query(sql, [ids.into(), request.at.into()]).await? {
        let id = row.try_get_by_index(0)?;
        budgets.extend(unknown.get(&id).map(|budget| (id, *budget)));
    }
    Ok(budgets)
}

/// Reads due deliveries, one webhook after the other. Plan: a range of `outbox_due`, in order; then the primary key of
/// `deliveries`. CROSS JOIN fixes the join order.
async fn find_due(
    db: &Database,
    request: &ClaimRequest<'_>,
    budgets: Vec<(WebhookId, ClaimBudget)>,
) -> Result<Vec<ClaimedRow>, Error> {
    let claimable = claimable(request.first_attempts_only);
    let sql = format!(
        "SELECT {COLUMNS}
        FROM (
            SELECT o.seq, o.attempts + 1 AS attempts, o.ordering_key, o.due_at
            FROM outbox o
            WHERE o.webhook_id = $1 AND (o.due_at, o.seq) > ($4, $5) AND {claimable}
            ORDER BY o.due_at, o.seq
            LIMIT $3
        ) o
        CROSS JOIN deliveries d ON d.seq = o.seq"
    );
    let share = (request.limit / budgets.len() as u32).max(1);
    let mut found = Vec::new();
    for (id, ClaimBudget { free, after }) in budgets {
        let left = u64::from(request.limit).saturating_sub(found.len() as u64).min(free.min(share).into());
        if left == 0 {
            break;
        }
        let values = [id.into(), request.at.into(), (left as i64).into(), after.due_at.into(), after.seq.into()];
        for row in db.query(sql.clone(), values).await? {
            found.push(ClaimedRow::read(&row)?);
        }
    }
    Ok(found)
}

/// Leases the found deliveries. Drops rows that were cancelled, or claimed and requeued, since they were read. Plan:
/// the primary key of `outbox` for each row.
async fn lease_found(
    db: &Database,
    request: &ClaimRequest<'_>,
    mut rows: Vec<ClaimedRow>,
) -> Result<Vec<ClaimedRow>, Error> {
    let attempts: BTreeMap<i64, u32> = rows.iter().map(|row| (row.seq, row.attempt - 1)).collect();
    let sql = "UPDATE outbox AS o
        SET attempts = o.attempts + 1, lease_until = $2, lease_owner = $3, updated_at = $4
        FROM json_each($1) r
        WHERE o.seq = CAST(r.key AS INTEGER) AND o.attempts = r.value AND o.lease_owner IS NULL";
    let token = &**request.token;
    let values = [to_json(&attempts)?.into(), request.lease_until.into(), token.into(), request.at.into()];
    let leased = db.write.execute_raw(db.statement(sql, values)).await?.rows_affected();
    if leased == rows.len() as u64 {
        return Ok(rows);
    }
    let mut held: HashSet<i64> = HashSet::new();
    for row in db.query("SELECT seq FROM outbox WHERE lease_owner = $1", [token.into()]).await? {
        held.insert(row.try_get_by_index(0)?);
    }
    rows.retain(|row| held.contains(&row.seq));
    Ok(rows)
}
