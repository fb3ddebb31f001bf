//! User accounts.

use super::session_list::delete_sessions;
use super::sessions::has_session_id;
use super::tokens::delete_tokens;
use super::{Accounts, password_policy, passwords};
use crate::audit_trail::{Author, Record, Target};
use crate::db::codec::time;
use crate::db::column::Text;
use crate::db::entity::users;
use crate::db::link::DatabaseTransaction;
use crate::db::table_lock::lock_users;
use crate::notifications::Recipient;
use crate::pagination::{decode_cursor, page_of};
use crate::{Error, Result};
use domain::account::{User, UserInput, UserPatch};
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::authorization::{Action, Actor, Role, authorize};
use domain::change::{Change, Notification, Severity};
use domain::pagination::{Page, PageQuery};
use domain::problem::Validator;
use domain::{Problem, validation};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _, NotSet, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, SelectExt as _, Set,
};
use tracing::instrument;

impl Accounts {
    /// Lists all accounts by username (administrators and auditors).
    ///
    /// # Errors
    /// 403 for other users.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn list_users(&self, actor: &Actor) -> Result<Vec<User>, Problem> {
        authorize(actor, Action::ReadUsers)?;
        Ok(self.all_users().await?)
    }

    /// One page of all accounts by username (administrators and auditors).
    ///
    /// # Errors
    /// 403 for other users; 422 for an invalid limit or cursor.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn list_users_page(&self, actor: &Actor, page: &PageQuery) -> Result<Page<User>, Problem> {
        authorize(actor, Action::ReadUsers)?;
        let limit = page.limit()?;
        let after = decode_cursor(page.cursor.as_deref())?.unwrap_or_default();
        let users = self.users_after(&after, limit + 1).await?;
        Ok(page_of(users, limit, |user| user.username.clone()))
    }

    async fn users_after(&self, username: &str, limit: u64) -> Result<Vec<User>> {
        let users = users::Entity::find()
            .filter(users::COLUMN.username.gt(username))
            .order_by_asc(users::Column::Username)
            .limit(limit)
            .all(&self.context.db.read)
            .await?;
        Ok(users.into_iter().map(|user| self.to_user(user)).collect())
    }

    async fn all_users(&self) -> Result<Vec<User>> {
        let users = users::Entity::find().order_by_asc(users::Column::Username).all(&self.context.db.read).await?;
        Ok(users.into_iter().map(|user| self.to_user(user)).collect())
    }

    /// Creates an account (administrators).
    ///
    /// # Errors
    /// 403 for other users and without a recent confirmation; 409 if the username is taken; 422 that names invalid fields.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn create_user(&self, actor: &Actor, input: UserInput) -> Result<User, Problem> {
        authorize(actor, Action::ManageUsers)?;
        validate_new(&input)?;
        self.context.require_confirmation(actor).await?;
        self.create_account(Author::User(actor), input).await
    }

    /// Creates an account without an actor. For the command line and the demo, where access to the machine is the
    /// authorisation.
    ///
    /// # Errors
    /// 409 if the username is taken; 422 that names invalid fields.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn create_user_as_operator(&self, input: UserInput) -> Result<User, Problem> {
        self.create_account(Author::Operator, input).await
    }

    async fn create_account(&self, author: Author<'_>, input: UserInput) -> Result<User, Problem> {
        validate_new(&input)?;
        let username = input.username.clone();
        let account = self.new_account(input).await?;
        self.insert_user(author, account, &username).await?;
        self.get_user(&username).await
    }

    async fn insert_user(&self, author: Author<'_>, account: users::ActiveModel, username: &str) -> Result<()> {
        let tx = self.context.begin_change().await?;
        self.check_is_unused(&*tx, username).await?;
        let inserted = users::Entity::insert(account).exec_without_returning(&tx).await;
        inserted.map_err(|error| {
            Error::on_unique_violation(error, || {
                Problem::conflict(format!("The username {username} is taken. Choose another one."))
            })
        })?;
        let record = self.created(&tx, author, username).await?;
        tx.commit(record).await
    }

    /// The row of a new account, with the password hashed.
    pub(super) async fn new_account(&self, input: UserInput) -> Result<users::ActiveModel, Problem> {
        Ok(users::ActiveModel {
            username: Set(input.username),
            email: Set(input.email),
            password_hash: Set(passwords::hash(input.password.into()).await?),
            role: Set(Text(input.role)),
            disabled: Set(false),
            ssh_key: Set(String::new()),
            created_at: Set(self.context.now().timestamp_millis()),
            role_provider: NotSet,
        })
    }

    /// An account by username.
    ///
    /// # Errors
    /// 404 if there is none.
    pub(crate) async fn get_user(&self, username: &str) -> Result<User, Problem> {
        Ok(self.to_user(self.find_user(username).await?))
    }

    /// The row of an account; 404 if there is none.
    pub(super) async fn find_user(&self, username: &str) -> Result<users::Model> {
        let user = users::Entity::find_by_id(username).one(&self.context.db.read).await?;
        Ok(user.ok_or_else(|| Problem::not_found("user"))?)
    }

    /// An account by username, from the credential cache if possible: each reservation reads it.
    pub(crate) async fn user_cached(&self, username: &str) -> Result<User, Problem> {
        let cached = self.state.credentials.lock().user(username);
        match cached {
            Some(user) => Ok(user),
            None => self.get_user(username).await,
        }
    }

    /// Changes an account. Administrators may change every account, other users their own e-mail address, password and
    /// key.
    ///
    /// To change their own password, users must send the current one; to change their own e-mail address or key, they
    /// must send it or have logged in within the last minutes. A new password ends the account's other sessions, and
    /// deletes its API tokens unless `patch.keep_tokens` is true. Disabling an account does both. The account gets a
    /// notification. `patch.reservations` is only validated here;
    /// [`Service::update_user`](crate::Service::update_user) applies it.
    ///
    /// # Errors
    /// 403 for other users and without a recent confirmation; 404 for an unknown account; 409 for the last enabled
    /// administrator; 422 naming invalid fields; 429 after too many wrong passwords.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn update_user(&self, actor: &Actor, username: &str, patch: UserPatch) -> Result<User, Problem> {
        let is_own = actor.username == username;
        let needs_administrator = !is_own || patch.role.is_some() || patch.disabled.is_some();
        authorize(actor, if needs_administrator { Action::ManageUsers } else { Action::ManageOwnTokens })?;
        let stored = self.get_user(username).await?;
        validate_patch(&patch, &stored, is_own)?;
        self.check_role_is_local(&patch, &stored)?;
        let changes_password = patch.password.is_some();
        let mut change = UserChange {
            email: patch.email.filter(|email| *email != stored.email),
            role: patch.role,
            disabled: patch.disabled,
            ssh_key: patch.ssh_key.map(|key| key.trim().to_owned()).filter(|key| *key != stored.ssh_key),
            password_hash: None,
            deletes_tokens: changes_password && patch.keep_tokens != Some(true),
        };
        if is_own && changes_password {
            let current = patch.current_password.unwrap_or_default();
            self.check_current_password(username, current, "current_password").await?;
        } else if is_own && (change.email.is_some() || change.ssh_key.is_some()) {
            self.confirm_identity(actor, patch.current_password).await?;
        }
        if needs_administrator {
            self.context.require_confirmation(actor).await?;
        }
        if let Some(password) = patch.password {
            change.password_hash = Some(passwords::hash(password.into()).await?);
        }
        let notification = self.apply(actor, username, change).await?;
        self.invalidate_credentials();
        self.feed.publish(notification.map(Change::Notification).into_iter().collect());
        self.get_user(username).await
    }

    /// The account of a row, as the present settings let its user log in.
    pub(super) fn to_user(&self, user: users::Model) -> User {
        let settings = &self.context.settings.single_sign_on;
        User {
            has_password: self.has_password(&user),
            role_provider: settings.manages_roles(user.role_provider.as_deref()).map(|provider| provider.name.clone()),
            username: user.username,
            email: user.email,
            role: user.role.0,
            disabled: user.disabled,
            ssh_key: user.ssh_key,
            created_at: time(user.created_at),
        }
    }

    /// An account as the transaction sees it, locked until its end.
    pub(crate) async fn lock_in(&self, tx: &DatabaseTransaction, username: &str) -> Result<User> {
        let user = users::Entity::find_by_id(username).lock_exclusive().one(tx).await?;
        Ok(user.map(|user| self.to_user(user)).ok_or_else(|| Problem::not_found("user"))?)
    }

    /// Fails with 409 unless another enabled administrator exists. Holds a lock until the end of the transaction, so that
    /// two administrators cannot disable each other at the same time.
    pub(crate) async fn require_other_administrator(&self, tx: &DatabaseTransaction, username: &str) -> Result<()> {
        lock_users(tx).await?;
        let exists = users::Entity::find()
            .filter(users::COLUMN.role.eq(Text(Role::Administrator)))
            .filter(users::COLUMN.disabled.eq(false))
            .filter(users::COLUMN.username.ne(username))
            .exists(tx)
            .await?;
        if !exists {
            return Err(Problem::conflict(
                "This is the last enabled administrator. Make another user an administrator first.",
            )
            .into());
        }
        Ok(())
    }

    /// The entry of the audit log about an account that the transaction has created.
    pub(super) async fn created(&self, tx: &DatabaseTransaction, author: Author<'_>, username: &str) -> Result<Record> {
        let user = self.lock_in(tx, username).await?;
        let changes = Changes::created(&user).secret_if(user.has_password, "password");
        Ok(Record::new(author, AuditAction::UserCreated, Target::new(AuditTargetType::User, username)).changes(changes))
    }

    /// Whether an account can log in with a password.
    pub(super) fn has_password(&self, user: &users::Model) -> bool {
        !user.password_hash.is_empty() && self.context.settings.single_sign_on.accepts_password_of(&user.username)
    }

    /// Rejects a new role if the groups at an identity provider decide on it: the next log-in would undo the change.
    fn check_role_is_local(&self, patch: &UserPatch, stored: &User) -> Result<(), Problem> {
        let settings = &self.context.settings.single_sign_on;
        let Some(provider) = settings.manages_roles(stored.role_provider.as_deref()) else { return Ok(()) };
        if patch.role.is_none_or(|role| role == stored.role) {
            return Ok(());
        }
        let name = &provider.display_name;
        Err(Problem::field("role", format!("The groups at {name} decide on this role. Change the groups there.")))
    }

    /// Applies a change, and returns the notification to the account.
    async fn apply(&self, actor: &Actor, username: &str, change: UserChange) -> Result<Option<Notification>> {
        let disables = change.disabled == Some(true);
        let ends_sessions = disables || change.password_hash.is_some();
        let deletes_tokens = disables || change.deletes_tokens;
        let tx = self.context.begin_change().await?;
        if disables || change.role.is_some_and(|role| role != Role::Administrator) {
            self.require_other_administrator(&tx, username).await?;
        }
        let secrets = Changes::none().secret_if(change.password_hash.is_some(), "password");
        // Locked, so that the logged change is the one that is made.
        let before = self.lock_in(&tx, username).await?;
        let message = change.message(actor, username, before.role);
        // Absent fields are not written, so that concurrent changes of other fields are kept.
        let change = change.into_active_model();
        if change.is_changed() {
            let update = users::Entity::update_many().set(change).filter(users::COLUMN.username.eq(username));
            update.exec(&tx).await?;
        }
        if ends_sessions {
            // The session in which users change their own password continues.
            let current = actor.session.as_ref().filter(|_| actor.username == username && !disables);
            let current = current.and_then(|session| has_session_id(&session.id));
            delete_sessions(&tx, username, current).await?;
        }
        if deletes_tokens {
            delete_tokens(&tx, username).await?;
        }
        let notification = match message {
            Some(message) => {
                let (recipient, link) = (Recipient::User(username), Some("/settings/account"));
                Some(self.notifications.create(&tx, recipient, Severity::Warning, &message, link).await?)
            }
            None => None,
        };
        let after = self.lock_in(&tx, username).await?;
        let changes = Changes::between(&before, &after).and(secrets);
        let detail = match (ends_sessions, deletes_tokens) {
            (true, true) => "Sessions were ended and API tokens revoked.",
            (true, false) => "Sessions were ended.",
            _ => "",
        };
        if changes.is_empty() {
            tx.commit(Vec::new()).await?;
        } else {
            let target = Target::new(AuditTargetType::User, username);
            tx.commit(Record::new(actor, AuditAction::UserUpdated, target).changes(changes).detail(detail)).await?;
        }
        Ok(notification)
    }
}

