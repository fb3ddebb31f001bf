//! Claims: what is due, for each webhook what it has room for.

use super::scan_cursor::QueuePosition;
use super::{ClaimedDelivery, Lease, UNLEASED, WebhookSet, body_bytes};
use crate::Service;
use crate::db::codec::{get, time, to_json};
use crate::error::db_problem;
use chrono::Duration;
use domain::Problem;
use domain::change::Change;
use domain::delivery::DeliveryStatus;
use domain::event::EventType;
use domain::id::{DeliveryId, EventId, WebhookId};
use sea_orm::{ConnectionTrait as _, QueryResult, TryGetableMany as _};
use serde_json::json;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a claim found.
pub struct Claim {
    /// To be sent now.
    pub items: Vec<ClaimedDelivery>,
    /// Webhooks that had no room, or of which more may be due than was claimed: claim again when requests of theirs end, and
    /// now and then, for those with a rate limit.
    pub awaited: WebhookSet,
}

/// What a claim reads, in this order: by place, for a look by name costs more than the value.
const COLUMNS: &str = "o.seq, o.attempts, o.ordering_key, o.due_at, d.id, d.event_id, d.event_type, d.webhook_id, d.reservation_id, d.body, d.created_at, d.redelivery_of";
type Row = (i64, i32, String, i64, String, String, String, WebhookId, Option<String>, String, i64, Option<String>);

/// After this long a delivery is looked at again whose event this version does not know, as after going back to it.
const UNKNOWN: Duration = Duration::minutes(1);

/// What may be claimed of a webhook.
#[derive(Debug, Clone, Copy)]
struct Room {
    /// So many at most.
    free: u32,
    /// Those after this place in its queue.
    after: QueuePosition,
}

/// What a claim asks of the database.
struct Wanted<'a> {
    token: &'a Arc<str>,
    /// Now, in milliseconds since the epoch.
    at: i64,
    /// So many in all at most.
    limit: u32,
    room: BTreeMap<WebhookId, Room>,
    /// No retries.
    first_only: bool,
}

/// What was claimed.
#[derive(Default)]
struct Taken {
    rows: Vec<(EventType, Row)>,
    shares: HashMap<WebhookId, Share>,
    /// Of events that this version does not know.
    unknown: Vec<Lease>,
}

/// What was claimed of a webhook.
#[derive(Debug, Default)]
struct Share {
    count: u32,
    last: QueuePosition,
}

