//! Server functions for login, logout and the first setup.

use super::{Rpc, RpcError};
use domain::account::{Credentials, SessionInfo, SetupInput};
use leptos::prelude::*;
use serde::{Deserialize, Serialize};

/// Data that the page needs at start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    /// The current session; `None` if nobody is logged in.
    pub session: Option<SessionInfo>,
    /// Whether no account exists yet.
    pub needs_setup: bool,
    /// Whether the request comes from the machine of the server. Setup then needs no code.
    pub local: bool,
}

/// Returns the session and the state of setup.
#[server(name = ReadVisit, prefix = "/rpc", endpoint = "visit", protocol = Rpc)]
pub async fn visit() -> Result<Visit, RpcError> {
    let cx = super::context::context()?;
    let needs_setup = cx.session.is_none() && cx.service.accounts().needs_setup().await?;
    Ok(Visit { session: cx.session, needs_setup, local: cx.local })
}

/// Logs in.
#[server(prefix = "/rpc", endpoint = "log-in", protocol = Rpc)]
pub async fn log_in(credentials: Credentials) -> Result<SessionInfo, RpcError> {
    let cx = super::context::context()?;
    let started = cx.service.accounts().log_in(credentials, cx.client.clone()).await?;
    super::context::set_log_in_cookies(&cx, &started)?;
    Ok(started.info)
}

/// Logs out. Returns the address at the identity provider that ends the session there, if there is one.
#[server(prefix = "/rpc", endpoint = "log-out", protocol = Rpc)]
pub async fn log_out() -> Result<Option<String>, RpcError> {
    let cx = super::context::context()?;
    let mut provider_url = None;
    if let Some(token) = &cx.session_token {
        provider_url = cx.service.single_sign_on().log_out_url(token).await;
        cx.service.accounts().log_out(token).await?;
    }
    super::context::remove_session_cookie(&cx)?;
    Ok(provider_url)
}

/// Creates the first administrator and logs in.
#[server(prefix = "/rpc", endpoint = "set-up", protocol = Rpc)]
pub async fn set_up(input: SetupInput) -> Result<SessionInfo, RpcError> {
    let cx = super::context::context()?;
    let started = cx.service.accounts().set_up(input, cx.local).await?;
    super::context::set_log_in_cookies(&cx, &started)?;
    Ok(started.info)
}
