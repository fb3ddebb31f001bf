//! Alerts: `/api/v1/alerts` for lists, rules and channels; the monitoring of one webhook below `/api/v1/webhooks/{id}`.

use super::super::AppState;
use super::super::extract::{AuthenticatedUser, Json, MaybeJson, Path, Query};
use super::super::problem::{ApiError, ProblemBody};
use axum::extract::State;
use domain::alert::{
    Alert, AlertChannels, AlertChannelsInput, AlertFilter, AlertPreferences, AlertRules, AlertRulesInput, ChannelTest,
    MuteInput,
};
use domain::id::WebhookId;
use domain::pagination::{Page, PageQuery};
use domain::webhook::{MonitoringPatch, RecoverInput, TokenStatus, Webhook, WebhookMonitoring};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get_rules, set_rules))
        .routes(routes!(get_channels, set_channels))
        .routes(routes!(test))
        .routes(routes!(get_preferences, set_preferences))
        .routes(routes!(get_monitoring, set_monitoring))
        .routes(routes!(check_health))
        .routes(routes!(fetch_token))
        .routes(routes!(mute))
        .routes(routes!(recover))
}

/// Lists alerts about webhooks, newest first.
#[utoipa::path(get, path = "/alerts", tag = "alerts", params(AlertFilter, PageQuery), responses((status = 200, body = Page<Alert>)))]
async fn list(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Query(filter): Query<AlertFilter>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<Page<Alert>>, ApiError> {
    Ok(axum::Json(app.service.alerts().list(&caller.actor, &filter, &page).await?))
}

/// Returns the alert rules for all webhooks.
///
/// A webhook can have rules of its own (`PATCH /api/v1/webhooks/{id}/monitoring`).
#[utoipa::path(get, path = "/alerts/rules", tag = "alerts", responses((status = 200, body = AlertRules)))]
async fn get_rules(State(app): State<AppState>, caller: AuthenticatedUser) -> Result<axum::Json<AlertRules>, ApiError> {
    Ok(axum::Json(app.service.alerts().rules(&caller.actor).await?))
}

/// Replaces the alert rules for all webhooks.
///
/// Administrators only. For kinds that the body does not contain, the built-in rules apply again.
#[utoipa::path(put, path = "/alerts/rules", tag = "alerts", request_body = AlertRulesInput,
    responses((status = 200, body = AlertRules)))]
async fn set_rules(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    body: Json<AlertRulesInput>,
) -> Result<axum::Json<AlertRules>, ApiError> {
    Ok(axum::Json(app.service.alerts().set_rules(&caller.actor, body.value).await?))
}

/// Returns the channels of alerts, without secrets.
///
/// Administrators and auditors only.
#[utoipa::path(get, path = "/alerts/channels", tag = "alerts", responses((status = 200, body = AlertChannels)))]
async fn get_channels(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
) -> Result<axum::Json<AlertChannels>, ApiError> {
    Ok(axum::Json(app.service.alerts().channels(&caller.actor).await?))
}

/// Sets or removes the operations webhook (docs/contract.md §9).
///
/// Administrators only. Only the response to a call that sets the signing secret contains it.
#[utoipa::path(put, path = "/alerts/channels", tag = "alerts", request_body = AlertChannelsInput,
    responses((status = 200, body = AlertChannels)))]
async fn set_channels(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    body: Json<AlertChannelsInput>,
) -> Result<axum::Json<AlertChannels>, ApiError> {
    Ok(axum::Json(app.service.alerts().set_channels(&caller.actor, body.value).await?))
}

/// Sends a test alert to the operations webhook and to the caller's e-mail address.
///
/// Administrators only.
#[utoipa::path(post, path = "/alerts/test", tag = "alerts",
    responses((status = 200, body = ChannelTest), (status = 409, body = ProblemBody)))]
async fn test(State(app): State<AppState>, caller: AuthenticatedUser) -> Result<axum::Json<ChannelTest>, ApiError> {
    Ok(axum::Json(app.service.alerts().test_channels(&caller.actor).await?))
}

