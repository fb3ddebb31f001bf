//! The objects that an actor may see, as conditions of queries. Lists, counts and replays add one of them, so that they
//! agree with `domain::authorization::authorize`, which decides on one object and on changes of the live feed.

use crate::db::entity::{access_requests, deliveries, reservations, resources, webhooks};
use domain::authorization::Actor;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{Condition, EntityTrait as _, QueryFilter as _, QuerySelect as _, QueryTrait as _};

/// Rows of `resources` that the actor owns. None without ownership.
fn owned_resources(actor: &Actor) -> Condition {
    let (types, ids) = (&actor.owns.resource_types, &actor.owns.resources);
    Condition::any()
        .add_option(
            (!types.is_empty()).then(|| resources::COLUMN.resource_type.is_in(types.iter().map(String::as_str))),
        )
        .add_option((!ids.is_empty()).then(|| resources::COLUMN.id.is_in(ids.iter().copied())))
}

/// The rows of a user, and those of owned resources; every row for a role that reads everything.
fn own_or_owned(actor: &Actor, own: Expr) -> Condition {
    if actor.role.reads_everything() {
        return Condition::all();
    }
    let rows = Condition::any().add(own);
    if actor.owns.is_empty() { rows } else { rows.add(owned_resources(actor)) }
}

/// The reservations that an actor may read. The query joins `resources`.
pub(crate) fn reservations_of(actor: &Actor) -> Condition {
    own_or_owned(actor, reservations::COLUMN.username.eq(actor.username.as_str()))
}

/// The access requests that an actor may read. The query joins `resources`.
pub(crate) fn access_requests_of(actor: &Actor) -> Condition {
    own_or_owned(actor, access_requests::COLUMN.username.eq(actor.username.as_str()))
}

/// The webhooks that an actor may read.
pub(crate) fn webhooks_of(actor: &Actor) -> Condition {
    if actor.role.reads_everything() {
        return Condition::all();
    }
    Condition::all().add(webhooks::COLUMN.resource_type.is_in(actor.owns.resource_types.iter().map(String::as_str)))
}

/// The deliveries that an actor may read. The query joins `webhooks`.
///
/// The webhook of an owner may have had a wider filter before: an administrator can limit a webhook of every type to one.
/// An owner therefore sees only deliveries whose event is about a resource of the webhook's present type.
pub(crate) fn deliveries_of(actor: &Actor) -> Condition {
    if actor.role.reads_everything() {
        return Condition::all();
    }
    let about_type = Condition::any()
        .add(deliveries::COLUMN.test.eq(true))
        .add(Expr::exists(
            reservations::Entity::find()
                .select_only()
                .expr(Expr::val(1))
                .inner_join(resources::Entity)
                .filter(is_event_of((reservations::Entity, reservations::Column::Id)))
                .filter(has_type_of_webhook())
                .into_query(),
        ))
        .add(Expr::exists(
            access_requests::Entity::find()
                .select_only()
                .expr(Expr::val(1))
                .inner_join(resources::Entity)
                .filter(is_event_of((access_requests::Entity, access_requests::Column::Id)))
                .filter(has_type_of_webhook())
                .into_query(),
        ));
    webhooks_of(actor).add(about_type)
}

/// Whether the delivery of the outer query is about the row with this id, which is the ordering key.
fn is_event_of(id: impl sea_orm::sea_query::IntoColumnRef) -> Expr {
    Expr::col(id).equals((deliveries::Entity, deliveries::Column::OrderingKey))
}

/// Whether the resource has the type of the webhook of the outer query.
fn has_type_of_webhook() -> Expr {
    Expr::col((resources::Entity, resources::Column::ResourceType))
        .equals((webhooks::Entity, webhooks::Column::ResourceType))
}
