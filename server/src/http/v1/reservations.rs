//! Reservations, the calendar, and status updates of receivers.

use super::super::AppState;
use super::super::extract::{AuthenticatedUser, Json, MaybeJson, Path, Query, body};
use super::super::problem::{ApiError, ProblemBody};
use super::idempotency::{create, respond_once};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::delivery::DeliverySummary;
use domain::id::{ReservationId, ResourceId};
use domain::pagination::{Page, PageQuery};
use domain::provisioning::{Provisioning, StatusUpdate};
use domain::reservation::*;
use domain::{Problem, ProblemKind};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Maximum size of a status update in bytes (docs/contract.md §4).
const MAX_UPDATE: usize = 64 * 1024;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, reserve))
        .routes(routes!(get, patch))
        .routes(routes!(cancel))
        .routes(routes!(confirm_release))
        .routes(routes!(extend))
        .routes(routes!(end))
        .routes(routes!(list_deliveries))
        .routes(routes!(status_update))
        .routes(routes!(calendar))
}

/// Filters of the reservation list.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only reservations of this resource.
    resource_id: Option<ResourceId>,
    /// Only reservations with this status.
    status: Option<ReservationStatus>,
    /// Only your own reservations. Without it, administrators see all reservations, and owners those of their resources.
    mine: Option<bool>,
    /// Only reservations that end after this time.
    #[serde(default, deserialize_with = "domain::timestamp::deserialize_optional")]
    from: Option<DateTime<Utc>>,
    /// Only reservations that start before this time.
    #[serde(default, deserialize_with = "domain::timestamp::deserialize_optional")]
    to: Option<DateTime<Utc>>,
    /// Page size, 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
}

/// Lists reservations, newest first.
///
/// Administrators see all reservations, owners those of their resources, and other users only their own.
#[utoipa::path(get, path = "/reservations", tag = "reservations", params(Filter), responses((status = 200, body = Page<Reservation>)))]
async fn list(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Query(filter): Query<Filter>,
) -> Result<axum::Json<Page<Reservation>>, ApiError> {
    let page = PageQuery { limit: filter.limit, cursor: filter.cursor };
    let filter = ReservationFilter {
        resource_id: filter.resource_id,
        status: filter.status,
        mine: filter.mine,
        from: filter.from,
        to: filter.to,
    };
    Ok(axum::Json(app.service.reservations().list(&caller.actor, &filter, &page).await?))
}

/// Reserves a resource.
///
/// Publishes the event `reservation.created`.
#[utoipa::path(post, path = "/reservations", tag = "reservations", request_body = ReservationInput,
    responses((status = 201, body = Reservation), (status = 409, body = ProblemBody)))]
async fn reserve(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    headers: HeaderMap,
    body: Json<ReservationInput>,
) -> Result<Response, ApiError> {
    create(&app, caller, &headers, "/reservations", &body.digest, async move |service, actor| {
        Ok(service.reservations().create(&actor, body.value).await?)
    })
    .await
}

/// Returns a reservation with its provisioning and deliveries.
#[utoipa::path(get, path = "/reservations/{id}", tag = "reservations", params(("id" = String, Path)),
    responses((status = 200, body = ReservationDetail)))]
async fn get(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
) -> Result<axum::Json<ReservationDetail>, ApiError> {
    Ok(axum::Json(app.service.reservations().get(&caller.actor, &ReservationId(id)).await?))
}

/// Page of a reservation's deliveries.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct DeliveriesQuery {
    /// Page size, 1 to 500; 50 when absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page, or `deliveries_next_cursor` of the reservation.
    cursor: Option<String>,
}

/// Lists the deliveries of a reservation, oldest first.
#[utoipa::path(get, path = "/reservations/{id}/deliveries", tag = "reservations", params(("id" = String, Path), DeliveriesQuery),
    responses((status = 200, body = Page<DeliverySummary>)))]
async fn list_deliveries(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
    Query(DeliveriesQuery { limit, cursor }): Query<DeliveriesQuery>,
) -> Result<axum::Json<Page<DeliverySummary>>, ApiError> {
    let page = PageQuery { limit, cursor };
    Ok(axum::Json(app.service.reservations().list_deliveries(&caller.actor, &ReservationId(id), &page).await?))
}

/// Changes a reservation.
///
/// Publishes the event `reservation.updated`.
#[utoipa::path(patch, path = "/reservations/{id}", tag = "reservations", params(("id" = String, Path)), request_body = ReservationPatch,
    responses((status = 200, body = Reservation), (status = 409, body = ProblemBody)))]
async fn patch(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
    body: Json<ReservationPatch>,
) -> Result<axum::Json<Reservation>, ApiError> {
    Ok(axum::Json(app.service.reservations().update(&caller.actor, &ReservationId(id), body.value).await?))
}

/// Body of a cancellation.
#[derive(Deserialize, utoipa::ToSchema)]
struct CancelInput {
    /// Reason for the cancellation, at most 500 characters.
    reason: Option<String>,
}

/// Cancels a reservation.
///
/// Publishes the event `reservation.cancelled`.
#[utoipa::path(post, path = "/reservations/{id}/cancel", tag = "reservations", params(("id" = String, Path)), request_body = CancelInput,
    responses((status = 200, body = Reservation), (status = 409, body = ProblemBody)))]