/// Returns the caller's preferences for alerts.
#[utoipa::path(get, path = "/alerts/preferences", tag = "alerts", responses((status = 200, body = AlertPreferences)))]
async fn get_preferences(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
) -> Result<axum::Json<AlertPreferences>, ApiError> {
    Ok(axum::Json(app.service.alerts().preferences(&caller.actor).await?))
}

/// Changes the caller's preferences for alerts.
#[utoipa::path(put, path = "/alerts/preferences", tag = "alerts", request_body = AlertPreferences,
    responses((status = 200, body = AlertPreferences)))]
async fn set_preferences(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    body: Json<AlertPreferences>,
) -> Result<axum::Json<AlertPreferences>, ApiError> {
    Ok(axum::Json(app.service.alerts().set_preferences(&caller.actor, body.value).await?))
}

/// Returns the monitoring of a webhook: health check, certificate, OAuth token, automatic pause and alert rules.
#[utoipa::path(get, path = "/webhooks/{id}/monitoring", tag = "alerts", params(("id" = i64, Path)),
    responses((status = 200, body = WebhookMonitoring)))]
async fn get_monitoring(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
) -> Result<axum::Json<WebhookMonitoring>, ApiError> {
    Ok(axum::Json(app.service.alerts().monitoring(&caller.actor, id).await?))
}

/// Changes the health check, the automatic pause and the alert rules of a webhook.
#[utoipa::path(patch, path = "/webhooks/{id}/monitoring", tag = "alerts", params(("id" = i64, Path)), request_body = MonitoringPatch,
    responses((status = 200, body = WebhookMonitoring)))]
async fn set_monitoring(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
    body: Json<MonitoringPatch>,
) -> Result<axum::Json<WebhookMonitoring>, ApiError> {
    Ok(axum::Json(app.service.alerts().set_monitoring(&caller.actor, id, body.value).await?))
}

/// Runs the health check of a webhook now.
#[utoipa::path(post, path = "/webhooks/{id}/health-check", tag = "alerts", params(("id" = i64, Path)),
    responses((status = 200, body = WebhookMonitoring), (status = 409, body = ProblemBody)))]
async fn check_health(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
) -> Result<axum::Json<WebhookMonitoring>, ApiError> {
    Ok(axum::Json(app.service.alerts().check_health(&caller.actor, id).await?))
}

/// Requests a new OAuth token for a webhook, and returns its state.
///
/// A failure of the token endpoint is part of the response.
#[utoipa::path(post, path = "/webhooks/{id}/oauth-token", tag = "alerts", params(("id" = i64, Path)),
    responses((status = 200, body = TokenStatus), (status = 409, body = ProblemBody)))]
async fn fetch_token(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
) -> Result<axum::Json<TokenStatus>, ApiError> {
    Ok(axum::Json(app.service.alerts().fetch_token(&caller.actor, id).await?))
}

/// Mutes the notices of alerts about a webhook until a time.
///
/// An alert that still fires at that time is sent then.
#[utoipa::path(post, path = "/webhooks/{id}/alerts/mute", tag = "alerts", params(("id" = i64, Path)), request_body = MuteInput,
    responses((status = 200, body = WebhookMonitoring)))]
async fn mute(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
    body: Json<MuteInput>,
) -> Result<axum::Json<WebhookMonitoring>, ApiError> {
    Ok(axum::Json(app.service.alerts().mute(&caller.actor, id, body.value).await?))
}

/// Resumes a webhook after an automatic pause.
///
/// Sends its queued deliveries, and redelivers what failed since the start of the failure.
#[utoipa::path(post, path = "/webhooks/{id}/recover", tag = "alerts", params(("id" = i64, Path)), request_body = RecoverInput,
    responses((status = 200, body = Webhook), (status = 409, body = ProblemBody)))]
async fn recover(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<WebhookId>,
    MaybeJson(body): MaybeJson<RecoverInput>,
) -> Result<axum::Json<Webhook>, ApiError> {
    Ok(axum::Json(app.service.alerts().recover(&caller.actor, id, body.value).await?))
}
