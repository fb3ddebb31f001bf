//! Server functions for alerts and the monitoring of webhooks. Each calls one use case of `service::alerts`.

use super::{Rpc, RpcError};
use domain::alert::{
    Alert, AlertChannels, AlertChannelsInput, AlertFilter, AlertPreferences, AlertRules, AlertRulesInput, ChannelTest,
    MuteInput,
};
use domain::id::WebhookId;
use domain::pagination::{Page, PageQuery};
use domain::webhook::{MonitoringPatch, RecoverInput, TokenStatus, Webhook, WebhookMonitoring};
use leptos::prelude::*;

/// Lists alerts, newest first.
#[server(prefix = "/rpc", endpoint = "list-alerts", protocol = Rpc)]
pub async fn list_alerts(filter: AlertFilter, page: PageQuery) -> Result<Page<Alert>, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.alerts().list(actor, &filter, &page).await?)
}

/// Returns the rules for all webhooks.
#[server(prefix = "/rpc", endpoint = "read-alert-rules", protocol = Rpc)]
pub async fn read_alert_rules() -> Result<AlertRules, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.alerts().rules(actor).await?)
}

/// Replaces the rules for all webhooks.
#[server(prefix = "/rpc", endpoint = "save-alert-rules", protocol = Rpc)]
pub async fn save_alert_rules(input: AlertRulesInput) -> Result<AlertRules, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.alerts().set_rules(actor, input).await?)
}

/// Returns the channels.
#[server(prefix = "/rpc", endpoint = "read-alert-channels", protocol = Rpc)]
pub async fn read_alert_channels() -> Result<AlertChannels, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.alerts().channels(actor).await?)
}

/// Sets or removes the operations webhook. The result can contain its signing secret.
#[server(prefix = "/rpc", endpoint = "save-alert-channels", protocol = Rpc)]
pub async fn save_alert_channels(input: AlertChannelsInput) -> Result<AlertChannels, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.alerts().set_channels(actor, input).await?)
}

/// Sends a test alert.
#[server(prefix = "/rpc", endpoint = "send-test-alert", protocol = Rpc)]
pub async fn send_test_alert() -> Result<ChannelTest, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.alerts().test_channels(actor).await?)
}

/// Returns the reader's preferences.
#[server(prefix = "/rpc", endpoint = "read-alert-preferences", protocol = Rpc)]
pub async fn read_alert_preferences() -> Result<AlertPreferences, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.alerts().preferences(actor).await?)
}

/// Changes the reader's preferences.
#[server(prefix = "/rpc", endpoint = "save-alert-preferences", protocol = Rpc)]
pub async fn save_alert_preferences(preferences: AlertPreferences) -> Result<AlertPreferences, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.alerts().set_preferences(actor, preferences).await?)
}

/// Returns the monitoring of a webhook.
#[server(prefix = "/rpc", endpoint = "read-monitoring", protocol = Rpc)]
pub async fn read_monitoring(id: WebhookId) -> Result<WebhookMonitoring, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.alerts().monitoring(actor, id).await?)
}

/// Changes the monitoring of a webhook.
#[server(prefix = "/rpc", endpoint = "save-monitoring", protocol = Rpc)]
pub async fn save_monitoring(id: WebhookId, patch: MonitoringPatch) -> Result<WebhookMonitoring, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.alerts().set_monitoring(actor, id, patch).await?)
}

/// Runs the health check of a webhook.
#[server(prefix = "/rpc", endpoint = "check-health", protocol = Rpc)]
pub async fn check_health(id: WebhookId) -> Result<WebhookMonitoring, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.alerts().check_health(actor, id).await?)
}

/// Requests a new OAuth token for a webhook.
#[server(prefix = "/rpc", endpoint = "fetch-oauth-token", protocol = Rpc)]
pub async fn fetch_oauth_token(id: WebhookId) -> Result<TokenStatus, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.alerts().fetch_token(actor, id).await?)
}

/// Mutes alerts about a webhook, or ends the mute.
#[server(prefix = "/rpc", endpoint = "mute-alerts", protocol = Rpc)]
pub async fn mute_alerts(id: WebhookId, input: MuteInput) -> Result<WebhookMonitoring, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.alerts().mute(actor, id, input).await?)
}

/// Resumes a webhook after an automatic pause.
#[server(prefix = "/rpc", endpoint = "recover-webhook", protocol = Rpc)]
pub async fn recover_webhook(id: WebhookId, input: RecoverInput) -> Result<Webhook, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.alerts().recover(actor, id, input).await?)
}
