//! Server functions for the delivery log. Each calls one use case of `service::deliveries`.

use super::{Rpc, RpcError};
use domain::delivery::*;
use domain::id::DeliveryId;
use domain::pagination::{Page, PageQuery};
use leptos::prelude::*;

/// Lists deliveries, newest first.
#[server(prefix = "/rpc", endpoint = "list-deliveries", protocol = Rpc)]
pub async fn list_deliveries(filter: DeliveryFilter, page: PageQuery) -> Result<Page<DeliverySummary>, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.deliveries().list(actor, &filter, &page).await?)
}

/// Returns one delivery with its attempts.
#[server(prefix = "/rpc", endpoint = "get-delivery", protocol = Rpc)]
pub async fn get_delivery(id: DeliveryId) -> Result<DeliveryDetail, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.deliveries().get(actor, &id).await?)
}

/// Redelivers the event of a delivery.
#[server(prefix = "/rpc", endpoint = "redeliver", protocol = Rpc)]
pub async fn redeliver(id: DeliveryId) -> Result<DeliverySummary, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.deliveries().redeliver(actor, &id).await?)
}

/// Replays the deliveries that match a filter, or counts them (dry run).
#[server(prefix = "/rpc", endpoint = "replay", protocol = Rpc)]
pub async fn replay(input: ReplayInput) -> Result<ReplayResult, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.deliveries().replay(actor, &input).await?)
}
