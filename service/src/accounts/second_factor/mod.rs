//! Second factors: passkeys, codes of an authenticator app, and recovery codes.
//!
//! | File | Content |
//! |---|---|
//! | `challenges` | steps that have begun and not ended, stored and used once |
//! | `relying_party` | the WebAuthn settings that follow from the public URL |
//! | `passkeys` | registration of passkeys, and the check of their responses |
//! | `authenticator_app` | the key of an authenticator app, and the check of its codes |
//! | `recovery_codes` | creation and use of recovery codes |
//! | `proof` | a second factor that a user presents |
//! | `log_in` | the second step of a log-in, and log-in with a passkey alone |
//!
//! Accounts without a password have no second factors: their identity provider checks its own.

mod authenticator_app;
mod challenges;
mod log_in;
mod passkeys;
mod proof;
mod recovery_codes;
mod relying_party;

pub use challenges::CHALLENGE_LIFETIME;
pub(super) use challenges::{Holder, State, expired};
pub use log_in::SecondStep;
pub(super) use proof::Proof;
pub(super) use relying_party::RelyingParty;

use super::Accounts;
use crate::Result;
use crate::audit_trail::{AuditedTransaction, Author, Record, Target};
use crate::db::codec::time;
use crate::db::entity::{authenticator_apps, passkeys as passkey_rows, recovery_codes as code_rows, users};
use crate::notifications::Recipient;
use domain::Problem;
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::authorization::{Action, Actor, Role, authorize};
use domain::change::{Change, Severity};
use domain::second_factor::{APP_ID, AuthenticatorApp, Passkey, SecondFactors};
use sea_orm::{
    ConnectionTrait, EntityTrait as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    SelectExt as _,
};
use tracing::instrument;

/// The page on which users manage their second factors.
const ACCOUNT_PATH: &str = "/settings/account";

