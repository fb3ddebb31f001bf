//! Server functions for groups of users and for owners.

use super::{Rpc, RpcError};
use domain::id::{GroupId, ResourceId};
use domain::ownership::{Group, GroupInput, GroupPatch, Owners, OwnersInput};
use domain::pagination::Page;
use leptos::prelude::*;

/// Lists all groups with their members.
#[server(prefix = "/rpc", endpoint = "list-groups", protocol = Rpc)]
pub async fn list_groups() -> Result<Page<Group>, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    let service = &cx.service;
    Ok(super::context::fetch_all_pages(|page| async move { Ok(service.groups().list(actor, &page).await?) }).await?)
}

/// Creates a group.
#[server(prefix = "/rpc", endpoint = "create-group", protocol = Rpc)]
pub async fn create_group(input: GroupInput) -> Result<Group, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.groups().create(actor, input).await?)
}

/// Changes a group.
#[server(prefix = "/rpc", endpoint = "patch-group", protocol = Rpc)]
pub async fn patch_group(id: GroupId, patch: GroupPatch) -> Result<Group, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.groups().update(actor, id, patch).await?)
}

/// Deletes a group.
#[server(prefix = "/rpc", endpoint = "delete-group", protocol = Rpc)]
pub async fn delete_group(id: GroupId) -> Result<(), RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.groups().delete(actor, id).await?)
}

/// Returns the owners of a resource type.
#[server(prefix = "/rpc", endpoint = "type-owners", protocol = Rpc)]
pub async fn type_owners(slug: String) -> Result<Owners, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.owners().get(actor, service::groups::OwnedObject::Type(&slug)).await?)
}

/// Replaces the owners of a resource type.
#[server(prefix = "/rpc", endpoint = "set-type-owners", protocol = Rpc)]
pub async fn set_type_owners(slug: String, input: OwnersInput) -> Result<Owners, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.owners().set(actor, service::groups::OwnedObject::Type(&slug), input).await?)
}

/// Returns the owners of a resource.
#[server(prefix = "/rpc", endpoint = "resource-owners", protocol = Rpc)]
pub async fn resource_owners(id: ResourceId) -> Result<Owners, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.owners().get(actor, service::groups::OwnedObject::Resource(id)).await?)
}

/// Replaces the owners of a resource.
#[server(prefix = "/rpc", endpoint = "set-resource-owners", protocol = Rpc)]
pub async fn set_resource_owners(id: ResourceId, input: OwnersInput) -> Result<Owners, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.owners().set(actor, service::groups::OwnedObject::Resource(id), input).await?)
}
