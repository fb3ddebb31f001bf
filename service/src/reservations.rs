//! Reserving, and what receivers report back.

mod group_commit;

pub(crate) use group_commit::Writer;

use crate::Service;
use crate::change_feed::ChangeFeed;
use crate::db::bulk::{BulkValues, MAX_ROWS};
use crate::db::codec::{get, json, time, to_json};
use crate::db::connect::Database;
use crate::error::{db_problem, is_exclusion_violation};
use crate::outbox::Enqueued;
use crate::pagination::page_of;
use crate::pagination::{self as cursor};
use crate::provisioning;
use crate::secrets::digest;
use chrono::{DateTime, Duration, SubsecRound as _, Utc};
use domain::authorization::{Action, Actor, Role, authorize};
use domain::change::Change;
use domain::event::{EventBody, EventType, ReservationBody};
use domain::id::{EventId, ReservationId, WebhookId};
use domain::pagination::{Page, PageQuery};
use domain::problem::Validator;
use domain::provisioning::{Provisioning, StatusUpdate};
use domain::reservation::*;
use domain::resource::ResourceStatus;
use domain::{Problem, ProblemKind, signature};
use group_commit::NewReservation;
use sea_orm::{ConnectionTrait, DatabaseTransaction, QueryResult, Value};

/// The longest span the calendar shows at once.
const CALENDAR: Duration = Duration::days(62);
/// How far a status update's timestamp may be off (docs/contract.md §4).
const TIMESTAMP: Duration = Duration::minutes(5);

macro_rules! select {
    ($join:literal) => {
        concat!(
            "SELECT v.id, v.username, v.resource_id, x.name AS resource_name, x.resource_type, v.title, v.start_at, v.end_at, v.user_ssh_key, v.additional_config, v.status, v.cancelled_by, v.cancel_reason, COALESCE(p.state, v.provisioning) AS provisioning, v.created_at, v.updated_at FROM reservations v JOIN resources x ON x.id = v.resource_id ",
            $join,
            " JOIN provisioning p ON p.reservation_id = v.id"
        )
    };
}
/// A reservation with its resource; see [`stored_reservation`].
pub(crate) const SELECT: &str = select!("LEFT");

/// Reads a row of [`SELECT`].
pub(crate) fn stored_reservation(row: &QueryResult) -> Result<Reservation, Problem> {
    Ok(Reservation {
        id: ReservationId(get(row, "id")?),
        user_id: get(row, "username")?,
        resource_id: get(row, "resource_id")?,
        resource_name: get(row, "resource_name")?,
        resource_type: get(row, "resource_type")?,
        title: get(row, "title")?,
        start_time: time(get(row, "start_at")?),
        end_time: time(get(row, "end_at")?),
        user_ssh_key: get(row, "user_ssh_key")?,
        additional_config: json(&get::<String>(row, "additional_config")?)?,
        status: ReservationStatus::parse(&get::<String>(row, "status")?).unwrap_or(ReservationStatus::Active),
        cancelled_by: get(row, "cancelled_by")?,
        cancel_reason: get(row, "cancel_reason")?,
        provisioning: json(&get::<String>(row, "provisioning")?)?,
        created_at: time(get(row, "created_at")?),
        updated_at: time(get(row, "updated_at")?),
    })
}

/// Reservations as changes to announce, read in the transaction that changed them. Without a subscriber nothing is read.
pub(crate) async fn changes_of(
    db: &Database,
    feed: &ChangeFeed,
    tx: &DatabaseTransaction,
    ids: &[String],
) -> crate::Result<Vec<Change>> {
    let mut changes = Vec::new();
    if feed.has_subscribers() {
        for chunk in ids.chunks(MAX_ROWS) {
            let (source, values) =
                BulkValues::default().text_column("k", chunk.iter().map(String::as_str)).into_sql(db);
            let sql = format!("{SELECT} JOIN {source} ON v.id = r.k");
            for row in &tx.query_all_raw(db.statement(sql, values)).await? {
                changes.push(Change::Reservation(Box::new(stored_reservation(row)?)));
            }
        }
    }
    Ok(changes)
}

