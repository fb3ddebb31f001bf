//! Claims: what is due, for each webhook what it has room for.

use super::{Claimed, Lease, WAITING, body_bytes};
use crate::Service;
use crate::store::{db_problem, get, time, to_json};
use domain::Problem;
use domain::delivery_log::DeliveryStatus;
use domain::event::EventType;
use domain::id::{DeliveryId, EventId, WebhookId};
use domain::live::Change;
use sea_orm::{ConnectionTrait as _, QueryResult, TryGetableMany as _};
use serde_json::json;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::Ordering;

/// What a claim found.
pub struct Claim {
    /// To be sent now.
    pub items: Vec<Claimed>,
    /// Whether more may be due that had no room: claim again when requests end.
    pub more: bool,
}

/// What a claim reads, in this order: by place, for a look by name costs more than the value.
const COLUMNS: &str = "o.seq, o.attempts, o.ordering_key, d.id, d.event_id, d.event_type, d.webhook_id, d.reservation_id, d.body, d.created_at, d.redelivery_of";
type Row = (i64, i32, String, String, String, String, WebhookId, Option<String>, String, i64, Option<String>);

impl Service {
    /// Claims due deliveries for `owner`: for each enabled webhook at most what it has room for, oldest due first, never
    /// one with an earlier unfinished delivery of the same ordering key. Announces each as `sending`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn claim(&self, owner: &str, limit: u32) -> Result<Claim, Problem> {
        let now = self.now();
        let at = now.timestamp_millis();
        // A clock that went ahead is known from here on, also where it is set back before the next look.
        self.inner.outbox.latest.fetch_max(at, Ordering::Relaxed);
        let configs = self.configs(&self.inner.read).await?;
        let slots = &self.inner.outbox.slots;
        let first_only = slots.retries_fill_their_share();
        let mut more = false;
        let mut room: BTreeMap<WebhookId, u32> = BTreeMap::new();
        for config in configs.enabled() {
            match slots.free(config, now) {
                0 => more = true,
                free => {
                    room.insert(config.id, free.min(limit));
                }
            }
        }
        if room.is_empty() {
            return Ok(Claim { items: Vec::new(), more });
        }
        let token = self.new_token(owner);
        let rows = if self.is_postgres() {
            self.claim_postgres(&token, at, limit, &room, first_only).await?
        } else {
            self.claim_sqlite(&token, at, limit, &mut room, first_only).await?
        };
        let mut taken: HashMap<WebhookId, u32> = HashMap::new();
        let mut items = Vec::with_capacity(rows.len());
        let mut homeless = Vec::new();
        let total = rows.len();
        for row in &rows {
            let (
                seq,
                attempt,
                ordering_key,
                id,
                event_id,
                event_type,
                webhook_id,
                reservation_id,
                body,
                at,
                redelivery,
            ) = Row::try_get_many_by_index(row).map_err(|error| db_problem(error.into()))?;
            let lease = Lease { seq, token: token.clone() };
            *taken.entry(webhook_id).or_default() += 1;
            let attempt = attempt as u32;
            // Since the room was asked for, the direct lane may have taken it: then it goes back.
            let permit = configs.get(webhook_id).and_then(|config| slots.try_take(config, now, attempt > 1));
            let (Some(config), Some(permit), Some(event_type)) =
                (configs.get(webhook_id), permit, EventType::parse(&event_type))
            else {
                homeless.push(lease);
                continue;
            };
            items.push(Claimed {
                lease,
                job: delivery::Job {
                    target: config.target(now),
                    url: config.url(event_type),
                    delivery_id: DeliveryId(id),
                    event_id: EventId(event_id),
                    event_type,
                    attempt,
                    test: false,
                    body: body_bytes(body),
                },
                config: config.clone(),
                ordering_key,
                reservation_id,
                created_at: time(at),
                redelivery_of: redelivery.map(DeliveryId),
                permit,
            });
        }
        if !homeless.is_empty() {
            self.release(&homeless).await?;
            more = true;
        }
        // A webhook that took all of its share may have more; the share is at least this.
        let share = (limit / room.len().max(1) as u32).max(1);
        more |= total as u32 >= limit
            || taken.iter().any(|(id, count)| room.get(id).is_some_and(|free| *count >= share.min(*free)));
        // Claimed in no particular order; sent in that of the outbox.
        items.sort_by_key(|claimed| claimed.lease.seq);
        if self.has_audience() {
            self.announce(
                items.iter().map(|c| Change::Delivery(Box::new(c.summary(DeliveryStatus::Sending, now)))).collect(),
            );
        }
        Ok(Claim { items, more })
    }

    /// The webhooks with room, each claim beginning with another: where more of them have work than a claim takes, all
    /// get their turn.
    fn in_turn(&self, room: &BTreeMap<WebhookId, u32>) -> Vec<(WebhookId, u32)> {
        let mut turn: Vec<_> = room.iter().map(|(id, free)| (*id, *free)).collect();
        let first = self.inner.outbox.turn.fetch_add(1, Ordering::Relaxed) % turn.len().max(1);
        turn.rotate_left(first);
        turn
    }

    /// What a claimable entry `o` is, beside its webhook. None of its ordering key is before it: asked entry by entry, so that
    /// the database cannot think of comparing all with all, and answered by the index alone.
    fn due(first_only: bool) -> String {
        let first = if first_only { " AND o.attempts = 0" } else { "" };
        format!(
            "{WAITING} AND o.due_at <= $2{first} AND (SELECT 1 FROM outbox e WHERE e.webhook_id = o.webhook_id AND e.ordering_key = o.ordering_key AND e.seq < o.seq LIMIT 1) IS NULL"
        )
    }

    async fn claim_postgres(
        &self,
        token: &str,
        at: i64,
        limit: u32,
        room: &BTreeMap<WebhookId, u32>,
        first_only: bool,
    ) -> Result<Vec<QueryResult>, Problem> {
        // Locked rows stay where they are, so that the lease finds them by their place.
        let room: Vec<_> = self.in_turn(room).into_iter().map(|(id, free)| json!({"id": id, "free": free})).collect();
        let sql = format!(
            "WITH r AS MATERIALIZED (SELECT r.id, LEAST(r.free, GREATEST(1, $5 / COUNT(*) OVER ())) AS share FROM json_to_recordset($1::json) AS r(id bigint, free bigint)
               WHERE EXISTS (SELECT 1 FROM outbox o WHERE o.webhook_id = r.id AND {WAITING} AND o.due_at <= $2)),
             due AS MATERIALIZED (SELECT q.place FROM r CROSS JOIN LATERAL (
               SELECT o.ctid AS place FROM outbox o WHERE o.webhook_id = r.id AND {} ORDER BY o.due_at, o.seq LIMIT r.share FOR UPDATE SKIP LOCKED) q LIMIT $5),
             taken AS MATERIALIZED (UPDATE outbox AS o SET attempts = o.attempts + 1, lease_until = $3, lease_owner = $4, updated_at = $2
               WHERE o.ctid = ANY(ARRAY(SELECT place FROM due)) RETURNING o.seq, o.attempts, o.ordering_key)
             SELECT {COLUMNS} FROM taken o JOIN deliveries d ON d.seq = o.seq",
            Self::due(first_only)
        );
        let lease = at + self.lease().num_milliseconds();
        let values = [to_json(&room)?.into(), at.into(), lease.into(), token.into(), i64::from(limit).into()];
        self.inner.claim.query_all_raw(self.sql(sql, values)).await.map_err(db_problem)
    }

    async fn claim_sqlite(
        &self,
        token: &str,
        at: i64,
        limit: u32,
        room: &mut BTreeMap<WebhookId, u32>,
        first_only: bool,
    ) -> Result<Vec<QueryResult>, Problem> {
        // Which webhooks have anything due, read without the writer: an idle engine never locks it.
        let due = format!(
            "WITH RECURSIVE w(id) AS (SELECT MIN(webhook_id) FROM outbox UNION ALL
             SELECT (SELECT MIN(webhook_id) FROM outbox WHERE webhook_id > w.id) FROM w WHERE w.id IS NOT NULL)
             SELECT id FROM w WHERE id IS NOT NULL AND EXISTS (SELECT 1 FROM outbox o WHERE o.webhook_id = w.id AND {WAITING} AND o.due_at <= $1)"
        );
        let mut with_due = HashSet::new();
        for row in self.rows(due, [at.into()]).await? {
            with_due.insert(get::<i64>(&row, "id")?);
        }
        room.retain(|id, _| with_due.contains(id));
        if room.is_empty() {
            return Ok(Vec::new());
        }
        // Found and read beside the writer, who is needed only for the leases.
        let sql = format!(
            "SELECT {COLUMNS} FROM (SELECT o.seq, o.attempts + 1 AS attempts, o.ordering_key FROM outbox o WHERE o.webhook_id = $1 AND {} ORDER BY o.due_at, o.seq LIMIT $3) o CROSS JOIN deliveries d ON d.seq = o.seq",
            Self::due(first_only)
        );
        let mut rows = Vec::new();
        let share = (limit / room.len() as u32).max(1);
        for (id, free) in self.in_turn(room) {
            let left = u64::from(limit).saturating_sub(rows.len() as u64).min(free.min(share).into());
            if left == 0 {
                break;
            }
            rows.extend(self.rows(sql.clone(), [id.into(), at.into(), (left as i64).into()]).await?);
        }
        // What is no longer as it was read is not taken: cancelled, or taken by another process and put back.
        let mut attempts = BTreeMap::new();
        for row in &rows {
            let (seq, attempt) = <(i64, i32)>::try_get_many_by_index(row).map_err(|error| db_problem(error.into()))?;
            attempts.insert(seq, attempt - 1);
        }
        let sql = "UPDATE outbox AS o SET attempts = o.attempts + 1, lease_until = $2, lease_owner = $3, updated_at = $4
             FROM json_each($1) r WHERE o.seq = CAST(r.key AS INTEGER) AND o.attempts = r.value AND o.lease_owner IS NULL";
        let lease = at + self.lease().num_milliseconds();
        let values = [to_json(&attempts)?.into(), lease.into(), token.into(), at.into()];
        let taken = self.inner.write.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?.rows_affected();
        if taken == rows.len() as u64 {
            return Ok(rows);
        }
        let mut ours = HashSet::new();
        for row in self.rows("SELECT seq FROM outbox WHERE lease_owner = $1", [token.into()]).await? {
            ours.insert(get::<i64>(&row, "seq")?);
        }
        rows.retain(|row| row.try_get_by_index(0).is_ok_and(|seq: i64| ours.contains(&seq)));
        Ok(rows)
    }
}
