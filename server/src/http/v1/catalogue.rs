//! Resource types, resources and access requests.

use super::super::AppState;
use super::super::extract::{AuthenticatedUser, Json, Path, Query};
use super::super::problem::{ApiError, ProblemBody};
use super::create;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use domain::id::{AccessRequestId, ResourceId};
use domain::pagination::{Page, PageQuery};
use domain::resource::*;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_types, create_type))
        .routes(routes!(get_type, patch_type, delete_type))
        .routes(routes!(list_resources, create_resource))
        .routes(routes!(get_resource, patch_resource, delete_resource))
        .routes(routes!(list_access_requests, request_access))
        .routes(routes!(approve))
        .routes(routes!(deny))
}

/// Resource types by slug.
#[utoipa::path(get, path = "/resource-types", tag = "catalogue", params(PageQuery), responses((status = 200, body = Page<ResourceType>)))]
async fn list_types(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<Page<ResourceType>>, ApiError> {
    Ok(axum::Json(app.service.list_types(&caller.actor, &page).await?))
}

/// A new resource type (administrators).
#[utoipa::path(post, path = "/resource-types", tag = "catalogue", request_body = ResourceTypeInput,
    responses((status = 201, body = ResourceType), (status = 409, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn create_type(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    headers: HeaderMap,
    body: Json<ResourceTypeInput>,
) -> Result<Response, ApiError> {
    create(&app, caller, &headers, "/resource-types", &body.digest, async move |service, actor| {
        service.create_type(&actor, body.value).await
    })
    .await
}

/// One resource type.
#[utoipa::path(get, path = "/resource-types/{id}", tag = "catalogue", params(("id" = String, Path, description = "The slug")),
    responses((status = 200, body = ResourceType), (status = 404, body = ProblemBody)))]
async fn get_type(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
) -> Result<axum::Json<ResourceType>, ApiError> {
    Ok(axum::Json(app.service.get_type(&caller.actor, &id).await?))
}

/// Change a resource type (administrators).
#[utoipa::path(patch, path = "/resource-types/{id}", tag = "catalogue", params(("id" = String, Path)), request_body = ResourceTypePatch,
    responses((status = 200, body = ResourceType), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn patch_type(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
    body: Json<ResourceTypePatch>,
) -> Result<axum::Json<ResourceType>, ApiError> {
    Ok(axum::Json(app.service.patch_type(&caller.actor, &id, body.value).await?))
}

/// Delete a resource type that nothing uses (administrators).
#[utoipa::path(delete, path = "/resource-types/{id}", tag = "catalogue", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn delete_type(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    app.service.delete_type(&caller.actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Filters of the resource list.
#[derive(Deserialize, utoipa::IntoParams)]
struct ResourceFilter {
    /// Only of this type.
    resource_type: Option<String>,
    /// 1 to 200 items; 50 when absent.
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Resources, oldest first.
#[utoipa::path(get, path = "/resources", tag = "catalogue", params(ResourceFilter), responses((status = 200, body = Page<Resource>)))]
async fn list_resources(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Query(filter): Query<ResourceFilter>,
) -> Result<axum::Json<Page<Resource>>, ApiError> {
    let page = PageQuery { limit: filter.limit, cursor: filter.cursor };
    Ok(axum::Json(app.service.list_resources(&caller.actor, filter.resource_type.as_deref(), &page).await?))
}

/// A new resource (administrators).
#[utoipa::path(post, path = "/resources", tag = "catalogue", request_body = ResourceInput,
    responses((status = 201, body = Resource), (status = 409, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn create_resource(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    headers: HeaderMap,
    body: Json<ResourceInput>,
) -> Result<Response, ApiError> {
    create(&app, caller, &headers, "/resources", &body.digest, async move |service, actor| {
        service.create_resource(&actor, body.value).await
    })
    .await
}

/// One resource.
#[utoipa::path(get, path = "/resources/{id}", tag = "catalogue", params(("id" = i64, Path)), responses((status = 200, body = Resource), (status = 404, body = ProblemBody)))]
async fn get_resource(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<ResourceId>,
) -> Result<axum::Json<Resource>, ApiError> {
    Ok(axum::Json(app.service.get_resource(&caller.actor, id).await?))
}

/// Change a resource (administrators).
#[utoipa::path(patch, path = "/resources/{id}", tag = "catalogue", params(("id" = i64, Path)), request_body = ResourcePatch,
    responses((status = 200, body = Resource), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn patch_resource(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<ResourceId>,
    body: Json<ResourcePatch>,
) -> Result<axum::Json<Resource>, ApiError> {
    Ok(axum::Json(app.service.patch_resource(&caller.actor, id, body.value).await?))
}

/// Delete a resource that was never reserved (administrators).
#[utoipa::path(delete, path = "/resources/{id}", tag = "catalogue", params(("id" = i64, Path)),
    responses((status = 204), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn delete_resource(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<ResourceId>,
) -> Result<StatusCode, ApiError> {
    app.service.delete_resource(&caller.actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Filters of the access requests.
#[derive(Deserialize, utoipa::IntoParams)]
struct AccessFilter {
    /// Only with this status.
    status: Option<AccessStatus>,
    /// 1 to 200 items; 50 when absent.
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Access requests, newest first: all for administrators, one's own for others.
#[utoipa::path(get, path = "/access-requests", tag = "catalogue", params(AccessFilter), responses((status = 200, body = Page<AccessRequest>)))]
async fn list_access_requests(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Query(filter): Query<AccessFilter>,
) -> Result<axum::Json<Page<AccessRequest>>, ApiError> {
    let page = PageQuery { limit: filter.limit, cursor: filter.cursor };
    Ok(axum::Json(app.service.list_access_requests(&caller.actor, filter.status, &page).await?))
}

/// Ask for access to a resource; publishes `user.access_requested`.
#[utoipa::path(post, path = "/access-requests", tag = "catalogue", request_body = AccessRequestInput,
    responses((status = 201, body = AccessRequest), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn request_access(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    headers: HeaderMap,
    body: Json<AccessRequestInput>,
) -> Result<Response, ApiError> {
    create(&app, caller, &headers, "/access-requests", &body.digest, async move |service, actor| {
        service.request_access(&actor, body.value).await
    })
    .await
}

/// Grant the access asked for (administrators).
#[utoipa::path(post, path = "/access-requests/{id}/approve", tag = "catalogue", params(("id" = String, Path)),
    responses((status = 200, body = AccessRequest), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn approve(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
) -> Result<axum::Json<AccessRequest>, ApiError> {
    Ok(axum::Json(app.service.decide_access(&caller.actor, &AccessRequestId(id), true).await?))
}

/// Deny the access asked for, or withdraw what was approved: reservations that stand, stand (administrators).
#[utoipa::path(post, path = "/access-requests/{id}/deny", tag = "catalogue", params(("id" = String, Path)),
    responses((status = 200, body = AccessRequest), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn deny(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
) -> Result<axum::Json<AccessRequest>, ApiError> {
    Ok(axum::Json(app.service.decide_access(&caller.actor, &AccessRequestId(id), false).await?))
}