/// What the year is too far to be stored or shown for is too far to be reserved.
fn check_horizon(end: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), Problem> {
    if end - now > Duration::days(3_660) {
        return Err(Problem::field("end_time", "Reserve at most ten years ahead."));
    }
    Ok(())
}

/// Whether the actor needs a grant to reserve what has this status.
fn needs_grant(actor: &Actor, status: ResourceStatus) -> bool {
    status == ResourceStatus::Restricted && actor.role != Role::Administrator
}

/// Whether the actor may take time of the resource; `granted` counts only where [`needs_grant`].
fn check_bookable(actor: &Actor, name: &str, status: ResourceStatus, granted: bool) -> Result<(), Problem> {
    match status {
        ResourceStatus::Maintenance => {
            Err(Problem::conflict(format!("{name} is in maintenance and cannot be reserved now.")))
        }
        _ if needs_grant(actor, status) && !granted => {
            Err(Problem::forbidden(format!("{name} is restricted. Request access to it first.")))
        }
        ResourceStatus::Available | ResourceStatus::Restricted => Ok(()),
    }
}

/// The sentence for a clash.
fn clash(start: DateTime<Utc>, end: DateTime<Utc>) -> Problem {
    let format = "%Y-%m-%d %H:%M";
    Problem::conflict(format!(
        "The resource is already reserved from {} to {} UTC. Choose another time or another resource.",
        start.format(format),
        end.format(format)
    ))
}

impl Service {
    /// The body of an event about a reservation (docs/contract.md §1); `webhook_id` is filled in for each receiver.
    pub(crate) fn reservation_event(
        &self,
        event_type: EventType,
        reservation: &Reservation,
        email: &str,
        now: DateTime<Utc>,
    ) -> ReservationBody {
        ReservationBody {
            event_type,
            event_id: EventId::from_ulid(self.new_ulid()),
            timestamp: now,
            webhook_id: 0,
            test: false,
            status_url: self.status_url(&reservation.id),
            reservation_id: reservation.id.clone(),
            user_id: reservation.user_id.clone(),
            user_email: email.to_owned(),
            resource_type: reservation.resource_type.clone(),
            resource_id: reservation.resource_id,
            resource_name: reservation.resource_name.clone(),
            title: reservation.title.clone(),
            start_time: reservation.start_time,
            end_time: reservation.end_time,
            user_ssh_key: reservation.user_ssh_key.clone(),
            additional_config: reservation.additional_config.clone(),
            status: reservation.status.as_str().to_owned(),
            previous: None,
            cancelled_by: None,
            reason: None,
        }
    }

    pub(crate) fn status_url(&self, id: &ReservationId) -> String {
        self.inner.context.settings.status_url(id)
    }