/// New values of an account; absent ones are kept.
struct UserChange {
    email: Option<String>,
    role: Option<Role>,
    disabled: Option<bool>,
    ssh_key: Option<String>,
    password_hash: Option<String>,
    deletes_tokens: bool,
}

impl UserChange {
    /// The notification to the account, so that its user detects a change by somebody else.
    fn message(&self, actor: &Actor, username: &str, old_role: Role) -> Option<String> {
        let changed = [
            (self.role.is_some_and(|role| role != old_role), "role"),
            (self.password_hash.is_some(), "password"),
            (self.email.is_some(), "e-mail address"),
            (self.ssh_key.is_some(), "SSH key"),
        ];
        let changed: Vec<&str> =
            changed.into_iter().filter(|(is_changed, _)| *is_changed).map(|(_, name)| name).collect();
        if changed.is_empty() {
            return None;
        }
        let what = changed.join(" and ");
        let tokens = if self.deletes_tokens { " Your API tokens were revoked." } else { "" };
        Some(if actor.username == username {
            format!("Your {what} was changed. If this was not you, inform an administrator.{tokens}")
        } else {
            format!("Your {what} was changed by {}.{tokens}", actor.username)
        })
    }

    fn into_active_model(self) -> users::ActiveModel {
        users::ActiveModel {
            email: self.email.map_or(NotSet, Set),
            role: self.role.map(Text).map_or(NotSet, Set),
            disabled: self.disabled.map_or(NotSet, Set),
            ssh_key: self.ssh_key.map_or(NotSet, Set),
            password_hash: self.password_hash.map_or(NotSet, Set),
            ..Default::default()
        }
    }
}

