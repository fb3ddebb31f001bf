//! `/api/v1/webhooks`: settings, secrets, test events, certification of receivers, and statistics. For administrators, and
//! for owners those of their resource types. `/api/v1/tools/webhook-check` checks settings that are not saved, and
//! `/api/v1/tools/signature-check` is for every user.

use super::super::AppState;
use super::super::extract::{AuthenticatedUser, Json, MaybeJson, Path, Query};
use super::super::if_match::{IfMatch, Tagged};
use super::super::problem::{ApiError, ProblemBody};
use super::idempotency::{create, respond_once};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use domain::conformance::ConformanceReport;
use domain::delivery::Attempt;
use domain::draft_check::{DraftCheckInput, DraftReport};
use domain::id::WebhookId;
use domain::pagination::{Page, PageQuery};
use domain::signature_check::{SignatureCheckInput, SignatureReport};
use domain::webhook::*;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, register))
        .routes(routes!(get, patch, delete))
        .routes(routes!(test))
        .routes(routes!(certify))
        .routes(routes!(check_draft))
        .routes(routes!(check_signature))
        .routes(routes!(rotate))
        .routes(routes!(revoke_secrets))
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
///
/// The `ETag` identifies its settings, secrets and state, and not the summary.
#[utoipa::path(get, path = "/webhooks/{id}", tag = "webhooks", params(("id" = i64, Path)),
    responses((status = 200, body = Webhook, headers(("ETag" = String, description = "The revision of the webhook, for `If-Match`.")))))]
async fn get(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
) -> Result<Tagged<Webhook>, ApiError> {
    let (webhook, revision) = app.service.webhooks().get_revision(&caller.actor, id).await?;
    Ok(Tagged(webhook, revision))
}

/// Changes the settings of a webhook.
///
/// An empty secret of the authentication method keeps the stored one.
#[utoipa::path(patch, path = "/webhooks/{id}", tag = "webhooks", params(("id" = i64, Path)), request_body = WebhookPatch,
    responses((status = 200, body = Webhook, headers(("ETag" = String, description = "The revision of the webhook, for `If-Match`.")))))]
async fn patch(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
    IfMatch(condition): IfMatch,
    body: Json<WebhookPatch>,
) -> Result<Tagged<Webhook>, ApiError> {
    let webhooks = app.service.webhooks().if_match(condition);
    webhooks.update(&caller.actor, id, body.value).await?;
    let (webhook, revision) = webhooks.get_revision(&caller.actor, id).await?;
    Ok(Tagged(webhook, revision))
}

/// Deletes a webhook.
///
/// Cancels its queued deliveries. Its delivery log is kept.
#[utoipa::path(delete, path = "/webhooks/{id}", tag = "webhooks", params(("id" = i64, Path)), responses((status = 204)))]
async fn delete(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
    IfMatch(condition): IfMatch,
) -> Result<StatusCode, ApiError> {
    app.service.webhooks().if_match(condition).delete(&caller.actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a test event immediately and returns the attempt (docs/contract.md §1, "Test events").
#[utoipa::path(post, path = "/webhooks/{id}/test", tag = "webhooks", params(("id" = i64, Path)), request_body = TestInput,
    responses((status = 200, body = Attempt), (status = 409, body = ProblemBody)))]
async fn test(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
    MaybeJson(body): MaybeJson<TestInput>,
) -> Result<axum::Json<Attempt>, ApiError> {
    Ok(axum::Json(app.service.webhooks().send_test(&caller.actor, id, body.value).await?))
}

/// Certifies the receiver of a webhook and returns the report.
///
/// Sends about 40 test events: valid ones, forged ones, duplicates, and unusual ones. The delivery log does not contain them.
/// Every check has a verdict and states what to change. The response can take 90 seconds.
#[utoipa::path(post, path = "/webhooks/{id}/conformance", tag = "webhooks", params(("id" = i64, Path)),
    responses((status = 200, body = ConformanceReport), (status = 409, body = ProblemBody)))]
async fn certify(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
) -> Result<axum::Json<ConformanceReport>, ApiError> {
    Ok(axum::Json(app.service.webhooks().certify(&caller.actor, id).await?))
}

/// Checks the settings of a webhook before they are saved.
///
/// Sends a test event for each trigger, one with a wrong signature, and a request to `/health`. Nothing is saved, and the
/// delivery log does not contain the requests. The response can take 90 seconds.
#[utoipa::path(post, path = "/tools/webhook-check", tag = "webhooks", request_body = DraftCheckInput,
    responses((status = 200, body = DraftReport), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn check_draft(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    body: Json<DraftCheckInput>,
) -> Result<axum::Json<DraftReport>, ApiError> {
    Ok(axum::Json(app.service.webhooks().check_draft(&caller.actor, body.value).await?))
}

/// Names the part of a received request with which its signature does not fit.
///
/// Nothing is stored or logged.
#[utoipa::path(post, path = "/tools/signature-check", tag = "webhooks", request_body = SignatureCheckInput,
    responses((status = 200, body = SignatureReport)))]
async fn check_signature(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    body: Json<SignatureCheckInput>,
) -> Result<axum::Json<SignatureReport>, ApiError> {
    Ok(axum::Json(app.service.webhooks().check_signature(&caller.actor, body.value).await?))
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
    IfMatch(condition): IfMatch,
    headers: HeaderMap,
    MaybeJson(body): MaybeJson<RotateInput>,
) -> Result<Response, ApiError> {
    let path = format!("/webhooks/{id}/rotate-secret");
    respond_once(&app, caller, &headers, (StatusCode::OK, &path, &body.digest), async move |service, actor| {
        Ok(service.webhooks().if_match(condition).rotate_secret(&actor, id, body.value).await?)
    })
    .await
}

/// Revokes the previous signing secrets of a webhook.
///
/// Ends the overlap of its rotations at once. Only the current secret signs afterwards.
#[utoipa::path(post, path = "/webhooks/{id}/revoke-secrets", tag = "webhooks", params(("id" = i64, Path)),
    responses((status = 200, body = Webhook), (status = 409, body = ProblemBody)))]
async fn revoke_secrets(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
    IfMatch(condition): IfMatch,
) -> Result<axum::Json<Webhook>, ApiError> {
    Ok(axum::Json(app.service.webhooks().if_match(condition).revoke_previous_secrets(&caller.actor, id).await?))
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