    /// Reserves.
    ///
    /// # Errors
    /// 403 not bookable; 409 overlap, naming the clash; 422 naming the fields at fault, an unknown resource among them.
    pub async fn reserve(&self, actor: &Actor, mut input: ReservationInput) -> Result<Reservation, Problem> {
        authorize(actor, Action::Reserve)?;
        let now = self.now();
        input.start_time = input.start_time.trunc_subsecs(3);
        input.end_time = input.end_time.trunc_subsecs(3);
        let Some(resource) = self.catalogue().bookable(input.resource_id).await? else {
            return Err(Problem::field(
                "resource_id",
                "There is no such resource. Choose one of GET /api/v1/resources.",
            ));
        };
        let granted =
            needs_grant(actor, resource.status) && self.catalogue().is_granted(resource.id, &actor.username).await?;
        check_bookable(actor, &resource.name, resource.status, granted)?;
        let config = check_input(&input, &resource.schema, now)?;
        check_horizon(input.end_time, now)?;
        let email = self.accounts().user_cached(&actor.username).await?.email;
        let id = ReservationId::from_ulid(self.new_ulid());
        let reservation = Reservation {
            id,
            user_id: actor.username.clone(),
            resource_id: resource.id,
            resource_name: resource.name.clone(),
            resource_type: resource.resource_type.clone(),
            title: input.title.unwrap_or_default(),
            start_time: input.start_time,
            end_time: input.end_time,
            user_ssh_key: input.user_ssh_key.unwrap_or_default().trim().to_owned(),
            additional_config: config,
            status: ReservationStatus::Active,
            cancelled_by: None,
            cancel_reason: String::new(),
            provisioning: Provisioning::waiting(now),
            created_at: now,
            updated_at: now,
        };
        let new = NewReservation { reservation, email, resource_status: resource.status };
        match self.inner.reservations.write(new).await? {
            Some(reservation) => Ok(reservation),
            None => Err(self.conflict_reason(input.resource_id, input.start_time, input.end_time, None).await?),
        }
    }

    /// Why a span could not be taken: the reservation in the way, or a resource that changed meanwhile.
    async fn conflict_reason(
        &self,
        resource_id: i64,
        start: DateTime<Utc>,
        end: DateTime<Utc>,
        except: Option<&ReservationId>,
    ) -> Result<Problem, Problem> {
        let sql = "SELECT start_at, end_at FROM reservations WHERE resource_id = $1 AND status = 'active' AND start_at < $2 AND end_at > $3 AND id <> $4 ORDER BY start_at LIMIT 1";
        let values = [
            resource_id.into(),
            end.timestamp_millis().into(),
            start.timestamp_millis().into(),
            except.map_or("", |id| id.as_str()).into(),
        ];
        let rows = self.rows(sql, values).await?;
        Ok(match rows.first() {
            Some(row) => clash(time(get(row, "start_at")?), time(get(row, "end_at")?)),
            None => Problem::conflict("The resource has just changed. Look at it again and reserve once more."),
        })
    }

    /// By id, newest first; administrators see all unless `mine`.
    ///
    /// # Errors
    /// 422 for a bad page.
    pub async fn list_reservations(
        &self,
        actor: &Actor,
        filter: &ReservationFilter,
        page: &PageQuery,
    ) -> Result<Page<Reservation>, Problem> {
        authorize(actor, Action::ReadReservation { owner: &actor.username })?;
        let limit = page.limit()?;
        let mut sql = format!("{SELECT} WHERE 1 = 1");
        let mut values: Vec<Value> = vec![(limit as i64 + 1).into()];
        let mut and = |condition: &str, value: Value| {
            values.push(value);
            sql.push_str(&format!(" AND {condition}${}", values.len()));
        };
        if actor.role != Role::Administrator || filter.mine == Some(true) {
            and("v.username = ", actor.username.as_str().into());
        }
        if let Some(before) = cursor::decode_cursor(page.cursor.as_deref())? {
            and("v.id < ", before.into());
        }
        if let Some(resource) = filter.resource_id {
            and("v.resource_id = ", resource.into());
        }
        if let Some(status) = filter.status {
            and("v.status = ", status.as_str().into());
        }
        if let Some(from) = filter.from {
            and("v.end_at > ", from.timestamp_millis().into());
        }
        if let Some(to) = filter.to {
            and("v.start_at < ", to.timestamp_millis().into());
        }
        let rows = self.rows(format!("{sql} ORDER BY v.id DESC LIMIT $1"), values).await?;
        let items = rows.iter().map(stored_reservation).collect::<Result<Vec<_>, _>>()?;
        Ok(page_of(items, limit, |r| r.id.0.clone()))
    }

