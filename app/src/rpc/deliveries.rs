//! Server functions for the delivery log. Each calls one use case of `service::deliveries`.

use super::{Rpc, RpcError};
use domain::delivery::*;
use domain::id::DeliveryId;
use domain::metrics::{DeliveryHistogram, DeliveryMetrics, MetricsQuery};
use domain::pagination::{Page, PageQuery};
use leptos::prelude::*;

/// Lists deliveries, newest first.
#[server(prefix = "/rpc", endpoint = "list-deliveries", protocol = Rpc)]
pub async fn list_deliveries(filter: DeliveryFilter, page: PageQuery) -> Result<Page<DeliverySummary>, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.deliveries().list(actor, &filter, &page).await?)
}

/// Counts the deliveries that match a filter.
#[server(prefix = "/rpc", endpoint = "count-deliveries", protocol = Rpc)]
pub async fn count_deliveries(filter: DeliveryFilter) -> Result<DeliveryCount, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.deliveries().count_matching(actor, &filter).await?)
}

/// Groups the failed deliveries that match a filter.
#[server(prefix = "/rpc", endpoint = "list-failures", protocol = Rpc)]
pub async fn list_failures(filter: DeliveryFilter) -> Result<Failures, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.deliveries().failures(actor, &filter).await?)
}

/// Returns the number of deliveries or attempts over time for a filter.
#[server(prefix = "/rpc", endpoint = "delivery-histogram", protocol = Rpc)]
pub async fn histogram(filter: DeliveryFilter) -> Result<DeliveryHistogram, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.deliveries().histogram(actor, &filter).await?)
}

/// Returns the metrics of a period, and the backlog.
#[server(prefix = "/rpc", endpoint = "delivery-metrics", protocol = Rpc)]
pub async fn metrics(query: MetricsQuery) -> Result<DeliveryMetrics, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.deliveries().metrics(actor, &query).await?)
}

/// Finds the object of an id.
#[server(prefix = "/rpc", endpoint = "look-up", protocol = Rpc)]
pub async fn look_up(id: String) -> Result<Lookup, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.deliveries().look_up(actor, &id).await?)
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