async fn cancel(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
    MaybeJson(body): MaybeJson<CancelInput>,
) -> Result<axum::Json<Reservation>, ApiError> {
    Ok(axum::Json(app.service.reservations().cancel(&caller.actor, &ReservationId(id), body.value.reason).await?))
}

/// Confirms that the resource of an ended reservation is released, in place of its services.
///
/// For administrators and owners of the resource. The next reservation no longer waits for the release (docs/contract.md §11).
#[utoipa::path(post, path = "/reservations/{id}/confirm-release", tag = "reservations", params(("id" = String, Path)),
    responses((status = 200, body = Reservation), (status = 409, body = ProblemBody)))]
async fn confirm_release(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
) -> Result<axum::Json<Reservation>, ApiError> {
    Ok(axum::Json(app.service.reservations().confirm_release(&caller.actor, &ReservationId(id)).await?))
}

/// Extends a reservation: moves its end to a later time.
///
/// Publishes the event `reservation.updated`. If the next reservation of the resource overlaps, the problem has `conflict` with
/// its times, and `extension` with the longest possible extension and other resources that are free.
#[utoipa::path(post, path = "/reservations/{id}/extend", tag = "reservations", params(("id" = String, Path)), request_body = ExtendInput,
    responses((status = 200, body = Reservation), (status = 409, body = ProblemBody)))]
async fn extend(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Json<ExtendInput>,
) -> Result<Response, ApiError> {
    let path = format!("/reservations/{id}/extend");
    respond_once(&app, caller, &headers, (StatusCode::OK, &path, &body.digest), async move |service, actor| {
        Ok(service.reservations().extend(&actor, &ReservationId(id), body.value).await?)
    })
    .await
}

/// Ends a reservation that is in progress, now.
///
/// Publishes the event `reservation.expired` with the new end. The rest of its time can be reserved at once.
#[utoipa::path(post, path = "/reservations/{id}/end", tag = "reservations", params(("id" = String, Path)),
    responses((status = 200, body = Reservation), (status = 409, body = ProblemBody)))]
async fn end(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let path = format!("/reservations/{id}/end");
    respond_once(&app, caller, &headers, (StatusCode::OK, &path, ""), async move |service, actor| {
        Ok(service.reservations().end(&actor, &ReservationId(id)).await?)
    })
    .await
}

/// Query of a status update.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct StatusQuery {
    /// The MAC of `status_url`, which binds the update to its reservation and webhook. Without it, the body must contain
    /// `reservation_id`.
    mac: Option<String>,
}

/// Applies a status update of a receiver, signed with the webhook's secret (docs/contract.md §4).
#[utoipa::path(post, path = "/reservations/{id}/status", tag = "receivers", security(()),
    params(("id" = String, Path), ("X-Webhook-Id" = i64, Header, description = "The webhook's id"), ("X-Webhook-Signature" = String, Header, description = "sha256=<HMAC-SHA256 of the raw body, hex>"), StatusQuery),
    request_body = StatusUpdate,
    responses((status = 200, body = Provisioning), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn status_update(
    State(app): State<AppState>,
    Path(id): Path<String>,
    Query(StatusQuery { mac }): Query<StatusQuery>,
    headers: HeaderMap,
    request: Request,
) -> Result<axum::Json<Provisioning>, ApiError> {
    let bytes = body(request, &app).await?;
    if bytes.len() > MAX_UPDATE {
        return Err(Problem::new(ProblemKind::TooLarge, "A status update has at most 64 KiB.").into());
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (webhook_id, signature) = (text("x-webhook-id"), text("x-webhook-signature"));
    let reservations = app.service.reservations();
    let state =
        reservations.apply_status_update(&ReservationId(id), mac.as_deref(), webhook_id, signature, &bytes).await?;
    Ok(axum::Json(state))
}

/// Page of the calendar.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct CalendarQuery {
    /// Start of the requested span.
    #[serde(deserialize_with = "domain::timestamp::deserialize")]
    from: DateTime<Utc>,
    /// End of the requested span, at most 62 days after its start.
    #[serde(deserialize_with = "domain::timestamp::deserialize")]
    to: DateTime<Utc>,
    /// Only resources of the type with this slug.
    resource_type: Option<String>,
    /// Only this resource.
    resource_id: Option<ResourceId>,
    /// Page size, 1 to 5,000; 5,000 when absent.
    #[param(minimum = 1, maximum = 5000)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
}

/// Lists the reserved spans of resources, by start.
///
/// Only its user, administrators, auditors and owners of the resource see the user, title and id of a reservation. If `next_cursor` is not null, further
/// spans follow: resources are free only outside the spans of all pages.
#[utoipa::path(get, path = "/calendar", tag = "reservations", params(CalendarQuery), responses((status = 200, body = Page<BusySpan>)))]
async fn calendar(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Query(query): Query<CalendarQuery>,
) -> Result<axum::Json<Page<BusySpan>>, ApiError> {
    let CalendarQuery { from, to, resource_type, resource_id, limit, cursor } = query;
    let filter = CalendarFilter { from, to, resource_type, resource_id };
    let page = PageQuery { limit, cursor };
    Ok(axum::Json(app.service.reservations().list_busy_spans(&caller.actor, &filter, &page).await?))
}