    /// One reservation with its deliveries.
    ///
    /// # Errors
    /// 404, also for other people's.
    pub async fn get_reservation(&self, actor: &Actor, id: &ReservationId) -> Result<ReservationDetail, Problem> {
        let rows = self.rows(format!("{SELECT} WHERE v.id = $1"), [id.as_str().into()]).await?;
        let reservation = stored_reservation(rows.first().ok_or_else(|| Problem::not_found("reservation"))?)?;
        authorize(actor, Action::ReadReservation { owner: &reservation.user_id })?;
        let deliveries = self.deliveries().of_reservation(id).await?;
        Ok(ReservationDetail { reservation, deliveries })
    }

    /// A reservation under its rows' locks, for the actor to change.
    async fn locked(
        &self,
        tx: &DatabaseTransaction,
        actor: Option<&Actor>,
        id: &ReservationId,
    ) -> Result<Reservation, Problem> {
        provisioning::ensure_row(&self.inner.context.db, tx, id.as_str()).await?;
        let lock = if self.is_postgres() { " FOR UPDATE OF v, p" } else { "" };
        let sql = format!("{} WHERE v.id = $1{lock}", select!("INNER"));
        let row = tx
            .query_one_raw(self.sql(sql, [id.as_str().into()]))
            .await
            .map_err(db_problem)?
            .ok_or_else(|| Problem::not_found("reservation"))?;
        let reservation = stored_reservation(&row)?;
        if let Some(actor) = actor {
            authorize(actor, Action::WriteReservation { owner: &reservation.user_id })?;
        }
        Ok(reservation)
    }

    async fn owner_email(&self, tx: &DatabaseTransaction, username: &str) -> Result<String, Problem> {
        let row = tx
            .query_one_raw(self.sql("SELECT email FROM users WHERE username = $1", [username.into()]))
            .await
            .map_err(db_problem)?;
        row.map_or(Ok(String::new()), |row| get(&row, "email"))
    }

    /// Modifies; publishes `reservation.updated` when anything changed.
    ///
    /// # Errors
    /// 404; 409 when it is no longer active or the new time clashes; 422 naming the fields at fault. As for [`Self::reserve`],
    /// 403 and 409 when it would take time that the actor could not reserve now.
    pub async fn patch_reservation(
        &self,
        actor: &Actor,
        id: &ReservationId,
        mut patch: ReservationPatch,
    ) -> Result<Reservation, Problem> {
        patch.start_time = patch.start_time.map(|t| t.trunc_subsecs(3));
        patch.end_time = patch.end_time.map(|t| t.trunc_subsecs(3));
        let now = self.now();
        let tx = self.write_tx().await?;
        let current = self.locked(&tx, Some(actor), id).await?;
        let (status, granted, schema) = self.bookable_in(&tx, current.resource_id, &actor.username).await?;
        let (mut next, previous) = apply_patch(&current, &patch, &schema, now)?;
        if previous.is_empty() {
            return Ok(current);
        }
        // To give time back is always allowed.
        if next.start_time < current.start_time || next.end_time > current.end_time {
            check_bookable(actor, &current.resource_name, status, granted)?;
        }
        let moved = previous.contains_key("start_time") || previous.contains_key("end_time");
        if moved {
            check_horizon(next.end_time, now)?;
        }
        if moved && !self.is_postgres() {
            let sql = "SELECT start_at, end_at FROM reservations WHERE resource_id = $1 AND status = 'active' AND start_at < $2 AND end_at > $3 AND id <> $4 LIMIT 1";
            let values = [
                next.resource_id.into(),
                next.end_time.timestamp_millis().into(),
                next.start_time.timestamp_millis().into(),
                id.as_str().into(),
            ];
            if let Some(row) = tx.query_one_raw(self.sql(sql, values)).await.map_err(db_problem)? {
                return Err(clash(time(get(&row, "start_at")?), time(get(&row, "end_at")?)));
            }
        }
        let email = self.owner_email(&tx, &current.user_id).await?;
        let mut body = self.reservation_event(EventType::ReservationUpdated, &next, &email, now);
        body.previous = Some(previous);
        let enqueued = self
            .inner
            .outbox
            .enqueue(&tx, vec![(next.resource_type.clone(), EventBody::Reservation(Box::new(body)))], false)
            .await?;
        if enqueued.notifies_provisioner {
            next.provisioning.message = "The change is on its way to the service.".into();
            next.provisioning.updated_at = now;
        }
        let values = [
            next.title.as_str().into(),
            next.start_time.timestamp_millis().into(),
            next.end_time.timestamp_millis().into(),
            next.user_ssh_key.as_str().into(),
            to_json(&next.additional_config)?.into(),
            now.timestamp_millis().into(),
            id.as_str().into(),
        ];
        let sql = "UPDATE reservations SET title = $1, start_at = $2, end_at = $3, user_ssh_key = $4, additional_config = $5, updated_at = $6 WHERE id = $7";
        if let Err(error) = tx.execute_raw(self.sql(sql, values)).await {
            if is_exclusion_violation(&error) {
                drop(tx);
                return Err(self.conflict_reason(next.resource_id, next.start_time, next.end_time, Some(id)).await?);
            }
            return Err(db_problem(error));
        }
        provisioning::write(&self.inner.context.db, &tx, &next).await?;
        tx.commit().await.map_err(db_problem)?;
        self.inner.outbox.publish(enqueued, vec![Change::Reservation(Box::new(next.clone()))]);
        Ok(next)
    }

