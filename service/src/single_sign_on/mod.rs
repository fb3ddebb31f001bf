//! Log-in at identity providers (OpenID Connect, authorization code with PKCE).
//!
//! | File | Content |
//! |---|---|
//! | `provider` | the protocol with one provider |
//! | `pending` | a log-in that a browser has started |
//! | `http` | requests to providers |
//!
//! `accounts::identities` maps the verified user to an account. No request is sent within a transaction.

mod http;
mod pending;
mod provider;

pub use crate::settings::{ProviderSettings, SingleSignOnSettings};
pub use pending::PENDING_LIFETIME;
pub use secrecy::ExposeSecret;

use crate::accounts::{Accounts, ExternalLogIn, LogInClient, LoggedIn};
use crate::context::Context;
use crate::db::entity::used_log_in_states;
use crate::secrets::{Cipher, digest};
use crate::{Error, OpenError, Result};
use chrono::Duration;
use domain::account::destination;
use domain::authorization::{Action, Actor, authorize};
use domain::single_sign_on::ProviderView;
use domain::{Problem, ProblemKind};
use pending::{Pending, Purpose};
use provider::Provider;
use sea_orm::{EntityTrait as _, Set};
use std::sync::Arc;
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::instrument;

/// Interval at which the configuration of the providers is checked.
const REFRESH_EVERY: std::time::Duration = std::time::Duration::from_secs(60);
/// Concurrent exchanges with providers, so that a flood of log-ins does not use up connections.
const MAX_CONCURRENT_EXCHANGES: usize = 32;
/// Maximum length of a code and of a state.
const MAX_PARAMETER: usize = 4_096;
/// Maximum length of the path to open after a log-in. Browsers drop cookies of more than 4096 bytes.
const MAX_DESTINATION: usize = 1_024;
/// The path to which a browser returns after the link of an account.
const ACCOUNT_PATH: &str = "/settings/account";

/// The redirect URI of a provider, as it must be registered there.
pub fn redirect_uri(public_url: &str, provider: &str) -> String {
    format!("{public_url}/oidc/{provider}/callback")
}

/// A started log-in.
pub struct Started {
    /// The address at the provider to which the browser goes.
    pub url: String,
    /// The value of the cookie that binds the log-in to the browser.
    pub cookie: String,
}

/// The parameters with which a browser returns from a provider.
#[derive(Clone, Default)]
pub struct Returned {
    /// The authorization code.
    pub code: Option<String>,
    /// The state of the log-in.
    pub state: Option<String>,
    /// The issuer (RFC 9207).
    pub iss: Option<String>,
    /// The error code of the provider, e.g. `access_denied`.
    pub error: Option<String>,
}

domain::redacted_debug!(Returned { iss, error } hides { code, state });

/// A finished visit to a provider.
pub struct Finished {
    /// The new session; `None` after the link of an account.
    pub logged_in: Option<LoggedIn>,
    /// The path to open.
    pub to: String,
}

/// Use cases of log-in at identity providers.
#[derive(Clone)]
pub struct SingleSignOn {
    context: Context,
    cipher: Cipher,
    accounts: Accounts,
    providers: Arc<[Provider]>,
    exchanges: Arc<Semaphore>,
}

impl SingleSignOn {
    pub(crate) fn new(context: Context, cipher: Cipher, accounts: Accounts) -> Result<Self, OpenError> {
        let settings = &context.settings;
        let http = http::client().map_err(OpenError)?;
        let providers = settings.single_sign_on.providers.iter().map(|provider| {
            let redirect_uri = redirect_uri(&settings.public_url, &provider.name);
            Provider::new(provider.clone(), http.clone(), redirect_uri).map_err(OpenError)
        });
        let providers = providers.collect::<Result<Vec<_>, _>>()?.into();
        let exchanges = Arc::new(Semaphore::new(MAX_CONCURRENT_EXCHANGES));
        Ok(Self { context, cipher, accounts, providers, exchanges })
    }

    /// The providers in the order of their buttons.
    pub fn providers(&self) -> Vec<ProviderView> {
        self.providers.iter().map(|provider| provider.settings.view()).collect()
    }

    fn provider(&self, name: &str) -> Result<&Provider, Problem> {
        self.providers.iter().find(|provider| provider.settings.name == name).ok_or_else(|| {
            Problem::new(ProblemKind::NotFound, "This identity provider is not configured. Open the log-in page again.")
        })
    }

