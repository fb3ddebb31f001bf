//! Server functions for accounts, API tokens and notifications.

use super::{Rpc, RpcError};
use domain::account::{ApiToken, ApiTokenInput, LogInSession, NewApiToken, User, UserInput, UserPatch};
use domain::change::Notification;
use domain::id::TokenId;
use domain::privacy::{Erasure, ErasureInput};
use domain::single_sign_on::{Identity, IdentityInput, ProviderView};
use leptos::prelude::*;

/// Lists the user's API tokens.
#[server(prefix = "/rpc", endpoint = "list-tokens", protocol = Rpc)]
pub async fn list_tokens() -> Result<Vec<ApiToken>, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.accounts().list_tokens(actor).await?)
}

/// Creates an API token. Only this result contains the token.
#[server(prefix = "/rpc", endpoint = "create-token", protocol = Rpc)]
pub async fn create_token(input: ApiTokenInput) -> Result<NewApiToken, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.accounts().create_token(actor, input).await?)
}

/// Revokes an API token.
#[server(prefix = "/rpc", endpoint = "revoke-token", protocol = Rpc)]
pub async fn revoke_token(id: TokenId) -> Result<(), RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.accounts().revoke_token(actor, &id).await?)
}

/// Lists the user's sessions.
#[server(prefix = "/rpc", endpoint = "list-sessions", protocol = Rpc)]
pub async fn list_sessions() -> Result<Vec<LogInSession>, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.accounts().list_sessions(actor).await?)
}

/// Ends one of the user's sessions.
#[server(prefix = "/rpc", endpoint = "end-session", protocol = Rpc)]
pub async fn end_session(id: String) -> Result<(), RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.accounts().end_session(actor, &id).await?)
}

/// Ends all sessions of an account.
#[server(prefix = "/rpc", endpoint = "end-all-sessions", protocol = Rpc)]
pub async fn end_all_sessions(username: String) -> Result<(), RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.accounts().end_all_sessions(actor, &username).await?)
}

/// Lists all accounts.
#[server(prefix = "/rpc", endpoint = "list-users", protocol = Rpc)]
pub async fn list_users() -> Result<Vec<User>, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.accounts().list_users(actor).await?)
}

/// Creates an account.
#[server(prefix = "/rpc", endpoint = "create-user", protocol = Rpc)]
pub async fn create_user(input: UserInput) -> Result<User, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.accounts().create_user(actor, input).await?)
}

/// Changes an account.
#[server(prefix = "/rpc", endpoint = "patch-user", protocol = Rpc)]
pub async fn patch_user(username: String, patch: UserPatch) -> Result<User, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.update_user(actor, &username, patch).await?)
}

/// Erases an account.
#[server(prefix = "/rpc", endpoint = "erase-account", protocol = Rpc)]
pub async fn erase_account(username: String, input: ErasureInput) -> Result<Erasure, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.privacy().erase(actor, &username, input).await?)
}

/// Lists the configured identity providers.
#[server(prefix = "/rpc", endpoint = "list-providers", protocol = Rpc)]
pub async fn list_providers() -> Result<Vec<ProviderView>, RpcError> {
    let cx = super::context::context()?;
    cx.actor()?;
    Ok(cx.service.single_sign_on().providers())
}

/// Lists the links of an account to identity providers.
#[server(prefix = "/rpc", endpoint = "list-identities", protocol = Rpc)]
pub async fn list_identities(username: String) -> Result<Vec<Identity>, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.accounts().list_identities(actor, &username).await?)
}

/// Links an account to a user of an identity provider.
#[server(prefix = "/rpc", endpoint = "add-identity", protocol = Rpc)]
pub async fn add_identity(username: String, input: IdentityInput) -> Result<Identity, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.accounts().add_identity(actor, &username, input).await?)
}

/// Removes the link of an account to an identity provider.
#[server(prefix = "/rpc", endpoint = "remove-identity", protocol = Rpc)]
pub async fn remove_identity(username: String, id: String, current_password: Option<String>) -> Result<(), RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.accounts().remove_identity(actor, &username, &id, current_password).await?)
}

/// Starts the link of the user's own account. Returns the address at the identity provider that the browser must open.
#[server(prefix = "/rpc", endpoint = "link-identity", protocol = Rpc)]
pub async fn link_identity(provider: String, current_password: Option<String>) -> Result<String, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    let started = cx.service.single_sign_on().start_link(actor, &provider, current_password).await?;
    super::context::set_pending_log_in_cookie(&cx, &started.cookie)?;
    Ok(started.url)
}

/// Lists the newest 100 notifications of the user.
#[server(prefix = "/rpc", endpoint = "list-notifications", protocol = Rpc)]
pub async fn list_notifications() -> Result<Vec<Notification>, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.notifications().list(actor).await?)
}

/// Marks some notifications as read.
#[server(prefix = "/rpc", endpoint = "mark-each-read", protocol = Rpc)]
pub async fn mark_each_read(ids: Vec<i64>) -> Result<(), RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.notifications().mark_each_read(actor, &ids).await?)
}

/// Marks all notifications up to `id` as read.
#[server(prefix = "/rpc", endpoint = "mark-read", protocol = Rpc)]
pub async fn mark_read(id: i64) -> Result<(), RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.notifications().mark_read(actor, id).await?)
}