    /// A resource's status, whether `username` has a grant for it, and what may be configured.
    async fn bookable_in(
        &self,
        tx: &DatabaseTransaction,
        resource_id: i64,
        username: &str,
    ) -> Result<(ResourceStatus, bool, domain::resource::ConfigSchema), Problem> {
        let sql = "SELECT r.status, EXISTS (SELECT 1 FROM access_grants g WHERE g.resource_id = r.id AND g.username = $2) AS granted, t.config_schema FROM resources r JOIN resource_types t ON t.slug = r.resource_type WHERE r.id = $1";
        let row = tx
            .query_one_raw(self.sql(sql, [resource_id.into(), username.into()]))
            .await
            .map_err(db_problem)?
            .ok_or_else(Problem::internal)?;
        let schema: serde_json::Value = json(&get::<String>(&row, "config_schema")?)?;
        let status = ResourceStatus::parse(&get::<String>(&row, "status")?).unwrap_or(ResourceStatus::Maintenance);
        Ok((status, get(&row, "granted")?, domain::resource::ConfigSchema::parse(&schema).unwrap_or_default()))
    }

    /// Cancels; publishes `reservation.cancelled`.
    ///
    /// # Errors
    /// 404; 409 when it is no longer active; 422 for the reason.
    pub async fn cancel_reservation(
        &self,
        actor: &Actor,
        id: &ReservationId,
        reason: Option<String>,
    ) -> Result<Reservation, Problem> {
        let reason = reason.unwrap_or_default();
        let mut validator = Validator::new();
        validator.check("reason", domain::validation::text(&reason, 500));
        validator.finish()?;
        let now = self.now();
        let tx = self.write_tx().await?;
        let mut reservation = self.locked(&tx, Some(actor), id).await?;
        if reservation.status != ReservationStatus::Active {
            return Err(Problem::conflict(format!("This reservation is {} already.", reservation.status.as_str())));
        }
        reservation.status = ReservationStatus::Cancelled;
        reservation.cancelled_by = Some(actor.username.clone());
        reservation.cancel_reason.clone_from(&reason);
        let email = self.owner_email(&tx, &reservation.user_id).await?;
        let mut body = self.reservation_event(EventType::ReservationCancelled, &reservation, &email, now);
        body.cancelled_by = Some(actor.username.clone());
        body.reason = Some(reason);
        let enqueued = self.end(&tx, &mut reservation, body, now).await?;
        tx.commit().await.map_err(db_problem)?;
        self.inner.outbox.publish(enqueued, vec![Change::Reservation(Box::new(reservation.clone()))]);
        Ok(reservation)
    }

