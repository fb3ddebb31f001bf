//! `/api/v1/webhooks/{id}/listener`: local listeners (docs/contract.md §7). For administrators, and for owners those of the
//! webhooks of their resource types.

use super::super::AppState;
use super::super::extract::{AuthenticatedUser, Json, Path, Query};
use super::super::problem::{ApiError, ProblemBody};
use axum::extract::State;
use axum::http::StatusCode;
use domain::id::WebhookId;
use domain::webhook::{ListenerClaimInput, ListenerConnection, ListenerDeliveries, ListenerRecorded, ListenerResult};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(connect_listener, disconnect_listener))
        .routes(routes!(claim_deliveries))
        .routes(routes!(report_result))
}

/// Connects a local listener to a webhook.
///
/// For webhooks with the delivery mode `local`. Another connection ends this one: the newest listener receives the deliveries.
#[utoipa::path(post, path = "/webhooks/{id}/listener", tag = "webhooks", params(("id" = i64, Path)),
    responses((status = 201, body = ListenerConnection), (status = 409, body = ProblemBody)))]
async fn connect_listener(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
) -> Result<(StatusCode, axum::Json<ListenerConnection>), ApiError> {
    Ok((StatusCode::CREATED, axum::Json(app.service.listeners().connect(&caller.actor, id).await?)))
}

/// The connection to end.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Disconnect {
    /// Id of the connection; the present one when absent.
    listener: Option<String>,
}

/// Disconnects a local listener.
///
/// Its unfinished deliveries are due again. Another listener of the webhook stays connected.
#[utoipa::path(delete, path = "/webhooks/{id}/listener", tag = "webhooks", params(("id" = i64, Path), Disconnect),
    responses((status = 204), (status = 409, body = ProblemBody)))]
async fn disconnect_listener(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
    Query(query): Query<Disconnect>,
) -> Result<StatusCode, ApiError> {
    app.service.listeners().disconnect(&caller.actor, id, query.listener.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Claims deliveries for a local listener.
///
/// Waits until a delivery is due, at most `wait_seconds`. Each delivery is the complete signed request, under a lease that
/// lasts 15 s longer than the time limit of a request. A listener reports the result of each with its lease.
#[utoipa::path(post, path = "/webhooks/{id}/listener/claims", tag = "webhooks", params(("id" = i64, Path)),
    request_body = ListenerClaimInput, responses((status = 200, body = ListenerDeliveries), (status = 409, body = ProblemBody)))]
async fn claim_deliveries(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
    body: Json<ListenerClaimInput>,
) -> Result<axum::Json<ListenerDeliveries>, ApiError> {
    Ok(axum::Json(app.service.listeners().claim(&caller.actor, id, body.value, &app.cancel).await?))
}

/// Records the result of a forwarded delivery.
///
/// It has the effects of a request of Berth itself: diagnosis, provisioning status, retries and the order of events.
#[utoipa::path(post, path = "/webhooks/{id}/listener/results", tag = "webhooks", params(("id" = i64, Path)),
    request_body = ListenerResult, responses((status = 200, body = ListenerRecorded), (status = 409, body = ProblemBody)))]
async fn report_result(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
    body: Json<ListenerResult>,
) -> Result<axum::Json<ListenerRecorded>, ApiError> {
    Ok(axum::Json(app.service.listeners().record(&caller.actor, id, body.value).await?))
}
