//! Server functions for replays. Each calls one use case of `service::replays`.

use super::{Rpc, RpcError};
use domain::delivery::ReplayResult;
use domain::id::ReplayId;
use domain::pagination::{Page, PageQuery};
use domain::replay::{Replay, ReplayPatch, ReplayRequest};
use leptos::prelude::*;

/// Lists replays, newest first.
#[server(prefix = "/rpc", endpoint = "list-replays", protocol = Rpc)]
pub async fn list_replays(page: PageQuery) -> Result<Page<Replay>, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.replays().list(actor, &page).await?)
}

/// Counts what a replay would send.
#[server(prefix = "/rpc", endpoint = "preview-replay", protocol = Rpc)]
pub async fn preview_replay(request: ReplayRequest) -> Result<ReplayResult, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.replays().preview(actor, &request).await?)
}

/// Starts a replay.
#[server(prefix = "/rpc", endpoint = "start-replay", protocol = Rpc)]
pub async fn start_replay(request: ReplayRequest) -> Result<Replay, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.replays().start(actor, &request).await?)
}

/// Returns a replay with its progress.
#[server(prefix = "/rpc", endpoint = "get-replay", protocol = Rpc)]
pub async fn get_replay(id: ReplayId) -> Result<Replay, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.replays().get(actor, &id).await?)
}

/// Pauses, continues or cancels a replay, or changes its rate.
#[server(prefix = "/rpc", endpoint = "update-replay", protocol = Rpc)]
pub async fn update_replay(id: ReplayId, patch: ReplayPatch) -> Result<Replay, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.replays().update(actor, &id, &patch).await?)
}