    /// Writes a reservation's end (cancelled, expired) with its event.
    async fn end(
        &self,
        tx: &DatabaseTransaction,
        reservation: &mut Reservation,
        body: ReservationBody,
        now: DateTime<Utc>,
    ) -> Result<Enqueued, Problem> {
        let event = EventBody::Reservation(Box::new(body));
        let enqueued = self.inner.outbox.enqueue(tx, vec![(reservation.resource_type.clone(), event)], false).await?;
        reservation.updated_at = now;
        let values = [
            reservation.status.as_str().into(),
            reservation.cancelled_by.clone().into(),
            reservation.cancel_reason.as_str().into(),
            now.timestamp_millis().into(),
            reservation.id.as_str().into(),
        ];
        let sql =
            "UPDATE reservations SET status = $1, cancelled_by = $2, cancel_reason = $3, updated_at = $4 WHERE id = $5";
        tx.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        provisioning::begin_release(&self.inner.context.db, tx, reservation, enqueued.notifies_provisioner, now)
            .await?;
        Ok(enqueued)
    }

    /// Busy spans between two times (at most 62 days apart), for the calendar; of one type, or all.
    ///
    /// # Errors
    /// 422 when the span is backwards or too long.
    pub async fn busy(
        &self,
        actor: &Actor,
        resource_type: Option<&str>,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Vec<BusySpan>, Problem> {
        authorize(actor, Action::ReadCatalogue)?;
        if to <= from || to - from > CALENDAR {
            return Err(Problem::field("to", "Choose an end after the start, at most 62 days later."));
        }
        let mut sql = "SELECT v.id, v.username, v.resource_id, v.title, v.start_at, v.end_at FROM reservations v JOIN resources x ON x.id = v.resource_id WHERE v.status = 'active' AND v.end_at > $1 AND v.start_at < $2".to_owned();
        let mut values: Vec<Value> = vec![from.timestamp_millis().into(), to.timestamp_millis().into()];
        if let Some(slug) = resource_type {
            sql.push_str(" AND x.resource_type = $3");
            values.push(slug.into());
        }
        self.rows(format!("{sql} ORDER BY v.start_at LIMIT 5000"), values)
            .await?
            .iter()
            .map(|row| {
                let owner: String = get(row, "username")?;
                let visible = authorize(actor, Action::ReadReservation { owner: &owner }).is_ok();
                Ok(BusySpan {
                    resource_id: get(row, "resource_id")?,
                    start_time: time(get(row, "start_at")?),
                    end_time: time(get(row, "end_at")?),
                    reservation_id: if visible { Some(ReservationId(get(row, "id")?)) } else { None },
                    title: if visible { Some(get(row, "title")?) } else { None },
                    user_id: visible.then_some(owner),
                })
            })
            .collect()
    }

    /// Expires what ended by now, oldest first, at most `limit`; publishes `reservation.expired`. Returns how many.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn expire_due(&self, limit: u64) -> Result<u64, Problem> {
        let now = self.now();
        let due = "SELECT id FROM reservations WHERE status = 'active' AND end_at <= $1 ORDER BY end_at LIMIT $2";
        let ids = self.rows(due, [now.timestamp_millis().into(), (limit as i64).into()]).await?;
        let mut expired = 0;
        for row in ids {
            let id = ReservationId(get(&row, "id")?);
            match self.expire(&id, now).await {
                Ok(ended) => expired += u64::from(ended),
                Err(problem) if problem.kind == ProblemKind::Unavailable => return Err(problem),
                // One that cannot be ended must not hold up those behind it.
                Err(problem) => tracing::error!(%problem, reservation = %id, "a reservation could not be expired"),
            }
        }
        Ok(expired)
    }