pub(super) async fn any_user(connection: &impl ConnectionTrait) -> Result<bool, DbErr> {
    users::Entity::find().exists(connection).await
}

pub(super) fn validate_new(input: &UserInput) -> Result<(), Problem> {
    let mut validator = Validator::new();
    validator.check("username", validation::username(&input.username));
    validator.check("email", validation::email(&input.email));
    password_policy::check(&mut validator, &input.password, &input.username, &input.email);
    validator.finish()
}

fn validate_patch(patch: &UserPatch, stored: &User, is_own: bool) -> Result<(), Problem> {
    let mut validator = Validator::new();
    if patch.reservations.is_some() && patch.disabled != Some(true) {
        validator.error("reservations", "Send this only with disabled: true.");
    }
    if patch.keep_tokens.is_some() && patch.password.is_none() {
        validator.error("keep_tokens", "Send this only with a new password.");
    }
    if let Some(email) = &patch.email {
        validator.check("email", validation::email(email));
    }
    if let Some(password) = &patch.password {
        let email = patch.email.as_deref().unwrap_or(&stored.email);
        password_policy::check(&mut validator, password, &stored.username, email);
        if is_own && patch.current_password.as_deref().unwrap_or_default().is_empty() {
            validator.error("current_password", "Enter your current password too.");
        }
    }
    if let Some(key) = patch.ssh_key.as_deref().filter(|key| !key.trim().is_empty()) {
        validator.check("ssh_key", validation::ssh_key(key));
    }
    validator.finish()
}
