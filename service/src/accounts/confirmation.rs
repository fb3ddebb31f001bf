//! Step-up authentication: a credential that the user enters again before a sensitive change, unless they have just done so.
//!
//! A session keeps the time at which its user last entered a credential: at log-in, or at a confirmation. API tokens need
//! no confirmation, because a recently confirmed session created them.

use super::budgets::Subject;
use super::passwords::Capacity;
use super::second_factor::{Holder, Proof, State, expired};
use super::sessions::has_session_id;
use super::{Accounts, passwords};
use crate::Result;
use crate::audit_trail::{AuditedTransaction, Record, Target};
use crate::context::Context;
use crate::db::codec::time;
use crate::db::entity::sessions;
use chrono::{DateTime, Duration, Utc};
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::authorization::{Action, Actor, ActorSession, authorize};
use domain::second_factor::{ConfirmationInput, ConfirmationMethods, PasskeyRequest, PasskeyResponse};
use domain::{Problem, ProblemKind};
use sea_orm::{EntityTrait as _, QueryFilter as _, Set};
use tracing::instrument;

/// Time after a log-in or a confirmation in which the user is not asked again.
const RECENT: Duration = Duration::minutes(10);

impl Context {
    /// Requires that the user of a session has entered a credential within the last 10 minutes. Somebody with their
    /// unattended or stolen session has not.
    ///
    /// # Errors
    /// [`ProblemKind::ConfirmationRequired`].
    pub(crate) async fn require_confirmation(&self, actor: &Actor) -> Result<(), Problem> {
        if self.is_confirmed(actor).await? { Ok(()) } else { Err(confirmation_required()) }
    }

    async fn is_confirmed(&self, actor: &Actor) -> Result<bool> {
        let Some(session) = &actor.session else { return Ok(true) };
        if self.is_recent(session.logged_in_at) {
            return Ok(true);
        }
        // The actor can come from the cache of a replica on which the user did not confirm.
        let Some(has_id) = has_session_id(&session.id) else { return Ok(false) };
        let own = sessions::COLUMN.username.eq(actor.username.as_str());
        let row = sessions::Entity::find().filter(own).filter(has_id).one(&self.db.read).await?;
        Ok(row.is_some_and(|row| self.is_recent(time(row.authenticated_at.unwrap_or(row.created_at)))))
    }

    fn is_recent(&self, at: DateTime<Utc>) -> bool {
        self.now() - at < RECENT
    }
}

impl Accounts {
    /// Checks that the request comes from the user and not from somebody with their unattended or stolen session: the
    /// session was confirmed within the last minutes, or the current password is correct. An API token always needs the
    /// password.
    ///
    /// # Errors
    /// [`ProblemKind::ConfirmationRequired`] without a password; 422 for `current_password`; 429 after too many wrong
    /// passwords.
    pub(crate) async fn confirm_identity(&self, actor: &Actor, password: Option<String>) -> Result<(), Problem> {
        if actor.session.is_some() && self.context.is_confirmed(actor).await? {
            return Ok(());
        }
        let has_password = self.has_password(&self.find_user(&actor.username).await?);
        match password.filter(|password| has_password && !password.is_empty()) {
            Some(password) => self.check_current_password(&actor.username, password, "current_password").await,
            None if actor.session.is_some() => Err(confirmation_required()),
            None => Err(Problem::field("current_password", "Enter your current password to confirm this change.")),
        }
    }

    /// Checks the current password, which a request has in `field`. Guesses have a stored budget like log-ins, because a
    /// stolen session must not make guessing easier.
    pub(super) async fn check_current_password(
        &self,
        username: &str,
        password: String,
        field: &str,
    ) -> Result<(), Problem> {
        let budget = Subject::confirmation(username);
        self.spend(&budget).await?;
        let stored = self.find_user(username).await?.password_hash;
        if !passwords::verify(password.into(), stored, Capacity::Shared).await {
            self.record_rejected_password(username).await;
            return Err(Problem::field(field, "This is not your current password. Enter it again."));
        }
        Ok(self.refund(&self.context.db.write, &budget).await?)
    }

