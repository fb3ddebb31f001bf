//! `/api/v1/webhooks`: settings, secrets, test events and statistics. Administrators only.

use super::super::AppState;
use super::super::extract::{AuthenticatedUser, Json, MaybeJson, Path, Query};
use super::super::problem::ApiError;
use super::idempotency::{create, respond_once};
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

/// Lists webhooks with a summary of the last 24 hours.
#[utoipa::path(get, path = "/webhooks", tag = "webhooks", params(PageQuery), responses((status = 200, body = Page<Webhook>)))]
async fn list(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<Page<Webhook>>, ApiError> {
    Ok(axum::Json(app.service.webhooks().list(&caller.actor, &page).await?))
}

/// Creates a webhook.
///
/// Only this response and that of a rotation contain the signing secret.
#[utoipa::path(post, path = "/webhooks", tag = "webhooks", request_body = WebhookInput,
    responses((status = 201, body = WebhookWithSecret)))]
async fn register(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    headers: HeaderMap,
    body: Json<WebhookInput>,
) -> Result<Response, ApiError> {
    create(&app, caller, &headers, "/webhooks", &body.digest, async move |service, actor| {
        Ok(service.webhooks().create(&actor, body.value).await?)
    })
    .await
}

/// Returns a webhook.
#[utoipa::path(get, path = "/webhooks/{id}", tag = "webhooks", params(("id" = i64, Path)), responses((status = 200, body = Webhook)))]
async fn get(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
) -> Result<axum::Json<Webhook>, ApiError> {
    Ok(axum::Json(app.service.webhooks().get(&caller.actor, id).await?))
}

/// Changes the settings of a webhook.
///
/// An empty secret of the authentication method keeps the stored one.
#[utoipa::path(patch, path = "/webhooks/{id}", tag = "webhooks", params(("id" = i64, Path)), request_body = WebhookPatch,
    responses((status = 200, body = Webhook)))]
async fn patch(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
    body: Json<WebhookPatch>,
) -> Result<axum::Json<Webhook>, ApiError> {
    Ok(axum::Json(app.service.webhooks().update(&caller.actor, id, body.value).await?))
}

/// Deletes a webhook.
///
/// Cancels its queued deliveries. Its delivery log is kept.
#[utoipa::path(delete, path = "/webhooks/{id}", tag = "webhooks", params(("id" = i64, Path)), responses((status = 204)))]
async fn delete(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
) -> Result<StatusCode, ApiError> {
    app.service.webhooks().delete(&caller.actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a test event immediately and returns the attempt (docs/contract.md §1, "Test events").
#[utoipa::path(post, path = "/webhooks/{id}/test", tag = "webhooks", params(("id" = i64, Path)), request_body = TestInput,
    responses((status = 200, body = Attempt)))]
async fn test(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
    MaybeJson(body): MaybeJson<TestInput>,
) -> Result<axum::Json<Attempt>, ApiError> {
    Ok(axum::Json(app.service.webhooks().send_test(&caller.actor, id, body.value).await?))
}

/// Rotates the signing secret of a webhook.
///
/// During the overlap, the old secret also signs (docs/contract.md §1, "Signatures"). Only this response contains the new
/// secret.
#[utoipa::path(post, path = "/webhooks/{id}/rotate-secret", tag = "webhooks", params(("id" = i64, Path)), request_body = RotateInput,
    responses((status = 200, body = WebhookWithSecret)))]
async fn rotate(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
    headers: HeaderMap,
    MaybeJson(body): MaybeJson<RotateInput>,
) -> Result<Response, ApiError> {
    let path = format!("/webhooks/{id}/rotate-secret");
    respond_once(&app, caller, &headers, (StatusCode::OK, &path, &body.digest), async move |service, actor| {
        Ok(service.webhooks().rotate_secret(&actor, id, body.value).await?)
    })
    .await
}

/// Pauses a webhook.
///
/// Its events are queued.
#[utoipa::path(post, path = "/webhooks/{id}/pause", tag = "webhooks", params(("id" = i64, Path)), responses((status = 200, body = Webhook)))]
async fn pause(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
) -> Result<axum::Json<Webhook>, ApiError> {
    Ok(axum::Json(app.service.webhooks().pause(&caller.actor, id).await?))
}

/// Resumes a webhook.
///
/// Its queued events are delivered or discarded.
#[utoipa::path(post, path = "/webhooks/{id}/resume", tag = "webhooks", params(("id" = i64, Path)), request_body = ResumeInput,
    responses((status = 200, body = Webhook)))]
async fn resume(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
    MaybeJson(body): MaybeJson<ResumeInput>,
) -> Result<axum::Json<Webhook>, ApiError> {
    Ok(axum::Json(app.service.webhooks().resume(&caller.actor, id, body.value).await?))
}

/// Parameters of the statistics.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct StatsQuery {
    /// Time window: `1h`, `24h` or `7d`; `24h` when absent.
    window: Option<StatsWindow>,
}

/// Returns the counts, error rate, percentiles and time series of a webhook.
#[utoipa::path(get, path = "/webhooks/{id}/stats", tag = "webhooks", params(("id" = i64, Path), StatsQuery), responses((status = 200, body = WebhookStats)))]
async fn stats(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
    Query(query): Query<StatsQuery>,
) -> Result<axum::Json<WebhookStats>, ApiError> {
    Ok(axum::Json(app.service.webhooks().stats(&caller.actor, id, query.window.unwrap_or(StatsWindow::Day)).await?))
}
