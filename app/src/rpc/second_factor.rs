//! Server functions for second factors and for confirmations.
//!
//! A user who must set up a second factor may call those that set one up.

use super::{Rpc, RpcError};
use domain::second_factor::{
    AppEnrolment, ConfirmationInput, ConfirmationMethods, FactorAdded, PasskeyRequest, PasskeyResponse, SecondFactors,
};
use leptos::prelude::*;

/// Returns the second factors of an account.
#[server(name = ReadSecondFactors, prefix = "/rpc", endpoint = "second-factors", protocol = Rpc)]
pub async fn second_factors(username: String) -> Result<SecondFactors, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor_of_setup()?;
    Ok(cx.service.accounts().second_factors(actor, &username).await?)
}

/// Starts the registration of a passkey.
#[server(prefix = "/rpc", endpoint = "start-passkey", protocol = Rpc)]
pub async fn start_passkey() -> Result<PasskeyRequest, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor_of_setup()?;
    Ok(cx.service.accounts().start_passkey(actor).await?)
}

/// Adds the passkey of a registration.
#[server(prefix = "/rpc", endpoint = "add-passkey", protocol = Rpc)]
pub async fn add_passkey(name: String, response: PasskeyResponse) -> Result<FactorAdded, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor_of_setup()?;
    Ok(cx.service.accounts().add_passkey(actor, &name, response).await?)
}

/// Creates the key of a new authenticator app.
#[server(prefix = "/rpc", endpoint = "start-app", protocol = Rpc)]
pub async fn start_app() -> Result<AppEnrolment, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor_of_setup()?;
    Ok(cx.service.accounts().start_app(actor).await?)
}

/// Adds an authenticator app, if the code is correct.
#[server(prefix = "/rpc", endpoint = "add-app", protocol = Rpc)]
pub async fn add_app(challenge: String, code: String) -> Result<FactorAdded, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor_of_setup()?;
    Ok(cx.service.accounts().add_app(actor, &challenge, &code).await?)
}

/// Replaces the recovery codes. Only this result contains them.
#[server(prefix = "/rpc", endpoint = "replace-recovery-codes", protocol = Rpc)]
pub async fn replace_recovery_codes() -> Result<Vec<String>, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor_of_setup()?;
    Ok(cx.service.accounts().replace_recovery_codes(actor).await?)
}

/// Removes one second factor of an account.
#[server(prefix = "/rpc", endpoint = "remove-second-factor", protocol = Rpc)]
pub async fn remove_second_factor(username: String, id: String) -> Result<(), RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.accounts().remove_second_factor(actor, &username, &id).await?)
}

/// Removes all second factors of another account.
#[server(prefix = "/rpc", endpoint = "reset-second-factors", protocol = Rpc)]
pub async fn reset_second_factors(username: String) -> Result<(), RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.accounts().reset_second_factors(actor, &username).await?)
}

/// Returns the ways in which the user can confirm a change.
#[server(name = ReadConfirmationMethods, prefix = "/rpc", endpoint = "confirmation-methods", protocol = Rpc)]
pub async fn confirmation_methods() -> Result<ConfirmationMethods, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor_of_setup()?;
    Ok(cx.service.accounts().confirmation_methods(actor).await?)
}

/// Confirms changes for some minutes, by the password or a code.
#[server(prefix = "/rpc", endpoint = "confirm", protocol = Rpc)]
pub async fn confirm(input: ConfirmationInput) -> Result<(), RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor_of_setup()?;
    Ok(cx.service.accounts().confirm(actor, input).await?)
}

/// Starts a confirmation with a passkey.
#[server(prefix = "/rpc", endpoint = "start-confirmation", protocol = Rpc)]
pub async fn start_confirmation() -> Result<PasskeyRequest, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor_of_setup()?;
    Ok(cx.service.accounts().start_confirmation(actor).await?)
}

/// Confirms changes for some minutes, by a passkey.
#[server(prefix = "/rpc", endpoint = "confirm-with-passkey", protocol = Rpc)]
pub async fn confirm_with_passkey(response: PasskeyResponse) -> Result<(), RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor_of_setup()?;
    Ok(cx.service.accounts().confirm_with_passkey(actor, response).await?)
}
