//! `/api/v1/deliveries`: the delivery log, redelivery and replay. Administrators only.

use super::super::AppState;
use super::super::extract::{AuthenticatedUser, Json, Path, Query};
use super::super::problem::{ApiError, ProblemBody};
use super::idempotency::respond_once;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::delivery::*;
use domain::event::EventType;
use domain::id::{DeliveryId, WebhookId};
use domain::pagination::{Page, PageQuery};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get)).routes(routes!(redeliver)).routes(routes!(replay))
}

/// Filters of the delivery log.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only deliveries to this webhook.
    webhook_id: Option<WebhookId>,
    /// Only deliveries of this event type.
    event_type: Option<EventType>,
    /// Only deliveries with this status.
    status: Option<DeliveryStatus>,
    /// Only deliveries of this reservation's events.
    reservation_id: Option<String>,
    /// Only redeliveries of this delivery.
    redelivery_of: Option<DeliveryId>,
    /// Only deliveries created at or after this time.
    #[serde(default, deserialize_with = "domain::timestamp::deserialize_optional")]
    since: Option<DateTime<Utc>>,
    /// Only deliveries created before this time.
    #[serde(default, deserialize_with = "domain::timestamp::deserialize_optional")]
    until: Option<DateTime<Utc>>,
    /// Page size, 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page, or `redeliveries_next_cursor` of a delivery.
    cursor: Option<String>,
}

/// Lists deliveries, newest first.
#[utoipa::path(get, path = "/deliveries", tag = "deliveries", params(Filter), responses((status = 200, body = Page<DeliverySummary>)))]
async fn list(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Query(filter): Query<Filter>,
) -> Result<axum::Json<Page<DeliverySummary>>, ApiError> {
    let page = PageQuery { limit: filter.limit, cursor: filter.cursor };
    let filter = DeliveryFilter {
        webhook_id: filter.webhook_id,
        event_type: filter.event_type,
        status: filter.status,
        reservation_id: filter.reservation_id,
        redelivery_of: filter.redelivery_of,
        since: filter.since,
        until: filter.until,
    };
    Ok(axum::Json(app.service.deliveries().list(&caller.actor, &filter, &page).await?))
}

/// Returns a delivery with its attempts.
#[utoipa::path(get, path = "/deliveries/{id}", tag = "deliveries", params(("id" = String, Path)), responses((status = 200, body = DeliveryDetail)))]
async fn get(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
) -> Result<axum::Json<DeliveryDetail>, ApiError> {
    Ok(axum::Json(app.service.deliveries().get(&caller.actor, &DeliveryId(id)).await?))
}

/// Redelivers an event.
///
/// Creates a new delivery of the same event.
#[utoipa::path(post, path = "/deliveries/{id}/redeliver", tag = "deliveries", params(("id" = String, Path)),
    responses((status = 202, body = DeliverySummary), (status = 409, body = ProblemBody)))]
async fn redeliver(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let path = format!("/deliveries/{id}/redeliver");
    respond_once(&app, caller, &headers, (StatusCode::ACCEPTED, &path, ""), async move |service, actor| {
        Ok(service.deliveries().redeliver(&actor, &DeliveryId(id)).await?)
    })
    .await
}

/// Replays the deliveries that match a filter.
///
/// Creates a new delivery for each match, oldest first, at most 10,000. If `matched` is larger than `redelivered`, repeat
/// the request for the rest. A dry run only counts the matches.
#[utoipa::path(post, path = "/deliveries/replay", tag = "deliveries", request_body = ReplayInput,
    responses((status = 200, body = ReplayResult)))]
async fn replay(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    headers: HeaderMap,
    body: Json<ReplayInput>,
) -> Result<Response, ApiError> {
    let request = (StatusCode::OK, "/deliveries/replay", body.digest.as_str());
    respond_once(&app, caller, &headers, request, async move |service, actor| {
        Ok(service.deliveries().replay(&actor, &body.value).await?)
    })
    .await
}
