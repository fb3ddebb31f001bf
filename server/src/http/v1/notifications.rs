//! Notifications of a user.

use super::super::AppState;
use super::super::extract::{AuthenticatedUser, Json, Query};
use super::super::problem::ApiError;
use axum::extract::State;
use axum::http::StatusCode;
use domain::change::Notification;
use domain::pagination::{Page, PageQuery};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(mark_read))
}

/// Lists your notifications, newest first.
#[utoipa::path(get, path = "/notifications", tag = "notifications", params(PageQuery), responses((status = 200, body = Page<Notification>)))]
async fn list(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<Page<Notification>>, ApiError> {
    Ok(axum::Json(app.service.notifications().list_page(&caller.actor, &page).await?))
}

/// Body of `POST /api/v1/notifications/read`.
#[derive(Deserialize, utoipa::ToSchema)]
struct ReadInput {
    /// Id of the newest notification to mark as read.
    id: i64,
}

/// Marks every notification up to `id` as read.
#[utoipa::path(post, path = "/notifications/read", tag = "notifications", request_body = ReadInput, responses((status = 204)))]
async fn mark_read(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    body: Json<ReadInput>,
) -> Result<StatusCode, ApiError> {
    app.service.notifications().mark_read(&caller.actor, body.value.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
