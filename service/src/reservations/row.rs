//! A reservation as it is read from the database, and its row lock.

use super::Reservations;
use super::schedule::begins_at;
use crate::change_feed::ChangeFeed;
use crate::context::Context;
use crate::db::bulk::{MAX_ROWS, padded_keys};
use crate::db::codec::time;
use crate::db::column::{JsonText, Text};
use crate::db::entity::{provisioning, reservations, resources, users};
use crate::db::link::DatabaseTransaction;
use crate::early_access::hide_early_access;
use crate::{Error, Result};
use domain::Problem;
use domain::authorization::{Actor, authorize};
use domain::change::Change;
use domain::id::{ReservationId, ResourceId};
use domain::provisioning::Provisioning;
use domain::reservation::{Reservation, ReservationStatus};
use sea_orm::sea_query::LockType;
use sea_orm::{
    ConnectionTrait, DerivePartialModel, EntityTrait as _, JoinType, QueryFilter as _, QueryOrder as _, QuerySelect,
    RelationTrait as _, Select,
};
use serde_json::{Map, Value};

/// A reservation with its resource and its provisioning states.
#[derive(DerivePartialModel)]
#[sea_orm(entity = "reservations::Entity")]
pub(super) struct ReservationRow {
    id: String,
    username: String,
    title: String,
    start_at: i64,
    end_at: i64,
    user_ssh_key: String,
    additional_config: JsonText<Map<String, Value>>,
    status: Text<ReservationStatus>,
    cancelled_by: Option<String>,
    cancel_reason: String,
    created_at: i64,
    updated_at: i64,
    #[sea_orm(from_expr = "begins_at()")]
    provisioning_begins_at: Option<i64>,
    released_at: Option<i64>,
    /// The state that the reservation was created with.
    #[sea_orm(from_col = "provisioning")]
    initial_provisioning: JsonText<Provisioning>,
    #[sea_orm(nested)]
    current_provisioning: Option<CurrentProvisioning>,
    #[sea_orm(nested)]
    resource: ResourceColumns,
}

#[derive(DerivePartialModel)]
#[sea_orm(entity = "provisioning::Entity")]
struct CurrentProvisioning {
    state: JsonText<Provisioning>,
}

#[derive(DerivePartialModel)]
#[sea_orm(entity = "resources::Entity")]
struct ResourceColumns {
    id: ResourceId,
    name: String,
    resource_type: String,
}

impl From<ReservationRow> for Reservation {
    fn from(row: ReservationRow) -> Self {
        Self {
            id: ReservationId(row.id),
            user_id: row.username,
            resource_id: row.resource.id,
            resource_name: row.resource.name,
            resource_type: row.resource.resource_type,
            title: row.title,
            start_time: time(row.start_at),
            end_time: time(row.end_at),
            user_ssh_key: row.user_ssh_key,
            additional_config: row.additional_config.0,
            status: row.status.0,
            cancelled_by: row.cancelled_by,
            cancel_reason: row.cancel_reason,
            provisioning: row.current_provisioning.map_or(row.initial_provisioning.0, |current| current.state.0),
            provisioning_begins_at: row.provisioning_begins_at.map(time),
            released_at: row.released_at.map(time),
            created_at: time(row.created_at),
            updated_at: time(row.updated_at),
        }
    }
}

/// Reservations with everything that a [`ReservationRow`] has.
pub(super) fn select() -> Select<reservations::Entity> {
    with_provisioning(JoinType::LeftJoin)
}

fn with_provisioning(join: JoinType) -> Select<reservations::Entity> {
    reservations::Entity::find().inner_join(resources::Entity).join(join, reservations::Relation::Provisioning.def())
}

/// Reservations of a user with an id after `after`, oldest first.
pub(crate) async fn reservations_of(
    context: &Context,
    username: &str,
    after: &str,
    limit: u64,
) -> Result<Vec<Reservation>> {
    let rows: Vec<ReservationRow> = select()
        .filter(reservations::COLUMN.username.eq(username))
        .filter(reservations::COLUMN.id.gt(after))
        .order_by_asc(reservations::Column::Id)
        .limit(limit)
        .into_partial_model()
        .all(&context.db.read)
        .await?;
    shown(context, &context.db.read, rows).await
}

/// The reservations with these ids, as their readers see them.
pub(super) async fn read_reservations(
    context: &Context,
    connection: &impl ConnectionTrait,
    ids: &[String],
) -> Result<Vec<Reservation>> {
    let mut found = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(MAX_ROWS) {
        let select = select().filter(reservations::COLUMN.id.is_in(padded_keys(chunk)));
        let rows: Vec<ReservationRow> = select.into_partial_model().all(connection).await?;
        found.extend(shown(context, connection, rows).await?);
    }
    Ok(found)
}

/// Reservations as their readers see them.
async fn shown(
    context: &Context,
    connection: &impl ConnectionTrait,
    rows: Vec<ReservationRow>,
) -> Result<Vec<Reservation>> {
    let mut reservations: Vec<Reservation> = rows.into_iter().map(Reservation::from).collect();
    hide_early_access(context, connection, &mut reservations).await?;
    Ok(reservations)
}

/// Reservations as changes to announce, read in the transaction that changed them. Empty without a subscriber.
pub(crate) async fn changes_of(
    context: &Context,
    feed: &ChangeFeed,
    tx: &DatabaseTransaction,
    ids: &[String],
) -> Result<Vec<Change>> {
    if !feed.has_subscribers() {
        return Ok(Vec::new());
    }
    let found = read_reservations(context, tx, ids).await?;
    Ok(found.into_iter().map(|reservation| Change::Reservation(Box::new(reservation))).collect())
}

impl Reservations {
    /// Reads a reservation and locks its rows until the end of the transaction. With an actor, checks that they may change it.
    ///
    /// # Errors
    /// 404 if there is none, or the actor may not read it.
    pub(super) async fn lock_reservation(
        &self,
        tx: &DatabaseTransaction,
        actor: Option<&Actor>,
        id: &ReservationId,
    ) -> Result<Reservation> {
        crate::provisioning::ensure_row(&self.context.db, tx, id.as_str()).await?;
        // An inner join, because PostgreSQL cannot lock the optional side of a left join. SQLite has one writer and no row locks.
        let mut query = with_provisioning(JoinType::InnerJoin).filter(reservations::COLUMN.id.eq(id.as_str()));
        let locked = ["reservations", "provisioning"];
        QuerySelect::query(&mut query).lock_with_tables(LockType::Update, locked);
        let row: Option<ReservationRow> = query.into_partial_model().one(tx).await?;
        let reservation: Reservation = row.ok_or_else(|| Problem::not_found("reservation"))?.into();
        if let Some(actor) = actor {
            authorize(actor, reservation.write_action())?;
        }
        Ok(reservation)
    }

    /// The e-mail address of a reservation's owner; empty if the account no longer exists.
    pub(super) async fn owner_email(&self, tx: &DatabaseTransaction, username: &str) -> Result<String, Error> {
        let email: Option<String> =
            users::Entity::find_by_id(username).select_only().column(users::Column::Email).into_tuple().one(tx).await?;
        Ok(email.unwrap_or_default())
    }
}
