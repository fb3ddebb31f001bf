//! The second step of a log-in, and log-in with a passkey alone.
//!
//! After a correct password, the browser has a token of a pending log-in. It is no session: it is found in another table,
//! and only a second factor turns it into a session with a new token.

use super::super::sessions::{count_log_in, end_replaced_session, started};
use super::super::{Accounts, LogInClient, LoggedIn};
use super::challenges::{CHALLENGE_LIFETIME, Holder, State, expired};
use super::proof::{Accepted, Proof};
use crate::Result;
use crate::audit_trail::{AuditedTransaction, Author};
use crate::db::entity::{sessions, users};
use crate::secrets::{digest, new_token};
use chrono::{DateTime, Utc};
use domain::change::Change;
use domain::second_factor::{PasskeyRequest, PasskeyResponse, PendingLogIn, SecondFactorInput};
use domain::single_sign_on::LocalLogIn;
use domain::{Problem, ProblemKind};
use sea_orm::{EntityTrait as _, QueryFilter as _, QuerySelect as _};
use tracing::instrument;

/// A log-in that needs a second factor.
pub struct SecondStep {
    /// The ways to finish it.
    pub info: PendingLogIn,
    /// The token of the pending log-in; only the cookie contains it.
    pub token: String,
}

/// The account of a pending log-in.
struct Pending<'a> {
    token: &'a str,
    username: String,
    /// Digest of the hash of the password that was correct.
    password: String,
    expires_at: DateTime<Utc>,
}

/// How somebody logs in.
enum Way<'a> {
    /// With the password, then a second factor.
    Password(&'a Pending<'a>),
    /// With a passkey alone.
    Passkey(&'a str),
}

impl Way<'_> {
    fn username(&self) -> &str {
        match self {
            Self::Password(pending) => &pending.username,
            Self::Passkey(username) => username,
        }
    }

    fn author(&self) -> Author<'_> {
        match self {
            Self::Password(pending) => Author::Password(&pending.username),
            Self::Passkey(username) => Author::Passkey(username),
        }
    }
}

impl Accounts {
    /// Begins the second step of a log-in whose password was correct.
    pub(in crate::accounts) async fn start_second_step(&self, user: &users::Model) -> Result<SecondStep, Problem> {
        let expires_at = self.context.now() + CHALLENGE_LIFETIME;
        let (username, password) = (user.username.clone(), digest(&user.password_hash));
        let state = State::LogIn { username, password, expires_at };
        let token = self.start_challenge(Holder::LogIn(&user.username), &state).await?;
        Ok(SecondStep { info: self.pending_info(user, expires_at).await?, token })
    }

    async fn pending_info(&self, user: &users::Model, expires_at: DateTime<Utc>) -> Result<PendingLogIn> {
        let factors = self.factors_of(&self.context.db.read, user).await?;
        Ok(PendingLogIn {
            passkey: !factors.passkeys.is_empty(),
            code: factors.authenticator_app.is_some(),
            recovery_code: factors.recovery_codes_left > 0,
            expires_at,
        })
    }

