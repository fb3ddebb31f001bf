//! The delivery log.

use super::{Rpc, RpcError};
use domain::delivery::*;
use domain::id::DeliveryId;
use domain::pagination::{Page, PageQuery};
use leptos::prelude::*;

/// Deliveries, newest first.
#[server(prefix = "/rpc", endpoint = "list-deliveries", protocol = Rpc)]
pub async fn list_deliveries(filter: DeliveryFilter, page: PageQuery) -> Result<Page<DeliverySummary>, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.list_deliveries(actor, &filter, &page).await?)
}

/// One delivery with its attempts.
#[server(prefix = "/rpc", endpoint = "get-delivery", protocol = Rpc)]
pub async fn get_delivery(id: DeliveryId) -> Result<DeliveryDetail, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.get_delivery(actor, &id).await?)
}

/// Delivers the same event again.
#[server(prefix = "/rpc", endpoint = "redeliver", protocol = Rpc)]
pub async fn redeliver(id: DeliveryId) -> Result<DeliverySummary, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.redeliver(actor, &id).await?)
}

/// Redelivers all that match, or counts them.
#[server(prefix = "/rpc", endpoint = "replay", protocol = Rpc)]
pub async fn replay(input: ReplayInput) -> Result<ReplayResult, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.replay(actor, &input).await?)
}