    /// Expires one, unless something else ended it.
    async fn expire(&self, id: &ReservationId, now: DateTime<Utc>) -> Result<bool, Problem> {
        let tx = self.write_tx().await?;
        // Another replica may be at the same one: whoever locks it first expires it, the other finds it expired.
        let mut reservation = self.locked(&tx, None, id).await?;
        if reservation.status != ReservationStatus::Active || reservation.end_time > now {
            return Ok(false);
        }
        reservation.status = ReservationStatus::Expired;
        let email = self.owner_email(&tx, &reservation.user_id).await?;
        let body = self.reservation_event(EventType::ReservationExpired, &reservation, &email, now);
        let enqueued = self.end(&tx, &mut reservation, body, now).await?;
        tx.commit().await.map_err(db_problem)?;
        self.inner.outbox.publish(enqueued, vec![Change::Reservation(Box::new(reservation))]);
        Ok(true)
    }

    /// When the next active reservation ends, if any.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn next_expiry(&self) -> Result<Option<DateTime<Utc>>, Problem> {
        let rows = self.rows("SELECT MIN(end_at) AS end_at FROM reservations WHERE status = 'active'", []).await?;
        match rows.first() {
            Some(row) => Ok(get::<Option<i64>>(row, "end_at")?.map(time)),
            None => Ok(None),
        }
    }

    /// A receiver's status update (docs/contract.md §4), from its raw headers and body.
    ///
    /// # Errors
    /// 401 with one message for a bad or missing signature, an unknown or disabled webhook; 404, 403, 400, 422, 401 for a
    /// timestamp that is off, 409 for a status that cannot follow.
    pub async fn status_update(
        &self,
        id: &ReservationId,
        webhook_id: Option<&str>,
        signature: Option<&str>,
        body: &[u8],
    ) -> Result<Provisioning, Problem> {
        let refused = || {
            Problem::unauthenticated(
                "The signature is missing or wrong, or the webhook is unknown or disabled. Send X-Webhook-Id and X-Webhook-Signature: sha256=<HMAC of the raw body>.",
            )
        };
        let now = self.now();
        let webhook_id: WebhookId = webhook_id.and_then(|id| id.trim().parse().ok()).ok_or_else(refused)?;
        let signature = signature.ok_or_else(refused)?;
        let configs = self.inner.outbox.configs().load(&self.inner.context.db.read).await?;
        let config = configs.get(webhook_id).ok_or_else(refused)?;
        let signed =
            config.target(now).secrets.iter().any(|secret| signature::verify_body(secret, body, signature.trim()));
        if !signed || config.state != domain::webhook::WebhookState::Enabled {
            return Err(refused());
        }
        let tx = self.write_tx().await?;
        let mut reservation = self.locked(&tx, None, id).await?;
        if !config.serves(&reservation.resource_type) {
            return Err(Problem::forbidden("This webhook does not serve the reservation's resource type."));
        }
        if !config.provisions {
            return Err(Problem::forbidden(
                "This webhook only listens. Let its answers drive provisioning in its settings first.",
            ));
        }
        let update = StatusUpdate::parse(body)?;
        if (update.timestamp - now).abs() > TIMESTAMP {
            return Err(Problem::unauthenticated(
                "The timestamp is more than 5 minutes off. Check the clock of your service.",
            ));
        }
        let sql = "INSERT INTO status_updates (reservation_id, digest, received_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        let values = [
            id.as_str().into(),
            digest(&format!("{webhook_id} {}", String::from_utf8_lossy(body))).into(),
            now.timestamp_millis().into(),
        ];
        let first = tx.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?.rows_affected() > 0;
        if !first {
            return Ok(reservation.provisioning);
        }
        provisioning::apply_status_update(&self.inner.context.db, &tx, &mut reservation, &update, now).await?;
        tx.commit().await.map_err(db_problem)?;
        let provisioning = reservation.provisioning.clone();
        self.announce(vec![Change::Reservation(Box::new(reservation))]);
        Ok(provisioning)
    }
}
