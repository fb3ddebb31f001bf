//! Server functions for resource types, resources and access requests.

use super::{Rpc, RpcError};
use domain::id::{AccessRequestId, ResourceId};
use domain::pagination::Page;
use domain::resource::{
    AccessRequest, AccessRequestInput, AccessStatus, Resource, ResourceInput, ResourcePatch, ResourceType,
    ResourceTypeInput, ResourceTypePatch,
};
use leptos::prelude::*;

/// Lists all resource types.
#[server(prefix = "/rpc", endpoint = "list-types", protocol = Rpc)]
pub async fn list_types() -> Result<Page<ResourceType>, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    let service = &cx.service;
    Ok(super::context::fetch_all_pages(|page| async move { service.catalogue().list_types(actor, &page).await })
        .await?)
}

/// Creates a resource type.
#[server(prefix = "/rpc", endpoint = "create-type", protocol = Rpc)]
pub async fn create_type(input: ResourceTypeInput) -> Result<ResourceType, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.catalogue().create_type(actor, input).await?)
}

/// Changes a resource type.
#[server(prefix = "/rpc", endpoint = "patch-type", protocol = Rpc)]
pub async fn patch_type(slug: String, patch: ResourceTypePatch) -> Result<ResourceType, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.catalogue().update_type(actor, &slug, patch).await?)
}

/// Deletes a resource type.
#[server(prefix = "/rpc", endpoint = "delete-type", protocol = Rpc)]
pub async fn delete_type(slug: String) -> Result<(), RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.catalogue().delete_type(actor, &slug).await?)
}

/// Lists the resources of one type, or all.
#[server(prefix = "/rpc", endpoint = "list-resources", protocol = Rpc)]
pub async fn list_resources(resource_type: Option<String>) -> Result<Page<Resource>, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    let (service, resource_type) = (&cx.service, resource_type.as_deref());
    Ok(super::context::fetch_all_pages(|page| async move {
        service.catalogue().list_resources(actor, resource_type, &page).await
    })
    .await?)
}

/// Creates a resource.
#[server(prefix = "/rpc", endpoint = "create-resource", protocol = Rpc)]
pub async fn create_resource(input: ResourceInput) -> Result<Resource, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.catalogue().create_resource(actor, input).await?)
}

/// Changes a resource.
#[server(prefix = "/rpc", endpoint = "patch-resource", protocol = Rpc)]
pub async fn patch_resource(id: ResourceId, patch: ResourcePatch) -> Result<Resource, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.catalogue().update_resource(actor, id, patch).await?)
}

/// Deletes a resource.
#[server(prefix = "/rpc", endpoint = "delete-resource", protocol = Rpc)]
pub async fn delete_resource(id: ResourceId) -> Result<(), RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.catalogue().delete_resource(actor, id).await?)
}

/// Requests access to a resource.
#[server(prefix = "/rpc", endpoint = "request-access", protocol = Rpc)]
pub async fn request_access(input: AccessRequestInput) -> Result<AccessRequest, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.access_requests().create(actor, input).await?)
}

/// Lists access requests.
#[server(prefix = "/rpc", endpoint = "list-access-requests", protocol = Rpc)]
pub async fn list_access_requests(status: Option<AccessStatus>) -> Result<Page<AccessRequest>, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    let service = &cx.service;
    Ok(super::context::fetch_all_pages(
        |page| async move { service.access_requests().list(actor, status, &page).await },
    )
    .await?)
}

/// Approves or denies an access request; denying an approved one withdraws the access.
#[server(prefix = "/rpc", endpoint = "decide-access", protocol = Rpc)]
pub async fn decide_access(id: AccessRequestId, approve: bool) -> Result<AccessRequest, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    let requests = cx.service.access_requests();
    Ok(if approve { requests.approve(actor, &id).await? } else { requests.deny(actor, &id).await? })
}