    /// The ways in which the actor can confirm a change, other than a new log-in.
    ///
    /// # Errors
    /// 403 for an API token.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn confirmation_methods(&self, actor: &Actor) -> Result<ConfirmationMethods, Problem> {
        own_session(actor)?;
        let user = self.find_user(&actor.username).await?;
        let factors = self.second_factors(actor, &actor.username).await?;
        Ok(ConfirmationMethods {
            password: self.has_password(&user),
            code: factors.authenticator_app.is_some(),
            passkey: !factors.passkeys.is_empty(),
        })
    }

    /// Confirms sensitive changes of the session for 10 minutes, by the password or a code of the authenticator app.
    ///
    /// # Errors
    /// 401 if the session has ended; 403 for an API token; 422 for `password` and `code`; 429 after too many wrong ones.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn confirm(&self, actor: &Actor, input: ConfirmationInput) -> Result<(), Problem> {
        own_session(actor)?;
        match (input.password, input.code) {
            (Some(password), None) => {
                if !self.has_password(&self.find_user(&actor.username).await?) {
                    let names = self.context.settings.single_sign_on.names();
                    return Err(Problem::field("password", format!("Log in again with {names} to confirm.")));
                }
                self.check_current_password(&actor.username, password, "password").await?;
                Ok(self.mark_confirmed(actor).await?)
            }
            (None, Some(code)) => self.confirm_by(actor, &Proof::Code(code)).await,
            _ => Err(Problem::field("password", "Send either the password or the code of the app.")),
        }
    }

    /// Starts a confirmation with a passkey.
    ///
    /// # Errors
    /// 403 for an API token; 409 if the account has no passkey.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn start_confirmation(&self, actor: &Actor) -> Result<PasskeyRequest, Problem> {
        let session = own_session(actor)?.id.clone();
        let (options, passkey) = self.start_passkey_proof(&actor.username).await?;
        self.request(Holder::User(&actor.username), &State::Confirmation { session, passkey }, &options).await
    }

    /// Confirms sensitive changes of the session for 10 minutes, by a passkey.
    ///
    /// # Errors
    /// 401 if the session has ended; 403 for an API token; 409 if the challenge has expired or was answered before; 422
    /// for `passkey`.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn confirm_with_passkey(&self, actor: &Actor, response: PasskeyResponse) -> Result<(), Problem> {
        let current = own_session(actor)?;
        let passkey = match self.take_challenge(&response.challenge).await? {
            Some(State::Confirmation { session, passkey }) if session == current.id => passkey,
            _ => return Err(expired()),
        };
        match self.verify_passkey(&response, &passkey) {
            Ok(result) => self.confirm_by(actor, &Proof::Passkey(Box::new(result))).await,
            Err(problem) => {
                self.record_rejected_factor(&actor.username, &problem.detail).await;
                Err(problem)
            }
        }
    }

    async fn confirm_by(&self, actor: &Actor, proof: &Proof) -> Result<(), Problem> {
        let budget = proof.budget(&actor.username);
        if let Some(budget) = &budget {
            self.spend(budget).await?;
        }
        if self.use_for_confirmation(actor, proof, budget.as_ref()).await? {
            return Ok(());
        }
        let problem = proof.problem();
        self.record_rejected_factor(&actor.username, &problem.detail).await;
        Err(problem)
    }

    async fn use_for_confirmation(&self, actor: &Actor, proof: &Proof, budget: Option<&Subject>) -> Result<bool> {
        let tx = self.context.begin_change().await?;
        if self.accept(&tx, &actor.username, proof).await?.is_none() {
            tx.rollback().await?;
            return Ok(false);
        }
        if let Some(budget) = budget {
            self.refund(&*tx, budget).await?;
        }
        self.commit_confirmed(tx, actor, proof.name()).await?;
        Ok(true)
    }

    async fn mark_confirmed(&self, actor: &Actor) -> Result<()> {
        let tx = self.context.begin_change().await?;
        self.commit_confirmed(tx, actor, "password").await
    }

    /// Stores the time of the confirmation in the session.
    async fn commit_confirmed(&self, tx: AuditedTransaction, actor: &Actor, method: &str) -> Result<()> {
        let session = own_session(actor)?;
        let ended = || Problem::unauthenticated("Your session has ended. Log in again.");
        let has_id = has_session_id(&session.id).ok_or_else(ended)?;
        let now = self.context.now().timestamp_millis();
        let confirmed = sessions::Entity::update_many()
            .set(sessions::ActiveModel { authenticated_at: Set(Some(now)), ..Default::default() })
            .filter(sessions::COLUMN.username.eq(actor.username.as_str()))
            .filter(has_id)
            .exec(&tx)
            .await?;
        if confirmed.rows_affected == 0 {
            return Err(ended().into());
        }
        let target = Target::new(AuditTargetType::Session, &session.id);
        let record = Record::new(actor, AuditAction::SessionConfirmed, target);
        tx.commit(record.changes(Changes::none().field("confirmed_by", (), method))).await
    }
}

/// The session of the actor. It may be one that must set up a second factor, which needs a confirmation.
fn own_session(actor: &Actor) -> Result<&ActorSession, Problem> {
    authorize(actor, Action::ManageOwnFactors)?;
    actor
        .session
        .as_ref()
        .ok_or_else(|| Problem::forbidden("An API token needs no confirmation. Only a session can be confirmed."))
}

fn confirmation_required() -> Problem {
    Problem::new(
        ProblemKind::ConfirmationRequired,
        "Confirm that it is you: enter your password or use a second factor, or log in again. Then repeat the change. \
         Scripts send the password or the code to POST /api/v1/session/confirmation.",
    )
}
