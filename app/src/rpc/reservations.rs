//! Server functions for reservations and the calendar.

use super::{Rpc, RpcError};
use chrono::{DateTime, Utc};
use domain::id::{ReservationId, ResourceId};
use domain::pagination::{Page, PageQuery};
use domain::reservation::*;
use leptos::prelude::*;

/// Reserves a resource.
#[server(prefix = "/rpc", endpoint = "reserve", protocol = Rpc)]
pub async fn reserve(input: ReservationInput) -> Result<Reservation, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.reservations().create(actor, input).await?)
}

/// Lists reservations, newest first.
#[server(prefix = "/rpc", endpoint = "list-reservations", protocol = Rpc)]
pub async fn list_reservations(filter: ReservationFilter, page: PageQuery) -> Result<Page<Reservation>, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.reservations().list(actor, &filter, &page).await?)
}

/// Lists the user's reservations that are in progress or upcoming, in the order of their start.
#[server(prefix = "/rpc", endpoint = "next-reservations", protocol = Rpc)]
pub async fn next_reservations() -> Result<Vec<Reservation>, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.reservations().list_next(actor).await?)
}

/// Returns one reservation with its provisioning and all its deliveries.
#[server(prefix = "/rpc", endpoint = "get-reservation", protocol = Rpc)]
pub async fn get_reservation(id: ReservationId) -> Result<ReservationDetail, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    let mut detail = cx.service.reservations().get(actor, &id).await?;
    while let Some(cursor) = detail.deliveries_next_cursor.take() {
        let page = PageQuery { limit: Some(PageQuery::MAX), cursor: Some(cursor) };
        let rest = cx.service.reservations().list_deliveries(actor, &id, &page).await?;
        detail.deliveries.extend(rest.items);
        detail.deliveries_next_cursor = rest.next_cursor;
    }
    Ok(detail)
}

/// Changes a reservation.
#[server(prefix = "/rpc", endpoint = "patch-reservation", protocol = Rpc)]
pub async fn patch_reservation(id: ReservationId, patch: ReservationPatch) -> Result<Reservation, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.reservations().update(actor, &id, patch).await?)
}

/// Cancels a reservation.
#[server(prefix = "/rpc", endpoint = "cancel-reservation", protocol = Rpc)]
pub async fn cancel_reservation(id: ReservationId, reason: String) -> Result<Reservation, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.reservations().cancel(actor, &id, Some(reason)).await?)
}

/// Confirms that the resource of an ended reservation is released.
#[server(prefix = "/rpc", endpoint = "confirm-release", protocol = Rpc)]
pub async fn confirm_release(id: ReservationId) -> Result<Reservation, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.reservations().confirm_release(actor, &id).await?)
}

/// Extends a reservation to a later end.
#[server(prefix = "/rpc", endpoint = "extend-reservation", protocol = Rpc)]
pub async fn extend_reservation(id: ReservationId, end_time: DateTime<Utc>) -> Result<Reservation, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    // The end itself, not the difference, so that a repeated request changes nothing.
    let input = ExtendInput { end_time: Some(end_time), minutes: None };
    Ok(cx.service.reservations().extend(actor, &id, input).await?)
}

/// Ends a reservation that is in progress, now.
#[server(prefix = "/rpc", endpoint = "end-reservation", protocol = Rpc)]
pub async fn end_reservation(id: ReservationId) -> Result<Reservation, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.reservations().end(actor, &id).await?)
}

/// Lists the reserved spans of a resource between `from` and `to` for the calendar.
#[server(prefix = "/rpc", endpoint = "busy", protocol = Rpc)]
pub async fn busy(resource: ResourceId, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Vec<BusySpan>, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    let filter = CalendarFilter { from, to, resource_type: None, resource_id: Some(resource) };
    let reservations = cx.service.reservations();
    let read = |page: PageQuery| {
        // Larger pages than those of other lists.
        let page = PageQuery { limit: None, ..page };
        let (reservations, filter) = (&reservations, &filter);
        async move { Ok::<_, domain::Problem>(reservations.list_busy_spans(actor, filter, &page).await?) }
    };
    Ok(super::context::fetch_all_pages(read).await?.items)
}
