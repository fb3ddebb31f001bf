//! Webhooks.

use super::{Rpc, RpcError};
use domain::delivery::Attempt;
use domain::endpoint::UrlPolicy;
use domain::id::WebhookId;
use domain::pagination::Page;
use domain::webhook::*;
use leptos::prelude::*;

/// Webhooks with their last 24 hours.
#[server(prefix = "/rpc", endpoint = "list-webhooks", protocol = Rpc)]
pub async fn list_webhooks() -> Result<Page<Webhook>, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    let service = &cx.service;
    Ok(super::context::whole(|page| async move { service.list_webhooks(actor, &page).await }).await?)
}

/// Registers a webhook.
#[server(prefix = "/rpc", endpoint = "create-webhook", protocol = Rpc)]
pub async fn create_webhook(input: WebhookInput) -> Result<WebhookWithSecret, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.create_webhook(actor, input).await?)
}

/// One webhook.
#[server(prefix = "/rpc", endpoint = "get-webhook", protocol = Rpc)]
pub async fn get_webhook(id: WebhookId) -> Result<Webhook, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.get_webhook(actor, id).await?)
}

/// Changes a webhook.
#[server(prefix = "/rpc", endpoint = "patch-webhook", protocol = Rpc)]
pub async fn patch_webhook(id: WebhookId, patch: WebhookPatch) -> Result<Webhook, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.patch_webhook(actor, id, patch).await?)
}

/// Deletes a webhook.
#[server(prefix = "/rpc", endpoint = "delete-webhook", protocol = Rpc)]
pub async fn delete_webhook(id: WebhookId) -> Result<(), RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.delete_webhook(actor, id).await?)
}

/// Sends a test event.
#[server(prefix = "/rpc", endpoint = "test-webhook", protocol = Rpc)]
pub async fn test_webhook(id: WebhookId, input: TestInput) -> Result<Attempt, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.test_webhook(actor, id, input).await?)
}

/// Makes a new secret.
#[server(prefix = "/rpc", endpoint = "rotate-secret", protocol = Rpc)]
pub async fn rotate_secret(id: WebhookId, input: RotateInput) -> Result<WebhookWithSecret, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.rotate_secret(actor, id, input).await?)
}

/// Pauses a webhook.
#[server(prefix = "/rpc", endpoint = "pause-webhook", protocol = Rpc)]
pub async fn pause_webhook(id: WebhookId) -> Result<Webhook, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.pause_webhook(actor, id).await?)
}

/// Resumes a webhook.
#[server(prefix = "/rpc", endpoint = "resume-webhook", protocol = Rpc)]
pub async fn resume_webhook(id: WebhookId, input: ResumeInput) -> Result<Webhook, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.resume_webhook(actor, id, input).await?)
}

/// A webhook's figures.
#[server(name = ReadWebhookStats, prefix = "/rpc", endpoint = "webhook-stats", protocol = Rpc)]
pub async fn webhook_stats(id: WebhookId, window: StatsWindow) -> Result<WebhookStats, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.webhook_stats(actor, id, window).await?)
}

/// What endpoints this Berth accepts, so that the form says it before the server does.
#[server(name = ReadUrlPolicy, prefix = "/rpc", endpoint = "url-policy", protocol = Rpc)]
pub async fn url_policy() -> Result<UrlPolicy, RpcError> {
    let cx = super::context::context()?;
    domain::authorization::authorize(cx.actor()?, domain::authorization::Action::WriteWebhooks)?;
    Ok(cx.service.settings().url_policy.clone())
}