impl Accounts {
    /// The second factors of an account. Administrators and auditors may read those of every account.
    ///
    /// # Errors
    /// 403 for other users; 404 for an unknown account.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn second_factors(&self, actor: &Actor, username: &str) -> Result<SecondFactors, Problem> {
        let is_own = actor.username == username;
        authorize(actor, if is_own { Action::ManageOwnFactors } else { Action::ReadUsers })?;
        let user = self.find_user(username).await?;
        Ok(self.factors_of(&self.context.db.read, &user).await?)
    }

    /// The second factors of an account, as the connection sees them.
    pub(in crate::accounts) async fn factors_of(
        &self,
        connection: &impl ConnectionTrait,
        user: &users::Model,
    ) -> Result<SecondFactors> {
        let username = user.username.as_str();
        let passkeys = passkey_rows::Entity::find()
            .filter(passkey_rows::COLUMN.username.eq(username))
            .order_by_asc(passkey_rows::Column::CreatedAt)
            .order_by_asc(passkey_rows::Column::Id)
            .all(connection)
            .await?;
        let app = authenticator_apps::Entity::find_by_id(username).one(connection).await?;
        let codes = code_rows::Entity::find().filter(code_rows::COLUMN.username.eq(username)).count(connection).await?;
        let to_passkey = |row: passkey_rows::Model| Passkey {
            id: row.id,
            name: row.name,
            created_at: time(row.created_at),
            last_used_at: row.last_used_at.map(time),
        };
        Ok(SecondFactors {
            passkeys: passkeys.into_iter().map(to_passkey).collect(),
            authenticator_app: app
                .map(|row| AuthenticatorApp { created_at: time(row.created_at), last_used_at: time(row.last_used_at) }),
            recovery_codes_left: u32::try_from(codes).unwrap_or(u32::MAX),
            required: self.requires_second_factor(user.role.0) && self.has_password(user),
        })
    }

    /// Whether the settings require a second factor of accounts with this role.
    fn requires_second_factor(&self, role: Role) -> bool {
        self.context.settings.accounts.second_factor_required.covers(role)
    }

    /// Whether a session may do nothing but set up a second factor: the settings require one and the account has none. A
    /// log-in at an identity provider relies on the second factor of the provider.
    pub(in crate::accounts) async fn needs_second_factor(
        &self,
        user: &users::Model,
        is_external: bool,
    ) -> Result<bool> {
        if is_external || !self.requires_second_factor(user.role.0) {
            return Ok(false);
        }
        Ok(!has_second_factor(&self.context.db.read, &user.username).await?)
    }

    /// Removes one second factor: a passkey by id, or `authenticator-app`. With the last one, the recovery codes become
    /// invalid. Administrators may remove those of every account. The account gets a notification.
    ///
    /// # Errors
    /// 403 for other users, for an own one by API token, and without a recent confirmation; 404 for an unknown account or
    /// factor; 409 for the own last one if the settings require one.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn remove_second_factor(&self, actor: &Actor, username: &str, id: &str) -> Result<(), Problem> {
        let is_own = actor.username == username;
        authorize(actor, if is_own { Action::ManageOwnFactors } else { Action::ManageUsers })?;
        if is_own {
            require_session(actor)?;
        }
        self.context.require_confirmation(actor).await?;
        let notification = self.delete_factor(actor, username, id).await?;
        self.invalidate_credentials();
        self.feed.publish(vec![notification]);
        Ok(())
    }

    async fn delete_factor(&self, actor: &Actor, username: &str, id: &str) -> Result<Change> {
        let tx = self.context.begin_change().await?;
        let user = lock_user(&tx, username).await?;
        let factors = self.factors_of(&*tx, &user).await?;
        let name = match factors.passkeys.iter().find(|passkey| passkey.id == id) {
            Some(passkey) => format!("passkey \"{}\"", passkey.name),
            None if id == APP_ID && factors.authenticator_app.is_some() => "authenticator app".to_owned(),
            None => return Err(Problem::not_found("second factor").into()),
        };
        let is_last = factors.count() == 1;
        if is_last && factors.required && actor.username == username {
            return Err(Problem::conflict(
                "Your account needs a second factor, and this is the last one. Add another one first.",
            )
            .into());
        }
        if id == APP_ID {
            authenticator_apps::Entity::delete_by_id(username).exec(&tx).await?;
        } else {
            passkey_rows::Entity::delete_by_id(id).exec(&tx).await?;
        }
        if is_last {
            delete_codes(&*tx, username).await?;
        }
        let message = if actor.username == username {
            format!("The {name} was removed from your account. If this was not you, inform an administrator.")
        } else {
            format!("The {name} was removed from your account by {}.", actor.username)
        };
        let notification = self.notify_owner(&tx, username, &message).await?;
        let target = Target::new(AuditTargetType::User, username);
        let changes = Changes::none().field("second_factor", &name, ());
        tx.commit(Record::new(actor, AuditAction::SecondFactorRemoved, target).changes(changes)).await?;
        Ok(notification)
    }

    /// Removes all second factors of another account, e.g. after the loss of a device (administrators). The account gets
    /// a notification.
    ///
    /// # Errors
    /// 403 for other users and without a recent confirmation; 404 for an unknown account; 409 for the own account, or if
    /// there is no second factor.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn reset_second_factors(&self, actor: &Actor, username: &str) -> Result<(), Problem> {
        authorize(actor, Action::ManageUsers)?;
        if actor.username == username {
            return Err(Problem::conflict("Remove your own second factors one by one in Settings → Account."));
        }
        self.context.require_confirmation(actor).await?;
        self.reset(Author::User(actor), username, &actor.username).await
    }

    /// Removes all second factors of an account. For the command line, where access to the machine is the authorisation.
    ///
    /// # Errors
    /// 404 for an unknown account; 409 if there is no second factor.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn reset_second_factors_as_operator(&self, username: &str) -> Result<(), Problem> {
        self.reset(Author::Operator, username, "the operator").await
    }

    async fn reset(&self, author: Author<'_>, username: &str, by: &str) -> Result<(), Problem> {
        let notification = self.delete_factors(author, username, by).await?;
        self.invalidate_credentials();
        self.feed.publish(vec![notification]);
        Ok(())
    }

    async fn delete_factors(&self, author: Author<'_>, username: &str, by: &str) -> Result<Change> {
        let tx = self.context.begin_change().await?;
        let user = lock_user(&tx, username).await?;
        let factors = self.factors_of(&*tx, &user).await?;
        if factors.is_empty() {
            return Err(Problem::conflict(format!("The account {username} has no second factor.")).into());
        }
        passkey_rows::Entity::delete_many().filter(passkey_rows::COLUMN.username.eq(username)).exec(&tx).await?;
        authenticator_apps::Entity::delete_by_id(username).exec(&tx).await?;
        delete_codes(&*tx, username).await?;
        let message = format!("All second factors of your account were removed by {by}.");
        let notification = self.notify_owner(&tx, username, &message).await?;
        let names: Vec<&str> = factors.passkeys.iter().map(|passkey| passkey.name.as_str()).collect();
        let changes = Changes::none().field("passkeys", names, ()).field(
            "authenticator_app",
            factors.authenticator_app.is_some(),
            (),
        );
        let target = Target::new(AuditTargetType::User, username);
        tx.commit(Record::new(author, AuditAction::SecondFactorReset, target).changes(changes)).await?;
        Ok(notification)
    }

    /// Checks that the actor may add second factors to their own account now. Returns the id of the session.
    async fn check_may_add<'a>(&self, actor: &'a Actor) -> Result<&'a str, Problem> {
        authorize(actor, Action::ManageOwnFactors)?;
        let session = require_session(actor)?;
        if !self.has_password(&self.find_user(&actor.username).await?) {
            let names = self.context.settings.single_sign_on.names();
            return Err(Problem::conflict(format!(
                "Your account has no password. You log in with {names}, which can ask for a second factor itself."
            )));
        }
        self.context.require_confirmation(actor).await?;
        Ok(session)
    }

    /// Finishes a transaction that has added a second factor: creates recovery codes if the account has none, notifies
    /// its user, and records it. Returns the new recovery codes.
    async fn commit_added(
        &self,
        tx: AuditedTransaction,
        actor: &Actor,
        name: &str,
    ) -> Result<(Option<Vec<String>>, Change)> {
        let username = actor.username.as_str();
        let target = || Target::new(AuditTargetType::User, username);
        let changes = Changes::none().field("second_factor", (), name);
        let mut records = vec![Record::new(actor, AuditAction::SecondFactorAdded, target()).changes(changes)];
        let has_codes = code_rows::Entity::find().filter(code_rows::COLUMN.username.eq(username)).exists(&*tx).await?;
        let codes = if has_codes { None } else { Some(self.insert_codes(&tx, username).await?) };
        if codes.is_some() {
            records.push(Record::new(actor, AuditAction::RecoveryCodesCreated, target()).detail("They were shown."));
        }
        let message =
            format!("A second factor was added to your account: {name}. If this was not you, inform an administrator.");
        let notification = self.notify_owner(&tx, username, &message).await?;
        tx.commit(records).await?;
        Ok((codes, notification))
    }

    /// Notifies the user of an account about a change of its second factors.
    async fn notify_owner(&self, tx: &AuditedTransaction, username: &str, message: &str) -> Result<Change> {
        let (recipient, link) = (Recipient::User(username), Some(ACCOUNT_PATH));
        let notification = self.notifications.create(tx, recipient, Severity::Warning, message, link).await?;
        Ok(Change::Notification(notification))
    }
}