    /// Keeps the configuration and keys of the providers fresh until `cancel`, and their metric current.
    pub async fn run(self, cancel: CancellationToken) {
        loop {
            for provider in self.providers.iter() {
                // The log already contains the error.
                let _ = provider.refresh(self.context.now()).await;
            }
            if tokio::time::timeout(REFRESH_EVERY, cancel.cancelled()).await.is_ok() {
                return;
            }
        }
    }

    /// Starts a log-in. `to` is the path to open afterwards; a path of another site becomes `/`. With `confirms`, the
    /// user must enter a credential at the provider, which confirms changes for some minutes.
    ///
    /// # Errors
    /// 404 for an unknown provider; 503 if it cannot be reached.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn start_log_in(&self, provider: &str, to: Option<&str>, confirms: bool) -> Result<Started, Problem> {
        let purpose = if confirms { Purpose::Confirm } else { Purpose::LogIn };
        let to = to.filter(|to| to.len() <= MAX_DESTINATION);
        self.start(provider, purpose, destination(to).to_owned()).await
    }

    /// Starts the link of the actor's account. Requires the current password, or a recent log-in.
    ///
    /// # Errors
    /// 403 for an API token; 404 for an unknown provider; 422 for `current_password`; 429 after too many wrong
    /// passwords; 503 if the provider cannot be reached.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn start_link(
        &self,
        actor: &Actor,
        provider: &str,
        current_password: Option<String>,
    ) -> Result<Started, Problem> {
        authorize(actor, Action::ManageOwnTokens)?;
        if actor.session.is_none() {
            return Err(Problem::forbidden("An API token cannot link an account. Log in on the page."));
        }
        self.provider(provider)?;
        self.accounts.confirm_identity(actor, current_password).await?;
        self.start(provider, Purpose::Link { username: actor.username.clone() }, ACCOUNT_PATH.to_owned()).await
    }

    async fn start(&self, name: &str, purpose: Purpose, to: String) -> Result<Started, Problem> {
        let provider = self.provider(name)?;
        let started_at = self.context.now();
        let authorization = provider.authorize(started_at, purpose == Purpose::Confirm).await?;
        let pending = Pending {
            provider: name.to_owned(),
            state: authorization.state,
            nonce: authorization.nonce,
            verifier: authorization.verifier,
            purpose,
            to,
            started_at,
        };
        Ok(Started { url: authorization.url, cookie: pending.seal(&self.cipher)? })
    }

    /// Finishes a visit to a provider: verifies the response and opens a session, or links the account of `actor`.
    ///
    /// # Errors
    /// 400 if the log-in was not started in this browser, or has expired or been finished; 403 if the provider or the
    /// rules for accounts refuse; 409 if the username belongs to another account; 503 if the provider or the database is
    /// unavailable.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn finish(
        &self,
        name: &str,
        returned: Returned,
        cookie: Option<&str>,
        client: LogInClient,
        actor: Option<&Actor>,
    ) -> Result<Finished, Problem> {
        let now = self.context.now();
        let provider = self.provider(name)?;
        let pending = cookie.and_then(|cookie| Pending::open(&self.cipher, cookie, now));
        let state = returned.state.as_deref().unwrap_or_default();
        let is_of_cookie = |pending: &Pending| {
            pending.provider == name && bool::from(pending.state.as_bytes().ct_eq(state.as_bytes()))
        };
        let Some(pending) = pending.filter(is_of_cookie) else {
            return Err(Problem::malformed(
                "This log-in was started in another browser or tab, or more than 10 minutes ago. Log in again.",
            ));
        };
        provider.check_issuer(returned.iss.as_deref(), now).await?;
        if let Some(error) = &returned.error {
            return Err(refused(provider, error));
        }
        let code = returned.code.filter(|code| !code.is_empty() && code.len() <= MAX_PARAMETER).ok_or_else(|| {
            Problem::malformed("The response of the identity provider contains no code. Log in again.")
        })?;
        self.use_state(&pending).await?;
        let permit = self.exchanges.acquire().await.map_err(|_| Problem::internal())?;
        let verified = provider.exchange(code, pending.verifier.clone(), &pending.nonce, now).await?;
        drop(permit);
        if pending.purpose == Purpose::Confirm {
            check_confirmation(provider, verified.authenticated_at, &pending)?;
        }
        let external = ExternalLogIn {
            provider: &provider.settings,
            subject: verified.subject,
            claims: verified.claims,
            authenticated_at: verified.authenticated_at,
            session: verified.session,
            id_token: verified.id_token,
        };
        let logged_in = match &pending.purpose {
            Purpose::LogIn | Purpose::Confirm => Some(self.accounts.log_in_externally(external, client).await?),
            Purpose::Link { username } => {
                if actor.is_none_or(|actor| actor.username != *username) {
                    return Err(Problem::unauthenticated("Your session has ended. Log in and link the account again."));
                }
                self.accounts.link(&external, username).await?;
                None
            }
        };
        Ok(Finished { logged_in, to: pending.to })
    }

    /// Marks a state as used, on all replicas.
    async fn use_state(&self, pending: &Pending) -> Result<()> {
        let row = used_log_in_states::ActiveModel {
            state_hash: Set(digest(&pending.state)),
            expires_at: Set(pending.expires_at().timestamp_millis()),
        };
        let inserted = used_log_in_states::Entity::insert(row).exec_without_returning(&self.context.db.write).await;
        inserted.map_err(|error| {
            Error::on_unique_violation(error, || {
                Problem::malformed("This log-in has already been finished. Log in again.")
            })
        })?;
        Ok(())
    }

    /// The address that ends the session at the provider, for a session that is about to end; `None` if there is no
    /// provider, or it does not support it.
    pub async fn log_out_url(&self, session_token: &str) -> Option<String> {
        let (issuer, id_token) = self.accounts.external_session(session_token).await.ok()??;
        let provider = self.providers.iter().find(|provider| provider.settings.issuer == issuer)?;
        let back_to = format!("{}/login", self.context.settings.public_url);
        provider.log_out_url(&id_token, &back_to, self.context.now()).await
    }

    /// Ends the sessions that a log-out token of a provider names (OpenID Connect Back-Channel Logout).
    ///
    /// # Errors
    /// 403 if the token cannot be trusted; 404 for an unknown provider; 503 if the provider or the database is
    /// unavailable.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn log_out_from_provider(&self, name: &str, token: &str) -> Result<(), Problem> {
        let provider = self.provider(name)?;
        let (subject, session) = provider.verify_log_out(token, self.context.now()).await?;
        let issuer = &provider.settings.issuer;
        self.accounts.end_external_sessions(issuer, subject.as_deref(), session.as_deref()).await
    }
}

