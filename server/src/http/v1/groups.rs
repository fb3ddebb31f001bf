//! Groups of users (docs/contract.md §6).

use super::super::AppState;
use super::super::extract::{AuthenticatedUser, Json, Path, Query};
use super::super::problem::{ApiError, ProblemBody};
use super::idempotency::create;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use domain::id::GroupId;
use domain::ownership::{Group, GroupInput, GroupPatch};
use domain::pagination::{Page, PageQuery};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_groups, create_group)).routes(routes!(
        get_group,
        update_group,
        delete_group
    ))
}

/// Lists groups of users with their members, oldest first.
///
/// Administrators and auditors only.
#[utoipa::path(get, path = "/groups", tag = "groups", params(PageQuery), responses((status = 200, body = Page<Group>)))]
async fn list_groups(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<Page<Group>>, ApiError> {
    Ok(axum::Json(app.service.groups().list(&caller.actor, &page).await?))
}

/// Creates a group of users.
///
/// Administrators only. A group can own resource types and resources; each member is then an owner.
#[utoipa::path(post, path = "/groups", tag = "groups", request_body = GroupInput,
    responses((status = 201, body = Group), (status = 409, body = ProblemBody)))]
async fn create_group(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    headers: HeaderMap,
    body: Json<GroupInput>,
) -> Result<Response, ApiError> {
    create(&app, caller, &headers, "/groups", &body.digest, async move |service, actor| {
        Ok(service.groups().create(&actor, body.value).await?)
    })
    .await
}

/// Returns a group of users with its members.
///
/// Administrators and auditors only.
#[utoipa::path(get, path = "/groups/{id}", tag = "groups", params(("id" = i64, Path)), responses((status = 200, body = Group)))]
async fn get_group(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<GroupId>,
) -> Result<axum::Json<Group>, ApiError> {
    Ok(axum::Json(app.service.groups().get(&caller.actor, id).await?))
}

/// Changes a group of users.
///
/// Administrators only. `members` replaces the list of members. A change takes effect at once, also for open sessions.
#[utoipa::path(patch, path = "/groups/{id}", tag = "groups", params(("id" = i64, Path)), request_body = GroupPatch,
    responses((status = 200, body = Group), (status = 409, body = ProblemBody)))]
async fn update_group(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<GroupId>,
    body: Json<GroupPatch>,
) -> Result<axum::Json<Group>, ApiError> {
    Ok(axum::Json(app.service.groups().update(&caller.actor, id, body.value).await?))
}

/// Deletes a group of users.
///
/// Administrators only. Its members lose what they own through it.
#[utoipa::path(delete, path = "/groups/{id}", tag = "groups", params(("id" = i64, Path)), responses((status = 204)))]
async fn delete_group(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<GroupId>,
) -> Result<StatusCode, ApiError> {
    app.service.groups().delete(&caller.actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
