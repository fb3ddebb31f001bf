//! Resource types, resources, their owners, and access requests (docs/contract.md §6).

use super::super::AppState;
use super::super::extract::{AuthenticatedUser, Json, Path, Query};
use super::super::problem::{ApiError, ProblemBody};
use super::idempotency::create;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use domain::access_request::{AccessRequest, AccessRequestInput, AccessStatus};
use domain::id::{AccessRequestId, ResourceId};
use domain::ownership::{Owners, OwnersInput};
use domain::pagination::{Page, PageQuery};
use domain::resource::{Resource, ResourceInput, ResourcePatch, ResourceType, ResourceTypeInput, ResourceTypePatch};
use serde::Deserialize;
use service::groups::OwnedObject;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_types, create_type))
        .routes(routes!(get_type, update_type, delete_type))
        .routes(routes!(get_type_owners, set_type_owners))
        .routes(routes!(list_resources, create_resource))
        .routes(routes!(get_resource, update_resource, delete_resource))
        .routes(routes!(get_resource_owners, set_resource_owners))
        .routes(routes!(list_access_requests, create_access_request))
        .routes(routes!(approve_access_request))
        .routes(routes!(deny_access_request))
}

/// Lists resource types, ordered by slug.
#[utoipa::path(get, path = "/resource-types", tag = "catalogue", params(PageQuery), responses((status = 200, body = Page<ResourceType>)))]
async fn list_types(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<Page<ResourceType>>, ApiError> {
    Ok(axum::Json(app.service.catalogue().list_types(&caller.actor, &page).await?))
}

/// Creates a resource type.
///
/// Administrators only.
#[utoipa::path(post, path = "/resource-types", tag = "catalogue", request_body = ResourceTypeInput,
    responses((status = 201, body = ResourceType), (status = 409, body = ProblemBody)))]
async fn create_type(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    headers: HeaderMap,
    body: Json<ResourceTypeInput>,
) -> Result<Response, ApiError> {
    create(&app, caller, &headers, "/resource-types", &body.digest, async move |service, actor| {
        service.catalogue().create_type(&actor, body.value).await
    })
    .await
}

/// Returns a resource type.
#[utoipa::path(get, path = "/resource-types/{id}", tag = "catalogue", params(("id" = String, Path, description = "The slug")),
    responses((status = 200, body = ResourceType)))]
async fn get_type(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
) -> Result<axum::Json<ResourceType>, ApiError> {
    Ok(axum::Json(app.service.catalogue().get_type(&caller.actor, &id).await?))
}

/// Changes a resource type.
///
/// Administrators only.
#[utoipa::path(patch, path = "/resource-types/{id}", tag = "catalogue", params(("id" = String, Path)), request_body = ResourceTypePatch,
    responses((status = 200, body = ResourceType)))]
async fn update_type(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
    body: Json<ResourceTypePatch>,
) -> Result<axum::Json<ResourceType>, ApiError> {
    Ok(axum::Json(app.service.catalogue().update_type(&caller.actor, &id, body.value).await?))
}

/// Deletes a resource type.
///
/// Administrators only. Returns 409 while resources or webhooks use the type.
#[utoipa::path(delete, path = "/resource-types/{id}", tag = "catalogue", params(("id" = String, Path)),
    responses((status = 204), (status = 409, body = ProblemBody)))]
async fn delete_type(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    app.service.catalogue().delete_type(&caller.actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Returns the owners of a resource type.
///
/// Administrators, auditors and the owners themselves. An owner manages all resources of the type, their reservations and
/// access requests, and the webhooks of the type.
#[utoipa::path(get, path = "/resource-types/{id}/owners", tag = "catalogue", params(("id" = String, Path, description = "The slug")),
    responses((status = 200, body = Owners)))]
async fn get_type_owners(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
) -> Result<axum::Json<Owners>, ApiError> {
    Ok(axum::Json(app.service.owners().get(&caller.actor, OwnedObject::Type(&id)).await?))
}

/// Replaces the owners of a resource type.
///
/// Administrators only. The change takes effect at once, also for open sessions.
#[utoipa::path(put, path = "/resource-types/{id}/owners", tag = "catalogue", params(("id" = String, Path, description = "The slug")),
    request_body = OwnersInput, responses((status = 200, body = Owners), (status = 409, body = ProblemBody)))]
async fn set_type_owners(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
    body: Json<OwnersInput>,
) -> Result<axum::Json<Owners>, ApiError> {
    Ok(axum::Json(app.service.owners().set(&caller.actor, OwnedObject::Type(&id), body.value).await?))
}

/// Filters of the resource list.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct ResourceFilter {
    /// Only resources of the type with this slug.
    resource_type: Option<String>,
    /// Page size, 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
}

/// Lists resources, oldest first.
#[utoipa::path(get, path = "/resources", tag = "catalogue", params(ResourceFilter), responses((status = 200, body = Page<Resource>)))]
async fn list_resources(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Query(filter): Query<ResourceFilter>,
) -> Result<axum::Json<Page<Resource>>, ApiError> {
    let page = PageQuery { limit: filter.limit, cursor: filter.cursor };
    Ok(axum::Json(app.service.catalogue().list_resources(&caller.actor, filter.resource_type.as_deref(), &page).await?))
}

/// Creates a resource.
///
/// Administrators and owners of the type.
#[utoipa::path(post, path = "/resources", tag = "catalogue", request_body = ResourceInput,
    responses((status = 201, body = Resource), (status = 409, body = ProblemBody)))]