/// The problem after an error response of the provider.
fn refused(provider: &Provider, error: &str) -> Problem {
    let name = &provider.settings.display_name;
    let code: String = error.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect();
    tracing::info!(provider = %provider.settings.name, code, "an identity provider refused a log-in");
    metrics::counter!("berth_oidc_log_ins_total", "provider" => provider.settings.name.clone(), "outcome" => "refused")
        .increment(1);
    match code.as_str() {
        "access_denied" | "interaction_required" | "login_required" | "consent_required" => {
            Problem::forbidden(format!(
                "The log-in at {name} was cancelled, or you have no permission there. Log in again, or ask an administrator."
            ))
        }
        "temporarily_unavailable" | "server_error" => {
            Problem::new(ProblemKind::Unavailable, format!("{name} is not available right now. Try again in a minute."))
        }
        _ => Problem::forbidden(format!(
            "{name} refused the log-in ({code}). Ask an administrator to check the settings of Berth and of {name}."
        )),
    }
}

/// Checks that the user has entered a credential since the visit started.
fn check_confirmation(
    provider: &Provider,
    authenticated_at: Option<chrono::DateTime<chrono::Utc>>,
    pending: &Pending,
) -> Result<(), Problem> {
    let name = &provider.settings.display_name;
    // `auth_time` has a precision of a second.
    let earliest = pending.started_at - provider.settings.clock_skew - Duration::seconds(1);
    match authenticated_at {
        Some(at) if at >= earliest => Ok(()),
        Some(_) => Err(Problem::forbidden(format!(
            "{name} did not ask for your credentials again, so the change is not confirmed. Log out at {name}, and try again."
        ))),
        None => Err(Problem::forbidden(format!(
            "{name} did not state when you logged in (claim auth_time), so the change is not confirmed. Ask an administrator \
             to enable this claim."
        ))),
    }
}
