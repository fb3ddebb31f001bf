//! Who is here.

use super::{Rpc, RpcError};
use domain::account::{Credentials, SessionInfo, SetupInput};
use leptos::prelude::*;
use serde::{Deserialize, Serialize};

/// What the page needs to know first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    /// Who is logged in.
    pub session: Option<SessionInfo>,
    /// Whether Berth waits for its first administrator.
    pub needs_setup: bool,
    /// Whether the visit comes from the machine itself and may set Berth up without a code.
    pub local: bool,
}

/// Who is here, and whether Berth has been set up.
#[server(name = ReadVisit, prefix = "/rpc", endpoint = "visit", protocol = Rpc)]
pub async fn visit() -> Result<Visit, RpcError> {
    let cx = super::context::context()?;
    let needs_setup = cx.session.is_none() && cx.service.needs_setup().await?;
    Ok(Visit { session: cx.session, needs_setup, local: cx.local })
}

/// Logs in.
#[server(prefix = "/rpc", endpoint = "log-in", protocol = Rpc)]
pub async fn log_in(credentials: Credentials) -> Result<SessionInfo, RpcError> {
    let cx = super::context::context()?;
    let done = cx.service.log_in(credentials, &cx.source).await?;
    super::context::set_session_cookie(&cx, &done.token)?;
    Ok(done.info)
}

/// Logs out.
#[server(prefix = "/rpc", endpoint = "log-out", protocol = Rpc)]
pub async fn log_out() -> Result<(), RpcError> {
    let cx = super::context::context()?;
    if let Some(token) = &cx.session_token {
        cx.service.log_out(token).await?;
    }
    super::context::set_session_cookie(&cx, "")?;
    Ok(())
}

/// Makes the first administrator.
#[server(prefix = "/rpc", endpoint = "set-up", protocol = Rpc)]
pub async fn set_up(input: SetupInput) -> Result<SessionInfo, RpcError> {
    let cx = super::context::context()?;
    let done = cx.service.set_up(input, cx.local, cx.setup_code.as_deref().unwrap_or_default()).await?;
    super::context::set_session_cookie(&cx, &done.token)?;
    Ok(done.info)
}