async fn create_resource(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    headers: HeaderMap,
    body: Json<ResourceInput>,
) -> Result<Response, ApiError> {
    create(&app, caller, &headers, "/resources", &body.digest, async move |service, actor| {
        service.catalogue().create_resource(&actor, body.value).await
    })
    .await
}

/// Returns a resource.
#[utoipa::path(get, path = "/resources/{id}", tag = "catalogue", params(("id" = i64, Path)), responses((status = 200, body = Resource)))]
async fn get_resource(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<ResourceId>,
) -> Result<axum::Json<Resource>, ApiError> {
    Ok(axum::Json(app.service.catalogue().get_resource(&caller.actor, id).await?))
}

/// Changes a resource.
///
/// Administrators and owners of the resource.
#[utoipa::path(patch, path = "/resources/{id}", tag = "catalogue", params(("id" = i64, Path)), request_body = ResourcePatch,
    responses((status = 200, body = Resource), (status = 409, body = ProblemBody)))]
async fn update_resource(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<ResourceId>,
    body: Json<ResourcePatch>,
) -> Result<axum::Json<Resource>, ApiError> {
    Ok(axum::Json(app.service.catalogue().update_resource(&caller.actor, id, body.value).await?))
}

/// Deletes a resource.
///
/// Administrators and owners of the resource. Returns 409 if the resource was ever reserved. Set its status to `maintenance` instead.
#[utoipa::path(delete, path = "/resources/{id}", tag = "catalogue", params(("id" = i64, Path)),
    responses((status = 204), (status = 409, body = ProblemBody)))]
async fn delete_resource(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<ResourceId>,
) -> Result<StatusCode, ApiError> {
    app.service.catalogue().delete_resource(&caller.actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Returns the owners of a resource.
///
/// Administrators, auditors and the owners themselves. The owners of the resource's type own it too; they are not in this
/// list.
#[utoipa::path(get, path = "/resources/{id}/owners", tag = "catalogue", params(("id" = i64, Path)),
    responses((status = 200, body = Owners)))]
async fn get_resource_owners(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<ResourceId>,
) -> Result<axum::Json<Owners>, ApiError> {
    Ok(axum::Json(app.service.owners().get(&caller.actor, OwnedObject::Resource(id)).await?))
}

/// Replaces the owners of a resource.
///
/// Administrators only. An owner manages the resource, its reservations and its access requests. The change takes effect
/// at once, also for open sessions.
#[utoipa::path(put, path = "/resources/{id}/owners", tag = "catalogue", params(("id" = i64, Path)),
    request_body = OwnersInput, responses((status = 200, body = Owners), (status = 409, body = ProblemBody)))]
async fn set_resource_owners(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<ResourceId>,
    body: Json<OwnersInput>,
) -> Result<axum::Json<Owners>, ApiError> {
    Ok(axum::Json(app.service.owners().set(&caller.actor, OwnedObject::Resource(id), body.value).await?))
}

/// Filters of the access request list.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct AccessFilter {
    /// Only requests with this status.
    status: Option<AccessStatus>,
    /// Page size, 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
}

/// Lists access requests, newest first.
///
/// Administrators see all requests, owners those for their resources, and other users only their own.
#[utoipa::path(get, path = "/access-requests", tag = "catalogue", params(AccessFilter), responses((status = 200, body = Page<AccessRequest>)))]
async fn list_access_requests(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Query(filter): Query<AccessFilter>,
) -> Result<axum::Json<Page<AccessRequest>>, ApiError> {
    let page = PageQuery { limit: filter.limit, cursor: filter.cursor };
    Ok(axum::Json(app.service.access_requests().list(&caller.actor, filter.status, &page).await?))
}

/// Requests access to a restricted resource.
///
/// Publishes the event `user.access_requested`.
#[utoipa::path(post, path = "/access-requests", tag = "catalogue", request_body = AccessRequestInput,
    responses((status = 201, body = AccessRequest), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn create_access_request(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    headers: HeaderMap,
    body: Json<AccessRequestInput>,
) -> Result<Response, ApiError> {
    create(&app, caller, &headers, "/access-requests", &body.digest, async move |service, actor| {
        service.access_requests().create(&actor, body.value).await
    })
    .await
}

/// Approves an access request.
///
/// Administrators and owners of the resource. Grants the access.
#[utoipa::path(post, path = "/access-requests/{id}/approve", tag = "catalogue", params(("id" = String, Path)),
    responses((status = 200, body = AccessRequest), (status = 409, body = ProblemBody)))]
async fn approve_access_request(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
) -> Result<axum::Json<AccessRequest>, ApiError> {
    Ok(axum::Json(app.service.access_requests().approve(&caller.actor, &AccessRequestId(id)).await?))
}

/// Denies an access request.
///
/// Administrators and owners of the resource. Denying an approved request revokes the access. Existing reservations are kept.
#[utoipa::path(post, path = "/access-requests/{id}/deny", tag = "catalogue", params(("id" = String, Path)),
    responses((status = 200, body = AccessRequest), (status = 409, body = ProblemBody)))]
async fn deny_access_request(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
) -> Result<axum::Json<AccessRequest>, ApiError> {
    Ok(axum::Json(app.service.access_requests().deny(&caller.actor, &AccessRequestId(id)).await?))
}