    /// The pending log-in of a browser; `None` if there is none.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn pending_log_in(&self, token: Option<&str>) -> Result<Option<PendingLogIn>, Problem> {
        let pending = match self.find_pending(token).await {
            Ok(pending) => pending,
            Err(problem) if problem.kind == ProblemKind::Unauthenticated => return Ok(None),
            Err(problem) => return Err(problem),
        };
        let user = self.find_user(&pending.username).await?;
        Ok(Some(self.pending_info(&user, pending.expires_at).await?))
    }

    async fn find_pending<'a>(&self, token: Option<&'a str>) -> Result<Pending<'a>, Problem> {
        let Some(token) = token else { return Err(no_log_in()) };
        match self.find_challenge(token).await? {
            Some(State::LogIn { username, password, expires_at }) => {
                Ok(Pending { token, username, password, expires_at })
            }
            _ => Err(no_log_in()),
        }
    }

    /// Finishes a log-in with a code or a recovery code, and ends the present session of the same browser. `token` is the
    /// one of the pending log-in.
    ///
    /// # Errors
    /// 401 if the log-in has expired or was finished before; 422 for `code` and `recovery_code`; 429 after too many wrong
    /// codes.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn finish_log_in(
        &self,
        token: Option<&str>,
        input: SecondFactorInput,
        client: LogInClient,
    ) -> Result<LoggedIn, Problem> {
        let pending = self.find_pending(token).await?;
        let proof = match (input.code, input.recovery_code) {
            (Some(code), None) => Proof::Code(code),
            (None, Some(code)) => Proof::RecoveryCode(code),
            _ => return Err(Problem::field("code", "Send either the code of the app or a recovery code.")),
        };
        self.open_proved_session(&Way::Password(&pending), &proof, client).await
    }

    /// Starts the second step of a log-in with a passkey. `token` is the one of the pending log-in.
    ///
    /// # Errors
    /// 401 if the log-in has expired; 409 if the account has no passkey.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn start_second_step_with_passkey(&self, token: Option<&str>) -> Result<PasskeyRequest, Problem> {
        let pending = self.find_pending(token).await?;
        let (options, passkey) = self.start_passkey_proof(&pending.username).await?;
        let state = State::SecondStep { log_in: digest(pending.token), passkey };
        self.request(Holder::User(&pending.username), &state, &options).await
    }

    /// Finishes a log-in with a passkey as the second step. `token` is the one of the pending log-in.
    ///
    /// # Errors
    /// 401 if the log-in has expired or was finished before; 409 if the challenge was; 422 for `passkey`.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn finish_log_in_with_passkey(
        &self,
        token: Option<&str>,
        response: PasskeyResponse,
        client: LogInClient,
    ) -> Result<LoggedIn, Problem> {
        let pending = self.find_pending(token).await?;
        let passkey = match self.take_challenge(&response.challenge).await? {
            Some(State::SecondStep { log_in, passkey }) if log_in == digest(pending.token) => passkey,
            _ => return Err(expired()),
        };
        let result = match self.verify_passkey(&response, &passkey) {
            Ok(result) => result,
            Err(problem) => {
                self.record_rejected_factor(&pending.username, &problem.detail).await;
                return Err(problem);
            }
        };
        self.open_proved_session(&Way::Password(&pending), &Proof::Passkey(Box::new(result)), client).await
    }

    /// Starts a log-in with a passkey alone. The authenticator checks the user and names the account.
    ///
    /// # Errors
    /// 403 if log-in with local credentials is switched off; 409 if the public URL has no host name.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn start_passkey_log_in(&self, source: &str) -> Result<PasskeyRequest, Problem> {
        let settings = &self.context.settings.single_sign_on;
        if settings.local_log_in == LocalLogIn::Off {
            let names = settings.names();
            return Err(Problem::forbidden(format!("Log-in with a passkey is switched off. Log in with {names}.")));
        }
        let (options, passkey) = self.start_discoverable()?;
        self.request(Holder::Source(source), &State::PasskeyLogIn { passkey }, &options).await
    }

    /// Logs in with a passkey alone, and ends the present session of the same browser.
    ///
    /// # Errors
    /// 403 if the account is disabled or may not log in with local credentials; 409 if the challenge has expired or was
    /// answered before; 422 for `passkey`.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn log_in_with_passkey(
        &self,
        response: PasskeyResponse,
        client: LogInClient,
    ) -> Result<LoggedIn, Problem> {
        let state = match self.take_challenge(&response.challenge).await? {
            Some(State::PasskeyLogIn { passkey }) => *passkey,
            _ => return Err(expired()),
        };
        let (username, result) = match self.verify_discoverable(&response, state).await {
            Ok(verified) => verified,
            Err(problem) => {
                self.record_rejected_factor("", &problem.detail).await;
                return Err(problem);
            }
        };
        self.open_proved_session(&Way::Passkey(&username), &Proof::Passkey(Box::new(result)), client).await
    }

    /// Opens the session of a log-in, if the second factor is valid. Counts the log-in.
    async fn open_proved_session(
        &self,
        way: &Way<'_>,
        proof: &Proof,
        client: LogInClient,
    ) -> Result<LoggedIn, Problem> {
        let opened = self.try_open_proved_session(way, proof, client).await;
        count_log_in(opened.as_ref().map(|_| "succeeded"));
        opened
    }

    async fn try_open_proved_session(
        &self,
        way: &Way<'_>,
        proof: &Proof,
        client: LogInClient,
    ) -> Result<LoggedIn, Problem> {
        let username = way.username();
        let budget = proof.budget(username);
        if let Some(budget) = &budget {
            self.spend(budget).await?;
        }
        let token = new_token();
        let device = self.known_device(client.device.as_deref(), username);
        let opened = self.insert_proved_session(way, proof, (&client, device.is_some()), &token).await;
        if let (Err(error), Some(budget)) = (&opened, &budget) {
            tracing::debug!(%error, "a second factor could not be checked");
            // Its count is undone, because it was no guess.
            self.refund(&self.context.db.write, budget).await?;
        }
        let Some((notifications, has_ended_session)) = opened? else {
            let problem = proof.problem();
            self.record_rejected_factor(username, &problem.detail).await;
            return Err(problem);
        };
        if has_ended_session {
            self.invalidate_credentials();
        }
        self.feed.publish(notifications);
        if self.context.settings.single_sign_on.local_log_in == LocalLogIn::BreakGlass {
            self.report_break_glass(username, &client.source).await?;
        }
        let device = self.device_cookie(device, username)?;
        let (_, info) = self.authenticate_session(&token).await?;
        Ok(LoggedIn { info, token, device })
    }

    /// Uses the second factor and inserts the session in one transaction. `None` if the second factor is not valid.
    /// Otherwise the notifications, and whether a session in the same browser has ended.
    async fn insert_proved_session(
        &self,
        way: &Way<'_>,
        proof: &Proof,
        (client, is_known): (&LogInClient, bool),
        token: &str,
    ) -> Result<Option<(Vec<Change>, bool)>> {
        let username = way.username();
        let tx = self.context.begin_change().await?;
        self.check_may_finish(&tx, way).await?;
        let Some(Accepted { mut records, notification }) = self.accept(&tx, username, proof).await? else {
            tx.rollback().await?;
            return Ok(None);
        };
        if let Some(budget) = proof.budget(username) {
            self.refund(&*tx, &budget).await?;
        }
        let replaced = end_replaced_session(&tx, client, way.author()).await?;
        let has_ended_session = replaced.is_some();
        records.extend(replaced);
        sessions::Entity::insert(self.session_row(username, token, client)).exec_without_returning(&tx).await?;
        records.push(started(way.author(), token, &client.description(), proof.name()));
        let new_browser = self.notify_new_browser(&tx, username, client, is_known).await?;
        tx.commit(records).await?;
        Ok(Some((notification.into_iter().chain(new_browser).collect(), has_ended_session)))
    }

    /// Checks that the account may log in, and that the pending log-in is still open. The transaction ends it.
    async fn check_may_finish(&self, tx: &AuditedTransaction, way: &Way<'_>) -> Result<()> {
        // The lock serialises the log-in with a change of the password, which would not end an uncommitted session.
        let user = users::Entity::find_by_id(way.username())
            .filter(users::COLUMN.disabled.eq(false))
            .lock_shared()
            .one(&**tx)
            .await?;
        let user = user.filter(|user| self.has_password(user));
        match way {
            Way::Password(pending) => {
                let is_current = user.is_some_and(|user| digest(&user.password_hash) == pending.password);
                if !is_current || !self.end_challenge(tx, pending.token).await? {
                    return Err(no_log_in().into());
                }
            }
            Way::Passkey(_) if user.is_none() => {
                let message = "This account is disabled, or may not log in with a passkey. Ask an administrator.";
                return Err(Problem::forbidden(message).into());
            }
            Way::Passkey(_) => {}
        }
        Ok(())
    }

    /// Ends the pending log-in of a browser that starts again.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    pub async fn cancel_log_in(&self, token: Option<&str>) -> Result<(), Problem> {
        if let Some(token) = token {
            self.take_challenge(token).await?;
        }
        Ok(())
    }
}

fn no_log_in() -> Problem {
    Problem::unauthenticated("Your log-in has expired. Enter your username and your password again.")
}
