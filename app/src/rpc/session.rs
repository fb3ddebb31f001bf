//! Server functions for login, logout and the first setup.

use super::{Rpc, RpcError};
use domain::account::{Credentials, SessionInfo, SetupInput};
use domain::second_factor::{PasskeyRequest, PasskeyResponse, PendingLogIn, SecondFactorInput};
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
    /// A log-in of this browser that needs a second factor.
    pub second_step: Option<PendingLogIn>,
}

/// The result of a log-in with a correct password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogInResult {
    /// A session.
    Started(SessionInfo),
    /// The log-in needs a second factor.
    SecondStep(PendingLogIn),
}

/// Returns the session and the state of setup.
#[server(name = ReadVisit, prefix = "/rpc", endpoint = "visit", protocol = Rpc)]
pub async fn visit() -> Result<Visit, RpcError> {
    let cx = super::context::context()?;
    let needs_setup = cx.session.is_none() && cx.service.accounts().needs_setup().await?;
    let second_step = match cx.session {
        Some(_) => None,
        None => cx.service.accounts().pending_log_in(cx.second_step.as_deref()).await?,
    };
    Ok(Visit { session: cx.session, needs_setup, local: cx.local, second_step })
}

/// Logs in with a password.
#[server(prefix = "/rpc", endpoint = "log-in", protocol = Rpc)]
pub async fn log_in(credentials: Credentials) -> Result<LogInResult, RpcError> {
    let cx = super::context::context()?;
    Ok(match cx.service.accounts().log_in(credentials, cx.client.clone()).await? {
        service::accounts::LogIn::Started(started) => {
            super::context::set_log_in_cookies(&cx, &started)?;
            LogInResult::Started(started.info)
        }
        service::accounts::LogIn::SecondStep(step) => {
            super::context::set_second_step_cookie(&cx, &step.token)?;
            LogInResult::SecondStep(step.info)
        }
    })
}

/// Finishes a log-in with a code or a recovery code.
#[server(prefix = "/rpc", endpoint = "finish-log-in", protocol = Rpc)]
pub async fn finish_log_in(input: SecondFactorInput) -> Result<SessionInfo, RpcError> {
    let cx = super::context::context()?;
    let (token, client) = (cx.second_step.as_deref(), cx.client.clone());
    let started = cx.service.accounts().finish_log_in(token, input, client).await?;
    super::context::set_log_in_cookies(&cx, &started)?;
    super::context::remove_second_step_cookie(&cx)?;
    Ok(started.info)
}

/// Starts the second step of a log-in with a passkey.
#[server(prefix = "/rpc", endpoint = "start-second-step", protocol = Rpc)]
pub async fn start_second_step() -> Result<PasskeyRequest, RpcError> {
    let cx = super::context::context()?;
    Ok(cx.service.accounts().start_second_step_with_passkey(cx.second_step.as_deref()).await?)
}

/// Finishes a log-in with a passkey as the second step.
#[server(prefix = "/rpc", endpoint = "finish-second-step", protocol = Rpc)]
pub async fn finish_second_step(response: PasskeyResponse) -> Result<SessionInfo, RpcError> {
    let cx = super::context::context()?;
    let (token, client) = (cx.second_step.as_deref(), cx.client.clone());
    let started = cx.service.accounts().finish_log_in_with_passkey(token, response, client).await?;
    super::context::set_log_in_cookies(&cx, &started)?;
    super::context::remove_second_step_cookie(&cx)?;
    Ok(started.info)
}

/// Ends the log-in that needs a second factor, so that the user can start again.
#[server(prefix = "/rpc", endpoint = "cancel-log-in", protocol = Rpc)]
pub async fn cancel_log_in() -> Result<(), RpcError> {
    let cx = super::context::context()?;
    cx.service.accounts().cancel_log_in(cx.second_step.as_deref()).await?;
    super::context::remove_second_step_cookie(&cx)?;
    Ok(())
}

/// Starts a log-in with a passkey alone.
#[server(prefix = "/rpc", endpoint = "start-passkey-log-in", protocol = Rpc)]
pub async fn start_passkey_log_in() -> Result<PasskeyRequest, RpcError> {
    let cx = super::context::context()?;
    Ok(cx.service.accounts().start_passkey_log_in(&cx.client.source).await?)
}

/// Logs in with a passkey alone.
#[server(prefix = "/rpc", endpoint = "log-in-with-passkey", protocol = Rpc)]
pub async fn log_in_with_passkey(response: PasskeyResponse) -> Result<SessionInfo, RpcError> {
    let cx = super::context::context()?;
    let started = cx.service.accounts().log_in_with_passkey(response, cx.client.clone()).await?;
    super::context::set_log_in_cookies(&cx, &started)?;
    super::context::remove_second_step_cookie(&cx)?;
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
