//! Claims: what is due, for each webhook what it has room for.

use super::{Claimed, Lease, WAITING, body_bytes};
use crate::Service;
use crate::store::{db_problem, get, time, to_json};
use domain::Problem;
use domain::delivery_log::DeliveryStatus;
use domain::event::EventType;
use domain::id::{DeliveryId, EventId, WebhookId};
use domain::live::Change;
use sea_orm::{ConnectionTrait as _, QueryResult};
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
        for row in rows {
            let webhook_id: WebhookId = get(&row, "webhook_id")?;
            let lease = Lease { seq: get(&row, "seq")?, token: token.clone() };
            *taken.entry(webhook_id).or_default() += 1;
            let attempt = get::<i32>(&row, "attempts")? as u32;
            // Since the room was asked for, the direct lane may have taken it: then it goes back.
            let permit = configs.get(webhook_id).and_then(|config| slots.try_take(config, now, attempt > 1));
            let (Some(config), Some(permit), Some(event_type)) =
                (configs.get(webhook_id), permit, EventType::parse(&get::<String>(&row, "event_type")?))
            else {
                homeless.push(lease);
                continue;
            };
            items.push(Claimed {
                lease,
                job: delivery::Job {
                    target: config.target(now),
                    url: config.url(event_type),
                    delivery_id: DeliveryId(get(&row, "id")?),
                    event_id: EventId(get(&row, "event_id")?),
                    event_type,
                    attempt,
                    test: false,
                    body: body_bytes(get(&row, "body")?),
                },
                config: config.clone(),
                ordering_key: get(&row, "ordering_key")?,
                reservation_id: get(&row, "reservation_id")?,
                created_at: time(get(&row, "created_at")?),
                redelivery_of: get::<Option<String>>(&row, "redelivery_of")?.map(DeliveryId),
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

    /// What a claimable entry `o` is, beside its webhook. The first of its ordering key: asked entry by entry, so that the
    /// database cannot think of comparing all with all.
    fn due(first_only: bool) -> String {
        let first = if first_only { " AND o.attempts = 0" } else { "" };
        format!(
            "{WAITING} AND o.due_at <= $2{first} AND o.seq = (SELECT MIN(e.seq) FROM outbox e WHERE e.webhook_id = o.webhook_id AND e.ordering_key = o.ordering_key)"
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
        let room: Vec<_> = self.in_turn(room).into_iter().map(|(id, free)| json!({"id": id, "free": free})).collect();
        let sql = format!(
            "WITH r AS MATERIALIZED (SELECT r.id, LEAST(r.free, GREATEST(1, $5 / COUNT(*) OVER ())) AS share FROM json_to_recordset($1::json) AS r(id bigint, free bigint)
               WHERE EXISTS (SELECT 1 FROM outbox o WHERE o.webhook_id = r.id AND {WAITING} AND o.due_at <= $2)),
             due AS MATERIALIZED (SELECT q.seq FROM r CROSS JOIN LATERAL (
               SELECT o.seq FROM outbox o WHERE o.webhook_id = r.id AND {} ORDER BY o.due_at, o.seq LIMIT r.share FOR UPDATE SKIP LOCKED) q LIMIT $5),
             taken AS MATERIALIZED (UPDATE outbox AS o SET attempts = o.attempts + 1, lease_until = $3, lease_owner = $4, updated_at = $2
               WHERE o.seq = ANY(ARRAY(SELECT seq FROM due)) RETURNING o.seq, o.attempts, o.ordering_key)
             SELECT t.seq, t.attempts, t.ordering_key, d.id, d.event_id, d.event_type, d.webhook_id, d.reservation_id, d.body, d.created_at, d.redelivery_of
             FROM taken t JOIN deliveries d ON d.seq = t.seq",
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
        let sql = format!(
            "UPDATE outbox SET attempts = attempts + 1, lease_until = $3, lease_owner = $4, updated_at = $2 WHERE seq IN (
               SELECT o.seq FROM outbox o WHERE o.webhook_id = $1 AND {} ORDER BY o.due_at, o.seq LIMIT $5)",
            Self::due(first_only)
        );
        let lease = at + self.lease().num_milliseconds();
        let mut taken = 0;
        let mut of: Vec<WebhookId> = Vec::with_capacity(room.len());
        let tx = self.write_tx().await?;
        let share = (limit / room.len() as u32).max(1);
        for (id, free) in self.in_turn(room) {
            let left = u64::from(limit).saturating_sub(taken).min(free.min(share).into());
            if left == 0 {
                break;
            }
            let values = [id.into(), at.into(), lease.into(), token.into(), (left as i64).into()];
            taken += tx.execute_raw(self.sql(sql.clone(), values)).await.map_err(db_problem)?.rows_affected();
            of.push(id);
        }
        let sql = "SELECT o.seq, o.attempts, o.ordering_key, d.id, d.event_id, d.event_type, d.webhook_id, d.reservation_id, d.body, d.created_at, d.redelivery_of
             FROM json_each($1) r CROSS JOIN outbox o ON o.webhook_id = r.value AND o.due_at <= $2 AND o.lease_owner = $3 CROSS JOIN deliveries d ON d.seq = o.seq";
        let values = [to_json(&of)?.into(), at.into(), token.into()];
        let rows = tx.query_all_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        tx.commit().await.map_err(db_problem)?;
        Ok(rows)
    }
}
