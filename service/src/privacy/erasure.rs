//! The erasure of an account in one transaction.

use super::Privacy;
use super::rows::{ErasedRows, count_active, count_queued, request_ids, reservation_ids};
use crate::Result;
use crate::audit_trail::{AuditedTransaction, ErasedSubject, Record, Target};
use crate::db::entity::{erased_usernames, users};
use crate::secrets::random;
use domain::Problem;
use domain::account::User;
use domain::audit::{AuditAction, AuditTargetType};
use domain::authorization::{Action, Actor, Role, authorize};
use domain::privacy::{Erasure, ErasureInput, PSEUDONYM_PREFIX, Pseudonymizer};
use sea_orm::{ConnectionTrait, EntityTrait as _, Set};
use std::collections::HashSet;
use tracing::instrument;

/// A new pseudonym, which nobody can guess.
fn new_pseudonym() -> String {
    format!("{PSEUDONYM_PREFIX}{}", hex::encode(random::<8>()))
}

impl Privacy {
    /// Erases an account. Administrators may erase every account, other users their own.
    ///
    /// Sessions, API tokens, links to identity providers, grants, notifications, e-mail address and SSH key are deleted. A
    /// pseudonym replaces the name in reservations, access requests, the delivery log and the audit log. The user's pending
    /// access requests are denied. The username cannot be used again.
    ///
    /// # Errors
    /// 403 for other users, and without a recent confirmation; 404 for an unknown account; 409 for the last enabled and for the break-glass administrator, and
    /// while the user has active reservations, queued deliveries or resources that are not released; 409 if the audit log is
    /// not intact; 422 for `current_password`; 429 after too many wrong passwords.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn erase(&self, actor: &Actor, username: &str, input: ErasureInput) -> Result<Erasure, Problem> {
        let is_own = actor.username == username;
        let needs_administrator = !is_own || input.ignore_unreleased;
        authorize(actor, if needs_administrator { Action::ManageUsers } else { Action::ManageOwnTokens })?;
        let user = self.accounts.get_user(username).await?;
        if self.context.settings.single_sign_on.break_glass.as_deref() == Some(username) {
            return Err(Problem::conflict(
                "This is the break-glass administrator. Ask the operator to change BERTH_BREAK_GLASS_ADMIN first.",
            ));
        }
        if is_own {
            self.accounts.confirm_identity(actor, input.current_password.clone()).await?;
        } else {
            self.context.require_confirmation(actor).await?;
        }
        let erasure = self.erase_in_transaction(actor, &user, &input).await?;
        self.accounts.invalidate_credentials();
        Ok(erasure)
    }

    async fn erase_in_transaction(&self, actor: &Actor, stored: &User, input: &ErasureInput) -> Result<Erasure> {
        let username = stored.username.as_str();
        let names = Pseudonymizer::new(stored, &new_pseudonym());
        let mut subject = ErasedSubject { names: &names, objects: objects_of(&self.context.db.read, username).await? };
        // Before the transaction: the log is long, and its old entries do not change.
        let from = self.context.trail.first_entry_about(&self.context.db.read, &subject).await?;

        let tx = self.context.begin_change().await?;
        self.lock(&tx, stored).await?;
        check_is_erasable(&tx, username).await?;
        subject.objects = objects_of(&*tx, username).await?;
        let mut author = actor.clone();
        names.replace_name(&mut author.username);
        let rows = ErasedRows { context: &self.context, tx: &tx, names: &names };
        let counts = rows.pseudonymize(&author.username).await?;
        if counts.unreleased > 0 && !input.ignore_unreleased {
            return Err(unreleased(counts.unreleased).into());
        }
        self.accounts.delete_budgets(&tx, username).await?;
        // Sessions, tokens, identities, grants and marks of read notifications are deleted with it.
        users::Entity::delete_by_id(username).exec(&tx).await?;
        let erased = erased_usernames::ActiveModel {
            digest: Set(self.context.trail.username_digest(username)),
            erased_at: Set(self.context.now().timestamp_millis()),
        };
        erased_usernames::Entity::insert(erased).on_conflict_do_nothing().exec_without_returning(&tx).await?;
        let target = Target::new(AuditTargetType::User, names.pseudonym());
        let record = Record::new(&author, AuditAction::AccountErased, target);
        let audit_entries = tx.commit_erasure(&subject, from, record).await?;
        tracing::info!(pseudonym = names.pseudonym(), "an account was erased");
        Ok(Erasure {
            pseudonym: names.pseudonym().to_owned(),
            reservations: counts.reservations,
            access_requests: counts.access_requests,
            deliveries: counts.deliveries,
            audit_entries,
        })
    }

    /// Locks the account, so that it gets no reservation or access request meanwhile.
    async fn lock(&self, tx: &AuditedTransaction, stored: &User) -> Result<()> {
        let is_administrator = |user: &User| user.role == Role::Administrator;
        // First, because the table is locked before its rows everywhere.
        if is_administrator(stored) {
            self.accounts.require_other_administrator(tx, &stored.username).await?;
        }
        let locked = self.accounts.lock_in(tx, &stored.username).await?;
        if (is_administrator(&locked) && !is_administrator(stored))
            || locked.email != stored.email
            || locked.ssh_key != stored.ssh_key
        {
            return Err(Problem::conflict("The account has just been changed. Try again.").into());
        }
        Ok(())
    }
}

/// The ids of the reservations and access requests of a user.
async fn objects_of(connection: &impl ConnectionTrait, username: &str) -> Result<HashSet<String>> {
    let mut ids = reservation_ids(connection, username).await?;
    ids.extend(request_ids(connection, username).await?);
    Ok(ids.into_iter().collect())
}

/// Refuses while a receiver needs the username.
async fn check_is_erasable(tx: &AuditedTransaction, username: &str) -> Result<()> {
    let active = count_active(tx, username).await?;
    if active > 0 {
        return Err(Problem::conflict(format!(
            "{username} has {}. Cancel them, or wait until they have ended; then erase the account.",
            counted(active, "active reservation")
        ))
        .into());
    }
    let queued = count_queued(tx, username).await?;
    if queued > 0 {
        return Err(Problem::conflict(format!(
            "{} about {username} must reach their receivers first, which release resources by the username. Wait a \
             moment. If a webhook is paused, resume it or discard its queue.",
            counted(queued, "event")
        ))
        .into());
    }
    Ok(())
}

fn unreleased(count: u64) -> Problem {
    Problem::conflict(format!(
        "{} not released. Wait for the receivers or redeliver the events; their later events do not contain the username. An \
         administrator can ignore this.",
        if count == 1 {
            "The resource of 1 reservation is".to_owned()
        } else {
            format!("Resources of {count} reservations are")
        }
    ))
}

fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
