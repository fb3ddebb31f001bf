//! Webhooks (administrators).

use super::super::AppState;
use super::super::extract::{AuthenticatedUser, Json, MaybeJson, Path, Query};
use super::super::problem::{ApiError, ProblemBody};
use super::create;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use domain::delivery::Attempt;
use domain::id::WebhookId;
use domain::pagination::{Page, PageQuery};
use domain::webhook::*;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, register))
        .routes(routes!(get, patch, delete))
        .routes(routes!(test))
        .routes(routes!(rotate))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(stats))
}

/// Webhooks with their last 24 hours.
#[utoipa::path(get, path = "/webhooks", tag = "webhooks", params(PageQuery), responses((status = 200, body = Page<Webhook>), (status = 403, body = ProblemBody)))]
async fn list(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<Page<Webhook>>, ApiError> {
    Ok(axum::Json(app.service.list_webhooks(&caller.actor, &page).await?))
}

/// Register a webhook; the secret is shown this once.
#[utoipa::path(post, path = "/webhooks", tag = "webhooks", request_body = WebhookInput,
    responses((status = 201, body = WebhookWithSecret), (status = 403, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn register(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    headers: HeaderMap,
    body: Json<WebhookInput>,
) -> Result<Response, ApiError> {
    create(&app, caller, &headers, "/webhooks", &body.digest, async move |service, actor| {
        service.create_webhook(&actor, body.value).await
    })
    .await
}

/// One webhook.
#[utoipa::path(get, path = "/webhooks/{id}", tag = "webhooks", params(("id" = i64, Path)), responses((status = 200, body = Webhook), (status = 404, body = ProblemBody)))]
async fn get(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
) -> Result<axum::Json<Webhook>, ApiError> {
    Ok(axum::Json(app.service.get_webhook(&caller.actor, id).await?))
}

/// Change settings; empty auth secrets keep the stored ones.
#[utoipa::path(patch, path = "/webhooks/{id}", tag = "webhooks", params(("id" = i64, Path)), request_body = WebhookPatch,
    responses((status = 200, body = Webhook), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn patch(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
    body: Json<WebhookPatch>,
) -> Result<axum::Json<Webhook>, ApiError> {
    Ok(axum::Json(app.service.patch_webhook(&caller.actor, id, body.value).await?))
}

/// Delete; pending deliveries are cancelled.
#[utoipa::path(delete, path = "/webhooks/{id}", tag = "webhooks", params(("id" = i64, Path)), responses((status = 204), (status = 404, body = ProblemBody)))]
async fn delete(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
) -> Result<StatusCode, ApiError> {
    app.service.delete_webhook(&caller.actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Send a test event at once and answer with the whole exchange.
#[utoipa::path(post, path = "/webhooks/{id}/test", tag = "webhooks", params(("id" = i64, Path)), request_body = TestInput,
    responses((status = 200, body = Attempt), (status = 404, body = ProblemBody)))]
async fn test(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
    MaybeJson(input): MaybeJson<TestInput>,
) -> Result<axum::Json<Attempt>, ApiError> {
    Ok(axum::Json(app.service.test_webhook(&caller.actor, id, input).await?))
}

/// A new secret; the old one signs too during the overlap.
#[utoipa::path(post, path = "/webhooks/{id}/rotate-secret", tag = "webhooks", params(("id" = i64, Path)), request_body = RotateInput,
    responses((status = 200, body = WebhookWithSecret), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn rotate(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
    MaybeJson(input): MaybeJson<RotateInput>,
) -> Result<axum::Json<WebhookWithSecret>, ApiError> {
    Ok(axum::Json(app.service.rotate_secret(&caller.actor, id, input).await?))
}

/// Pause: events are kept.
#[utoipa::path(post, path = "/webhooks/{id}/pause", tag = "webhooks", params(("id" = i64, Path)), responses((status = 200, body = Webhook), (status = 404, body = ProblemBody)))]
async fn pause(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
) -> Result<axum::Json<Webhook>, ApiError> {
    Ok(axum::Json(app.service.pause_webhook(&caller.actor, id).await?))
}

/// Resume, delivering or dropping what waited.
#[utoipa::path(post, path = "/webhooks/{id}/resume", tag = "webhooks", params(("id" = i64, Path)), request_body = ResumeInput,
    responses((status = 200, body = Webhook), (status = 404, body = ProblemBody)))]
async fn resume(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
    MaybeJson(input): MaybeJson<ResumeInput>,
) -> Result<axum::Json<Webhook>, ApiError> {
    Ok(axum::Json(app.service.resume_webhook(&caller.actor, id, input).await?))
}

/// Which window.
#[derive(Deserialize, utoipa::IntoParams)]
struct StatsQuery {
    /// `1h`, `24h` or `7d`; `24h` when absent.
    window: Option<StatsWindow>,
}

/// Counts, error rate, percentiles and series.
#[utoipa::path(get, path = "/webhooks/{id}/stats", tag = "webhooks", params(("id" = i64, Path), StatsQuery), responses((status = 200, body = WebhookStats), (status = 404, body = ProblemBody)))]
async fn stats(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
    Query(query): Query<StatsQuery>,
) -> Result<axum::Json<WebhookStats>, ApiError> {
    Ok(axum::Json(app.service.webhook_stats(&caller.actor, id, query.window.unwrap_or(StatsWindow::Day)).await?))
}
