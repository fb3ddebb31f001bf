//! `/api/v1/replays`: replays in the background. For administrators, and for owners the deliveries of their resource types.

use super::super::AppState;
use super::super::extract::{AuthenticatedUser, Json, Path, Query};
use super::super::problem::{ApiError, ProblemBody};
use super::idempotency::respond_once;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use domain::delivery::ReplayResult;
use domain::id::ReplayId;
use domain::pagination::{Page, PageQuery};
use domain::replay::{Replay, ReplayPatch, ReplayRequest};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(start))
        .routes(routes!(preview))
        .routes(routes!(get))
        .routes(routes!(update))
}

/// Lists replays, newest first.
///
/// Owners see those that they have started.
#[utoipa::path(get, path = "/replays", tag = "replays", params(PageQuery), responses((status = 200, body = Page<Replay>)))]
async fn list(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<Page<Replay>>, ApiError> {
    Ok(axum::Json(app.service.replays().list(&caller.actor, &page).await?))
}

/// Counts what a replay would send.
///
/// Returns the number of deliveries by webhook, and the reasons for what would not be sent. Changes nothing.
#[utoipa::path(post, path = "/replays/preview", tag = "replays", request_body = ReplayRequest,
    responses((status = 200, body = ReplayResult), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn preview(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    body: Json<ReplayRequest>,
) -> Result<axum::Json<ReplayResult>, ApiError> {
    Ok(axum::Json(app.service.replays().preview(&caller.actor, &body.value).await?))
}

/// Starts a replay.
///
/// Sends deliveries again, or events that a webhook has never received, in the background, oldest first, at most 100,000. It
/// sends exactly what a preview at this time counts. It survives restarts, and can be paused and cancelled.
#[utoipa::path(post, path = "/replays", tag = "replays", request_body = ReplayRequest,
    responses((status = 202, body = Replay), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn start(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    headers: HeaderMap,
    body: Json<ReplayRequest>,
) -> Result<Response, ApiError> {
    let request = (StatusCode::ACCEPTED, "/replays", body.digest.as_str());
    respond_once(&app, caller, &headers, request, async move |service, actor| {
        Ok(service.replays().start(&actor, &body.value).await?)
    })
    .await
}

/// Returns a replay with its progress.
#[utoipa::path(get, path = "/replays/{id}", tag = "replays", params(("id" = String, Path)), responses((status = 200, body = Replay)))]
async fn get(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
) -> Result<axum::Json<Replay>, ApiError> {
    Ok(axum::Json(app.service.replays().get(&caller.actor, &ReplayId(id)).await?))
}

/// Pauses, continues or cancels a replay, or changes its rate.
///
/// A cancellation also discards the deliveries that it has queued and that still wait.
#[utoipa::path(patch, path = "/replays/{id}", tag = "replays", params(("id" = String, Path)), request_body = ReplayPatch,
    responses((status = 200, body = Replay), (status = 409, body = ProblemBody)))]
async fn update(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
    body: Json<ReplayPatch>,
) -> Result<axum::Json<Replay>, ApiError> {
    Ok(axum::Json(app.service.replays().update(&caller.actor, &ReplayId(id), &body.value).await?))
}
