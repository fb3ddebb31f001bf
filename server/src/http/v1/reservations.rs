//! Reservations, the calendar, and receivers' status updates.

use super::super::AppState;
use super::super::extract::{AuthenticatedUser, Json, MaybeJson, Path, Query, body};
use super::super::problem::{ApiError, ProblemBody};
use super::create;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::id::{ReservationId, ResourceId};
use domain::pagination::{Page, PageQuery};
use domain::provisioning::{Provisioning, StatusUpdate};
use domain::reservation::*;
use domain::{Problem, ProblemKind};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The largest status update (docs/contract.md §4).
const MAX_UPDATE: usize = 64 * 1024;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, reserve))
        .routes(routes!(get, patch))
        .routes(routes!(cancel))
        .routes(routes!(status_update))
        .routes(routes!(calendar))
}

/// Filters of the reservation list.
#[derive(Deserialize, utoipa::IntoParams)]
struct Filter {
    /// Only of this resource.
    resource_id: Option<ResourceId>,
    /// Only with this status.
    status: Option<ReservationStatus>,
    /// Only one's own (administrators see everyone's otherwise).
    mine: Option<bool>,
    /// Ending after.
    from: Option<DateTime<Utc>>,
    /// Starting before.
    to: Option<DateTime<Utc>>,
    /// 1 to 200 items; 50 when absent.
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Reservations, newest first.
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

/// Reserve; publishes `reservation.created`.
#[utoipa::path(post, path = "/reservations", tag = "reservations", request_body = ReservationInput,
    responses((status = 201, body = Reservation), (status = 403, body = ProblemBody), (status = 409, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn reserve(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    headers: HeaderMap,
    body: Json<ReservationInput>,
) -> Result<Response, ApiError> {
    create(&app, caller, &headers, "/reservations", &body.digest, async move |service, actor| {
        service.reservations().create(&actor, body.value).await
    })
    .await
}

/// One reservation with its provisioning and deliveries.
#[utoipa::path(get, path = "/reservations/{id}", tag = "reservations", params(("id" = String, Path)),
    responses((status = 200, body = ReservationDetail), (status = 404, body = ProblemBody)))]
async fn get(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
) -> Result<axum::Json<ReservationDetail>, ApiError> {
    Ok(axum::Json(app.service.reservations().get(&caller.actor, &ReservationId(id)).await?))
}

/// Modify; publishes `reservation.updated`.
#[utoipa::path(patch, path = "/reservations/{id}", tag = "reservations", params(("id" = String, Path)), request_body = ReservationPatch,
    responses((status = 200, body = Reservation), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn patch(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
    body: Json<ReservationPatch>,
) -> Result<axum::Json<Reservation>, ApiError> {
    Ok(axum::Json(app.service.reservations().update(&caller.actor, &ReservationId(id), body.value).await?))
}

/// Why a reservation is cancelled.
#[derive(Deserialize, utoipa::ToSchema)]
struct CancelInput {
    /// At most 500 characters.
    reason: Option<String>,
}

/// Cancel; publishes `reservation.cancelled`.
#[utoipa::path(post, path = "/reservations/{id}/cancel", tag = "reservations", params(("id" = String, Path)), request_body = CancelInput,
    responses((status = 200, body = Reservation), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn cancel(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
    MaybeJson(input): MaybeJson<CancelInput>,
) -> Result<axum::Json<Reservation>, ApiError> {
    Ok(axum::Json(app.service.reservations().cancel(&caller.actor, &ReservationId(id), input.reason).await?))
}

/// A receiver's word on how provisioning goes, signed with the webhook's secret.
#[utoipa::path(post, path = "/reservations/{id}/status", tag = "receivers", security(()),
    params(("id" = String, Path), ("X-Webhook-Id" = i64, Header, description = "The webhook's id"), ("X-Webhook-Signature" = String, Header, description = "sha256=<HMAC-SHA256 of the raw body, hex>")),
    request_body = StatusUpdate,
    responses((status = 200, body = Provisioning), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody), (status = 413, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn status_update(
    State(app): State<AppState>,
    Path(id): Path<String>,
    headers: HeaderMap,
    request: Request,
) -> Result<axum::Json<Provisioning>, ApiError> {
    let bytes = body(request, &app).await?;
    if bytes.len() > MAX_UPDATE {
        return Err(Problem::new(ProblemKind::TooLarge, "A status update has at most 64 KiB.").into());
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let state = app
        .service
        .reservations()
        .apply_status_update(&ReservationId(id), text("x-webhook-id"), text("x-webhook-signature"), &bytes)
        .await?;
    Ok(axum::Json(state))
}

/// The calendar's span.
#[derive(Deserialize, utoipa::IntoParams)]
struct Span {
    /// From when.
    from: DateTime<Utc>,
    /// Until when, at most 62 days later.
    to: DateTime<Utc>,
    /// Only of this type.
    resource_type: Option<String>,
}

/// Busy spans; whose they are shows only to their owners and administrators.
#[utoipa::path(get, path = "/calendar", tag = "reservations", params(Span), responses((status = 200, body = Page<BusySpan>), (status = 422, body = ProblemBody)))]
async fn calendar(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Query(span): Query<Span>,
) -> Result<axum::Json<Page<BusySpan>>, ApiError> {
    let items = app
        .service
        .reservations()
        .list_busy_spans(&caller.actor, span.resource_type.as_deref(), span.from, span.to)
        .await?;
    Ok(axum::Json(Page { items, next_cursor: None }))
}
