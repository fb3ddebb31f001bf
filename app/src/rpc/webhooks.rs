//! Server functions for webhooks. Each calls one use case of `service::webhooks`.

use super::{Rpc, RpcError};
use domain::conformance::ConformanceReport;
use domain::delivery::Attempt;
use domain::draft_check::{DraftCheckInput, DraftReport};
use domain::endpoint::UrlPolicy;
use domain::event::EventType;
use domain::event_catalogue::CatalogueEntry;
use domain::id::WebhookId;
use domain::pagination::Page;
use domain::webhook::*;
use leptos::prelude::*;

/// Lists all webhooks with a summary of the last 24 hours.
#[server(prefix = "/rpc", endpoint = "list-webhooks", protocol = Rpc)]
pub async fn list_webhooks() -> Result<Page<Webhook>, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    let service = &cx.service;
    Ok(super::context::fetch_all_pages(|page| async move { Ok(service.webhooks().list(actor, &page).await?) }).await?)
}

/// Creates a webhook. The result contains the signing secret.
#[server(prefix = "/rpc", endpoint = "create-webhook", protocol = Rpc)]
pub async fn create_webhook(input: WebhookInput) -> Result<WebhookWithSecret, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.webhooks().create(actor, input).await?)
}

/// Returns one webhook.
#[server(prefix = "/rpc", endpoint = "get-webhook", protocol = Rpc)]
pub async fn get_webhook(id: WebhookId) -> Result<Webhook, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.webhooks().get(actor, id).await?)
}

/// Changes the settings of a webhook.
#[server(prefix = "/rpc", endpoint = "patch-webhook", protocol = Rpc)]
pub async fn patch_webhook(id: WebhookId, patch: WebhookPatch) -> Result<Webhook, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.webhooks().update(actor, id, patch).await?)
}

/// Deletes a webhook.
#[server(prefix = "/rpc", endpoint = "delete-webhook", protocol = Rpc)]
pub async fn delete_webhook(id: WebhookId) -> Result<(), RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.webhooks().delete(actor, id).await?)
}

/// Sends a test event and returns the attempt.
#[server(prefix = "/rpc", endpoint = "test-webhook", protocol = Rpc)]
pub async fn test_webhook(id: WebhookId, input: TestInput) -> Result<Attempt, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.webhooks().send_test(actor, id, input).await?)
}

/// Returns the body of a test event, for a user who edits it.
#[server(name = ReadSamplePayload, prefix = "/rpc", endpoint = "sample-payload", protocol = Rpc)]
pub async fn sample_payload(id: WebhookId, event: EventType) -> Result<serde_json::Value, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    let event = cx.service.webhooks().sample_payload(actor, id, event).await?;
    Ok(serde_json::to_value(event).map_err(|_| domain::Problem::internal())?)
}

/// Certifies the receiver of a webhook and returns the report.
#[server(prefix = "/rpc", endpoint = "certify-webhook", protocol = Rpc)]
pub async fn certify_webhook(id: WebhookId) -> Result<ConformanceReport, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.webhooks().certify(actor, id).await?)
}

/// Checks settings before they are saved, and returns the checklist.
#[server(name = CheckWebhookDraft, prefix = "/rpc", endpoint = "check-webhook", protocol = Rpc)]
pub async fn check_webhook(input: DraftCheckInput) -> Result<DraftReport, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.webhooks().check_draft(actor, input).await?)
}

/// Rotates the signing secret. The result contains the new secret.
#[server(prefix = "/rpc", endpoint = "rotate-secret", protocol = Rpc)]
pub async fn rotate_secret(id: WebhookId, input: RotateInput) -> Result<WebhookWithSecret, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.webhooks().rotate_secret(actor, id, input).await?)
}

/// Revokes the previous signing secrets.
#[server(prefix = "/rpc", endpoint = "revoke-secrets", protocol = Rpc)]
pub async fn revoke_secrets(id: WebhookId) -> Result<Webhook, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.webhooks().revoke_previous_secrets(actor, id).await?)
}

/// Pauses a webhook.
#[server(prefix = "/rpc", endpoint = "pause-webhook", protocol = Rpc)]
pub async fn pause_webhook(id: WebhookId) -> Result<Webhook, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.webhooks().pause(actor, id).await?)
}

/// Resumes a webhook, and delivers or discards its queued events.
#[server(prefix = "/rpc", endpoint = "resume-webhook", protocol = Rpc)]
pub async fn resume_webhook(id: WebhookId, input: ResumeInput) -> Result<Webhook, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.webhooks().resume(actor, id, input).await?)
}

/// Returns the event catalogue.
#[server(name = ReadEventCatalogue, prefix = "/rpc", endpoint = "event-catalogue", protocol = Rpc)]
pub async fn event_catalogue() -> Result<Vec<CatalogueEntry>, RpcError> {
    let cx = super::context::context()?;
    domain::authorization::authorize(cx.actor()?, domain::authorization::Action::ReadOwned)?;
    Ok(domain::event_catalogue::catalogue().map_err(|_| domain::Problem::internal())?)
}

/// Returns the endpoint rules of this installation, so that form and server apply the same rules.
#[server(name = ReadUrlPolicy, prefix = "/rpc", endpoint = "url-policy", protocol = Rpc)]
pub async fn url_policy() -> Result<UrlPolicy, RpcError> {
    let cx = super::context::context()?;
    domain::authorization::authorize(cx.actor()?, domain::authorization::Action::ReadOwned)?;
    Ok(cx.service.settings().url_policy.clone())
}