impl Service {
    /// Claims due deliveries of some webhooks for `owner`: for each enabled one at most what it has room for, oldest due first (nearly, where
    /// more waits than is claimed at once), never one with an earlier unfinished delivery of the same ordering key. Announces
    /// each as `sending`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn claim(&self, owner: &str, whose: &WebhookSet, limit: u32) -> Result<Claim, Problem> {
        let now = self.now();
        let at = now.timestamp_millis();
        // A clock that went ahead is known from here on, also where it is set back before the next look.
        self.inner.outbox.latest.fetch_max(at, Ordering::Relaxed);
        let configs = self.configs(&self.inner.context.db.read).await?;
        let limits = &self.inner.outbox.limits;
        let cursors = &self.inner.outbox.cursors;
        let first_only = limits.retries_fill_their_share();
        // Retries that have no lane now may have one when any request ends.
        let mut awaited = if first_only { WebhookSet::All } else { WebhookSet::empty() };
        let mut room: BTreeMap<WebhookId, Room> = BTreeMap::new();
        for config in configs.enabled().filter(|config| whose.contains(config.id)) {
            let free = limits.free(config, now);
            if free.requests == 0 {
                awaited.union(if free.limited_globally { WebhookSet::All } else { config.id.into() });
                continue;
            }
            // A mark passes over retries that had no lane.
            let after = if first_only { QueuePosition::START } else { cursors.after(config.id) };
            room.insert(config.id, Room { free: free.requests.min(limit), after });
        }
        if room.is_empty() {
            return Ok(Claim { items: Vec::new(), awaited });
        }
        let token = self.new_token(owner);
        let mut taken = Taken::default();
        let wanted = Wanted { token: &token, at, limit, room, first_only };
        self.take(&wanted, &mut taken).await?;
        let room = &wanted.room;
        // A webhook that took all of its share may have more; the share is at least this.
        let share = (limit / room.len().max(1) as u32).max(1);
        let is_full = |id: &WebhookId, room: &Room, taken: &Taken| {
            taken.shares.get(id).is_some_and(|taken| taken.count >= share.min(room.free))
        };
        let mut short = BTreeMap::new();
        for (id, room) in
            room.iter().filter(|(id, room)| room.after != QueuePosition::START && !is_full(id, room, &taken))
        {
            let count = taken.shares.get(id).map_or(0, |taken| taken.count);
            short.insert(*id, Room { free: room.free - count, after: QueuePosition::START });
        }
        let left = limit.saturating_sub(taken.rows.len() as u32);
        let again = Wanted { token: &token, at, limit: left, room: short, first_only };
        if !again.room.is_empty() && again.limit > 0 {
            let before = taken.rows.len();
            if let Err(problem) = self.take(&again, &mut taken).await {
                // What is leased already is sent.
                tracing::warn!(%problem, "a part of a claim waits for the database");
                awaited.union(whose.clone());
            }
            // Their share of this one was another.
            awaited.union(
                taken.rows.iter().skip(before).map(|(_, (_, _, _, _, _, _, _, webhook, ..))| *webhook).collect(),
            );
        }
        for (id, room) in room {
            // A claim that was over before this webhook's turn says nothing of its queue.
            let untouched = taken.rows.len() as u32 >= limit && !taken.shares.contains_key(id);
            if !untouched {
                let last =
                    taken.shares.get(id).filter(|_| !first_only && is_full(id, room, &taken)).map(|taken| taken.last);
                cursors.advance(*id, if again.room.contains_key(id) { QueuePosition::START } else { room.after }, last);
            }
        }
        if taken.rows.len() as u32 >= limit {
            awaited.union(whose.clone());
        } else {
            awaited.union(room.iter().filter(|(id, room)| is_full(id, room, &taken)).map(|(id, _)| *id).collect());
        }
        let mut items = Vec::with_capacity(taken.rows.len());
        let mut unplaced = Vec::new();
        for (event_type, row) in taken.rows {
            let (seq, attempt, ordering_key, _, id, event_id, _, webhook_id, reservation_id, body, at, redelivery) =
                row;
            let lease = Lease { seq, token: token.clone() };
            let attempt = attempt as u32;
            // Since the room was asked for, the direct lane may have taken it: then it goes back.
            let permit = configs.get(webhook_id).and_then(|config| limits.try_take(config, now, attempt > 1));
            let (Some(config), Some(permit)) = (configs.get(webhook_id), permit) else {
                awaited.union(webhook_id.into());
                unplaced.push(lease);
                continue;
            };
            items.push(ClaimedDelivery {
                lease,
                job: delivery::DeliveryRequest {
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
        let back = async {
            self.release(&unplaced).await?;
            // Not told to anybody, who would only claim it again.
            self.requeue(&taken.unknown, at + UNKNOWN.num_milliseconds()).await
        };
        if let Err(problem) = back.await {
            tracing::warn!(%problem, "claims could not be handed back; their leases will lapse");
        }
        // ClaimedDelivery in no particular order; sent in that of the outbox.
        items.sort_by_key(|claimed| claimed.lease.seq);
        if self.has_subscribers() {
            self.announce(
                items.iter().map(|c| Change::Delivery(Box::new(c.summary(DeliveryStatus::Sending, now)))).collect(),
            );
        }
        Ok(Claim { items, awaited })
    }

    /// Leases what is wanted and due, and adds to what was taken of each webhook.
    async fn take(&self, wanted: &Wanted<'_>, taken: &mut Taken) -> Result<(), Problem> {
        let rows =
            if self.is_postgres() { self.claim_postgres(wanted).await? } else { self.claim_sqlite(wanted).await? };
        for row in &rows {
            let row = Row::try_get_many_by_index(row).map_err(|error| db_problem(error.into()))?;
            let (seq, _, _, due_at, _, _, event_type, webhook, ..) = &row;
            let Some(event) = EventType::parse(event_type) else {
                tracing::warn!(seq, event_type, "a delivery waits for a version that knows its event");
                taken.unknown.push(Lease { seq: *seq, token: wanted.token.clone() });
                continue;
            };
            let share = taken.shares.entry(*webhook).or_default();
            share.count += 1;
            share.last = share.last.max(QueuePosition { due_at: *due_at, seq: *seq });
            taken.rows.push((event, row));
        }
        Ok(())
    }

    /// The webhooks with room, each claim beginning with another: where more of them have work than a claim takes, all
    /// get their turn.
    fn round_robin(&self, room: &BTreeMap<WebhookId, Room>) -> Vec<(WebhookId, Room)> {
        let mut turn: Vec<_> = room.iter().map(|(id, room)| (*id, *room)).collect();
        let first = self.inner.outbox.turn.fetch_add(1, Ordering::Relaxed) % turn.len().max(1);
        turn.rotate_left(first);
        turn
    }

    /// What a claimable entry `o` is, beside its webhook. None of its ordering key is before it: known of those that
    /// were the first when they were made, and of others asked entry by entry, so that the database cannot think of comparing
    /// all with all, and answered by the index alone.
    fn due(first_only: bool) -> String {
        let first = if first_only { " AND o.attempts = 0" } else { "" };
        format!(
            "{UNLEASED} AND o.due_at <= $2{first} AND (o.fresh OR (SELECT 1 FROM outbox e WHERE e.webhook_id = o.webhook_id AND e.ordering_key = o.ordering_key AND e.seq < o.seq LIMIT 1) IS NULL)"
        )
    }

    async fn claim_postgres(&self, wanted: &Wanted<'_>) -> Result<Vec<QueryResult>, Problem> {
        let &Wanted { token, at, limit, ref room, first_only } = wanted;
        let room: Vec<_> = self
            .round_robin(room)
            .into_iter()
            .map(|(id, Room { free, after })| json!({"id": id, "free": free, "due": after.due_at, "seq": after.seq}))
            .collect();
        // Locked rows stay where they are, so that the lease finds them by their place.
        let sql = format!(
            "WITH r AS MATERIALIZED (SELECT r.id, LEAST(r.free, GREATEST(1, $5 / COUNT(*) OVER ())) AS share, r.due, r.seq FROM json_to_recordset($1::json) AS r(id bigint, free bigint, due bigint, seq bigint)
               WHERE EXISTS (SELECT 1 FROM outbox o WHERE o.webhook_id = r.id AND (o.due_at, o.seq) > (r.due, r.seq) AND {UNLEASED} AND o.due_at <= $2)),
             due AS MATERIALIZED (SELECT q.place FROM r CROSS JOIN LATERAL (
               SELECT o.ctid AS place FROM outbox o WHERE o.webhook_id = r.id AND (o.due_at, o.seq) > (r.due, r.seq) AND {} ORDER BY o.due_at, o.seq LIMIT r.share FOR UPDATE SKIP LOCKED) q LIMIT $5),
             taken AS MATERIALIZED (UPDATE outbox AS o SET attempts = o.attempts + 1, lease_until = $3, lease_owner = $4, updated_at = $2
               WHERE o.ctid = ANY(ARRAY(SELECT place FROM due)) RETURNING o.seq, o.attempts, o.ordering_key, o.due_at)
             SELECT {COLUMNS} FROM taken o JOIN deliveries d ON d.seq = o.seq",
            Self::due(first_only)
        );
        let lease = at + self.lease().num_milliseconds();
        let values = [to_json(&room)?.into(), at.into(), lease.into(), (&**token).into(), i64::from(limit).into()];
        self.inner.context.db.claim.query_all_raw(self.sql(sql, values)).await.map_err(db_problem)
    }

    async fn claim_sqlite(&self, wanted: &Wanted<'_>) -> Result<Vec<QueryResult>, Problem> {
        let &Wanted { token, at, limit, ref room, first_only } = wanted;
        // Which webhooks have anything due, read without the writer: an idle engine never locks it. Those with a mark had more
        // than was taken.
        let (mut room, unknown): (BTreeMap<_, _>, BTreeMap<_, _>) =
            room.iter().map(|(id, room)| (*id, *room)).partition(|(_, room)| room.after != QueuePosition::START);
        if !unknown.is_empty() {
            let due = format!(
                "SELECT w.value AS id FROM json_each($1) w WHERE EXISTS (SELECT 1 FROM outbox o WHERE o.webhook_id = w.value AND {UNLEASED} AND o.due_at <= $2)"
            );
            let ids = to_json(&unknown.keys().collect::<Vec<_>>())?;
            for row in self.rows(due, [ids.into(), at.into()]).await? {
                let id = get(&row, "id")?;
                room.extend(unknown.get(&id).map(|room| (id, *room)));
            }
        }
        if room.is_empty() {
            return Ok(Vec::new());
        }
        // Found and read beside the writer, who is needed only for the leases.
        let sql = format!(
            "SELECT {COLUMNS} FROM (SELECT o.seq, o.attempts + 1 AS attempts, o.ordering_key, o.due_at FROM outbox o WHERE o.webhook_id = $1 AND (o.due_at, o.seq) > ($4, $5) AND {} ORDER BY o.due_at, o.seq LIMIT $3) o CROSS JOIN deliveries d ON d.seq = o.seq",
            Self::due(first_only)
        );
        let mut rows = Vec::new();
        let share = (limit / room.len() as u32).max(1);
        for (id, Room { free, after }) in self.round_robin(&room) {
            let left = u64::from(limit).saturating_sub(rows.len() as u64).min(free.min(share).into());
            if left == 0 {
                break;
            }
            let values = [id.into(), at.into(), (left as i64).into(), after.due_at.into(), after.seq.into()];
            rows.extend(self.rows(sql.clone(), values).await?);
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
        let values = [to_json(&attempts)?.into(), lease.into(), (&**token).into(), at.into()];
        let taken =
            self.inner.context.db.write.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?.rows_affected();
        if taken == rows.len() as u64 {
            return Ok(rows);
        }
        let mut ours = HashSet::new();
        for row in self.rows("SELECT seq FROM outbox WHERE lease_owner = $1", [(&**token).into()]).await? {
            ours.insert(get::<i64>(&row, "seq")?);
        }
        rows.retain(|row| row.try_get_by_index(0).is_ok_and(|seq: i64| ours.contains(&seq)));
        Ok(rows)
    }
}
