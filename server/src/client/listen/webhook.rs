//! The webhook of a listener: an existing one, or one that is created or used again.

use super::ListenArgs;
use crate::client::Failure;
use crate::client::api::{Api, Condition, NO_BODY, read};
use domain::account::SessionInfo;
use domain::event::EventType;
use domain::id::WebhookId;
use domain::routing::DeliveryPaths;
use domain::webhook::{AuthInput, DeliveryMode, Webhook, WebhookInput, WebhookPatch, WebhookState};
use reqwest::Method;
use serde::Deserialize;

/// Maximum length of a webhook's name in characters.
const MAX_NAME: usize = 100;

/// The webhook of this listener.
pub(super) struct ListenedWebhook {
    pub(super) id: WebhookId,
    pub(super) name: String,
    pub(super) delivery_paths: DeliveryPaths,
    /// The signing secret, if the webhook is new and Berth has generated it.
    pub(super) secret: Option<String>,
    /// Whether it is deleted at the end.
    pub(super) is_temporary: bool,
    /// Whether events are delivered.
    pub(super) is_enabled: bool,
    /// Whether responses update reservations.
    pub(super) provisions: bool,
    /// The number of events that wait for a listener.
    pub(super) waiting: u64,
}

/// The response to a creation.
#[derive(Deserialize)]
struct Created {
    secret: String,
    #[serde(flatten)]
    webhook: Webhook,
}

/// Creates the webhook, or changes an existing one to the arguments.
///
/// # Errors
/// When the server refuses it, or the webhook is not a local one.
pub(super) async fn set_up(api: &Api, args: &ListenArgs) -> Result<ListenedWebhook, Failure> {
    if let Some(id) = args.webhook {
        let found = api.send(Method::GET, &format!("/webhooks/{id}"), NO_BODY, Condition::None).await?;
        let found: Webhook = read(found).await?;
        if !found.is_local() {
            return Err(Failure::new(format!(
                "Berth sends the requests of webhook {id} itself. Omit --webhook to create a local one."
            )));
        }
        let patch = WebhookPatch {
            endpoint_url: Some(args.forward_to.clone()),
            delivery_paths: args.delivery_paths(),
            ..WebhookPatch::default()
        };
        return Ok(listened(change(api, &found, patch).await?, None, false));
    }
    let name = match &args.name {
        Some(name) => name.clone(),
        None => default_name(api, args.resource_type.as_deref()).await?,
    };
    let events = if args.events.is_empty() { EventType::DEFAULT.to_vec() } else { args.events.clone() };
    let existing = api.list::<Webhook>("/webhooks").await?;
    if let Some(found) = existing.into_iter().find(|webhook| webhook.is_local() && webhook.name == name) {
        let patch = WebhookPatch {
            endpoint_url: Some(args.forward_to.clone()),
            resource_type: Some(args.resource_type.clone()),
            events: Some(events),
            delivery_paths: Some(args.delivery_paths().unwrap_or_default()),
            payload_format: Some(args.payload_format.unwrap_or_default()),
            provisions: Some(args.provisions),
            ..WebhookPatch::default()
        };
        return Ok(listened(change(api, &found, patch).await?, None, !args.keep));
    }
    let input = WebhookInput {
        resource_type: args.resource_type.clone(),
        events,
        delivery_paths: Some(args.delivery_paths().unwrap_or_default()),
        secret: args.secret.clone(),
        payload_format: args.payload_format,
        provisions: Some(args.provisions),
        delivery_mode: Some(DeliveryMode::Local),
        ..WebhookInput::new(name, &args.forward_to, AuthInput::None)
    };
    let created = api.send(Method::POST, "/webhooks", Some(&input), Condition::None).await?;
    let Created { secret, webhook } = read(created).await?;
    let secret = args.secret.is_none().then_some(secret);
    Ok(listened(webhook, secret, !args.keep))
}

async fn change(api: &Api, found: &Webhook, patch: WebhookPatch) -> Result<Webhook, Failure> {
    let changed = api.send(Method::PATCH, &format!("/webhooks/{}", found.id), Some(&patch), Condition::None).await?;
    read(changed).await
}

fn listened(webhook: Webhook, secret: Option<String>, is_temporary: bool) -> ListenedWebhook {
    ListenedWebhook {
        id: webhook.id,
        name: webhook.name,
        delivery_paths: webhook.delivery_paths,
        secret,
        is_temporary,
        is_enabled: webhook.state == WebhookState::Enabled,
        provisions: webhook.provisions,
        waiting: webhook.summary.waiting,
    }
}

/// The name of the webhook of a user and a resource type, by which the next listener finds it again after a crash.
async fn default_name(api: &Api, resource_type: Option<&str>) -> Result<String, Failure> {
    let session = api.send(Method::GET, "/session", NO_BODY, Condition::None).await?;
    let session: SessionInfo = read(session).await?;
    let of_type = resource_type.map(|slug| format!(" ({slug})")).unwrap_or_default();
    Ok(format!("berth listen: {}{of_type}", session.user.username).chars().take(MAX_NAME).collect())
}
