//! Messages to people.

use super::super::AppState;
use super::super::extract::{AuthenticatedUser, Json};
use super::super::problem::ApiError;
use axum::extract::State;
use axum::http::StatusCode;
use domain::change::Notification;
use domain::pagination::Page;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(read))
}

/// The newest 100 messages.
#[utoipa::path(get, path = "/notifications", tag = "notifications", responses((status = 200, body = Page<Notification>)))]
async fn list(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
) -> Result<axum::Json<Page<Notification>>, ApiError> {
    Ok(axum::Json(Page { items: app.service.list_notifications(&caller.actor).await?, next_cursor: None }))
}

/// Up to which message all were read.
#[derive(Deserialize, utoipa::ToSchema)]
struct ReadInput {
    /// The newest message that was seen.
    id: i64,
}

/// Mark messages read.
#[utoipa::path(post, path = "/notifications/read", tag = "notifications", request_body = ReadInput, responses((status = 204)))]
async fn read(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    body: Json<ReadInput>,
) -> Result<StatusCode, ApiError> {
    app.service.mark_notifications_read(&caller.actor, body.value.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