/// Rejects an API token, so that one that was stolen changes no second factor of its owner.
/// Returns the id of the session.
fn require_session(actor: &Actor) -> Result<&str, Problem> {
    actor.session.as_ref().map(|session| session.id.as_str()).ok_or_else(|| {
        Problem::forbidden("An API token cannot change the second factors of its owner. Log in on the page.")
    })
}

/// Whether an account has a passkey or an authenticator app.
pub(super) async fn has_second_factor(connection: &impl ConnectionTrait, username: &str) -> Result<bool> {
    let passkeys = passkey_rows::Entity::find().filter(passkey_rows::COLUMN.username.eq(username));
    Ok(passkeys.exists(connection).await?
        || authenticator_apps::Entity::find_by_id(username).exists(connection).await?)
}

/// The row of an account, locked until the end of the transaction; 404 if there is none.
async fn lock_user(tx: &AuditedTransaction, username: &str) -> Result<users::Model> {
    let user = users::Entity::find_by_id(username).lock_exclusive().one(&**tx).await?;
    Ok(user.ok_or_else(|| Problem::not_found("user"))?)
}

async fn delete_codes(connection: &impl ConnectionTrait, username: &str) -> Result<()> {
    code_rows::Entity::delete_many().filter(code_rows::COLUMN.username.eq(username)).exec(connection).await?;
    Ok(())
}
