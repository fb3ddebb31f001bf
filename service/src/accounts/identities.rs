//! Accounts of users of identity providers.
//!
//! An account is found by issuer and subject only. Username and e-mail address can belong to another person tomorrow.

use super::session_list::delete_sessions;
use super::sessions::{end_replaced_session, has_session_id, started};
use super::users::any_user;
use super::{Accounts, LogInClient, LoggedIn};
use crate::audit_trail::{Author, Record, Target};
use crate::db::codec::time;
use crate::db::column::Text;
use crate::db::entity::{identities, sessions, users};
use crate::db::link::DatabaseTransaction;
use crate::notifications::Recipient;
use crate::secrets::{SecretUse, digest, new_token};
use crate::settings::ProviderSettings;
use crate::{Error, Result};
use chrono::{DateTime, Utc};
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::authorization::{Action, Actor, Role, authorize};
use domain::change::{Change, Severity};
use domain::problem::Validator;
use domain::single_sign_on::{Claims, Identity, IdentityInput, Rejection, validate_subject};
use domain::{Problem, ProblemKind};
use sea_orm::sea_query::ExprTrait as _;
use sea_orm::{
    ConnectionTrait, EntityTrait as _, NotSet, QueryFilter as _, QueryOrder as _, QuerySelect as _, SelectExt as _, Set,
};
use secrecy::{ExposeSecret as _, SecretString};
use tracing::instrument;

/// Prefix of the public id of an identity.
const ID_PREFIX: &str = "idn_";
/// Length of the public id after the prefix, in hex digits.
const ID_LEN: usize = 32;
/// The time at which a user entered a credential, if the provider does not state it. It is never recent.
const UNKNOWN: i64 = 0;

/// A verified user of a provider who logs in.
pub(crate) struct ExternalLogIn<'a> {
    pub(crate) provider: &'a ProviderSettings,
    /// Identifier of the user at the provider.
    pub(crate) subject: String,
    pub(crate) claims: Claims,
    /// Time at which the user entered a credential, if known.
    pub(crate) authenticated_at: Option<DateTime<Utc>>,
    /// Session at the provider.
    pub(crate) session: Option<String>,
    pub(crate) id_token: SecretString,
}

impl ExternalLogIn<'_> {
    /// The author of what the log-in causes; without a username if the user has no account.
    fn author<'a>(&'a self, username: Option<&'a str>) -> Author<'a> {
        let identity = identity_id(&self.provider.issuer, &self.subject);
        Author::IdentityProvider { username, identity, provider: &self.provider.display_name }
    }
}

/// The account of a log-in, with the changes that the log-in has made.
struct Opened {
    user: users::Model,
    /// Whether credentials in the caches are outdated.
    has_changed: bool,
    /// The entries of the audit log about the changes.
    records: Vec<Record>,
    /// Notifications to publish after the commit.
    notifications: Vec<Change>,
}

impl Accounts {
    /// Logs a user of a provider in, and ends the present session of the same browser. The first log-in creates an
    /// account, if the provider may do so. The groups decide on the role.
    ///
    /// # Errors
    /// 403 if the account is disabled, or the rules refuse the user; 409 if the username belongs to another account.
    pub(crate) async fn log_in_externally(
        &self,
        external: ExternalLogIn<'_>,
        client: LogInClient,
    ) -> Result<LoggedIn, Problem> {
        let name = external.provider.name.clone();
        let result = self.open_external_session(&external, &client).await;
        let outcome = if result.is_ok() { "succeeded" } else { "rejected" };
        metrics::counter!("berth_oidc_log_ins_total", "provider" => name.clone(), "outcome" => outcome).increment(1);
        let (username, token) = match result {
            Ok(opened) => opened,
            Err(problem) => {
                tracing::info!(provider = %name, subject = %external.subject, %problem, "a log-in was refused");
                let target = Target::new(AuditTargetType::User, "");
                let record = Record::new(external.author(None), AuditAction::SessionRejected, target);
                self.context.trail.write_failure(record.detail(&problem.detail)).await;
                return Err(problem);
            }
        };
        let device = self.known_device(client.device.as_deref(), &username);
        let device = self.device_cookie(device, &username)?;
        let (_, info) = self.authenticate_session(&token).await?;
        Ok(LoggedIn { info, token, device })
    }

    async fn open_external_session(
        &self,
        external: &ExternalLogIn<'_>,
        client: &LogInClient,
    ) -> Result<(String, String), Problem> {
        let role = match external.provider.claims.role(&external.claims) {
            Ok(role) => role,
            Err(rejection) => {
                self.end_external_sessions(&external.provider.issuer, Some(&external.subject), None).await?;
                return Err(rejected(external, &rejection));
            }
        };
        let token = new_token();
        let id_token = self.cipher.encrypt(SecretUse::IdToken(&digest(&token)), external.id_token.expose_secret())?;
        let opened = self.insert_external_session(external, client, role, &token, id_token).await?;
        if opened.has_changed {
            self.invalidate_credentials();
        }
        Ok((opened.user.username, token))
    }

    async fn insert_external_session(
        &self,
        external: &ExternalLogIn<'_>,
        client: &LogInClient,
        role: Option<Role>,
        token: &str,
        id_token: String,
    ) -> Result<Opened> {
        let now = self.context.now();
        let issuer = external.provider.issuer.as_str();
        let tx = self.context.begin_change().await?;
        let identity = identities::Entity::find_by_id((issuer.to_owned(), external.subject.clone())).one(&tx).await?;
        let mut opened = match identity {
            Some(identity) => self.update_external(&tx, external, &identity.username, role).await?,
            None => self.insert_external(&tx, external, role).await?,
        };
        identities::Entity::update_many()
            .set(identities::ActiveModel { last_used_at: Set(Some(now.timestamp_millis())), ..Default::default() })
            .filter(identities::COLUMN.issuer.eq(issuer))
            .filter(identities::COLUMN.subject.eq(external.subject.as_str()))
            .exec(&tx)
            .await?;
        let replaced = end_replaced_session(&tx, client, external.author(Some(&opened.user.username))).await?;
        opened.has_changed |= replaced.is_some();
        opened.records.extend(replaced);
        let authenticated_at = external.authenticated_at.map_or(UNKNOWN, |at| at.timestamp_millis());
        let row = sessions::ActiveModel {
            issuer: Set(Some(issuer.to_owned())),
            provider_session: Set(external.session.as_deref().map(|session| session_digest(issuer, session))),
            id_token: Set(Some(id_token)),
            authenticated_at: Set(Some(authenticated_at)),
            ..self.session_row(&opened.user.username, token, client)
        };
        sessions::Entity::insert(row).exec_without_returning(&tx).await?;
        let author = external.author(Some(&opened.user.username));
        opened.records.push(started(author, token, &client.description(), ""));
        let is_known = self.known_device(client.device.as_deref(), &opened.user.username).is_some();
        let new_browser = self.notify_new_browser(&tx, &opened.user.username, client, is_known).await?;
        opened.notifications.extend(new_browser);
        tx.commit(std::mem::take(&mut opened.records)).await?;
        self.feed.publish(std::mem::take(&mut opened.notifications));
        Ok(opened)
    }

    /// Applies the groups to the account of an identity. A lower role ends the sessions of the account.
    async fn update_external(
        &self,
        tx: &DatabaseTransaction,
        external: &ExternalLogIn<'_>,
        username: &str,
        role: Option<Role>,
    ) -> Result<Opened> {
        // The lock serialises the log-in with a change of the account.
        let user = users::Entity::find_by_id(username).lock_exclusive().one(tx).await?;
        let mut user = user.ok_or_else(|| Problem::not_found("user"))?;
        if user.disabled {
            return Err(Problem::forbidden("This account is disabled. Ask an administrator to enable it.").into());
        }
        let name = Some(external.provider.name.as_str());
        let managed_by = match role {
            Some(_) => name.map(str::to_owned),
            // The provider does not manage roles any more.
            None => user.role_provider.clone().filter(|provider| Some(provider.as_str()) != name),
        };
        let new_role = role.unwrap_or(user.role.0);
        let has_changed = new_role != user.role.0 || managed_by != user.role_provider;
        let loses_administrator = user.role.0 == Role::Administrator && new_role != Role::Administrator;
        let mut records = Vec::new();
        if has_changed {
            let changes = Changes::none().field("role", user.role.0, new_role);
            let changes = changes.field("role_provider", &user.role_provider, &managed_by);
            let detail = if loses_administrator { "Sessions were ended." } else { "" };
            let target = Target::new(AuditTargetType::User, username);
            let record = Record::new(external.author(Some(username)), AuditAction::UserUpdated, target);
            records.push(record.changes(changes).detail(detail));
            let change = users::ActiveModel {
                role: Set(Text(new_role)),
                role_provider: Set(managed_by.clone()),
                ..Default::default()
            };
            users::Entity::update_many().set(change).filter(users::COLUMN.username.eq(username)).exec(tx).await?;
        }
        if loses_administrator {
            delete_sessions(tx, username, None).await?;
            tracing::warn!(username, provider = %external.provider.name, "a user lost the role administrator");
        } else if new_role != user.role.0 {
            tracing::info!(username, provider = %external.provider.name, role = new_role.as_str(), "a role changed");
        }
        let mut notifications = Vec::new();
        if new_role != user.role.0 {
            notifications.push(self.notify_new_role(tx, username, new_role.as_str()).await?);
        }
        user.role = Text(new_role);
        user.role_provider = managed_by;
        Ok(Opened { user, has_changed, records, notifications })
    }

    /// Creates the account of a user who logs in for the first time, or links an existing one.
    async fn insert_external(
        &self,
        tx: &DatabaseTransaction,
        external: &ExternalLogIn<'_>,
        role: Option<Role>,
    ) -> Result<Opened> {
        let provider = external.provider;
        let username = provider.claims.username(&external.claims).map_err(|reason| rejected(external, &reason))?;
        let existing = users::Entity::find_by_id(username.as_str()).one(tx).await?;
        if existing.is_some() {
            let break_glass = self.context.settings.single_sign_on.break_glass.as_deref();
            if !provider.links_by_username || break_glass == Some(username.as_str()) {
                return Err(taken(external, &username).into());
            }
            if has_identity(tx, &username, &provider.issuer).await? {
                return Err(taken(external, &username).into());
            }
            self.insert_identity(tx, &provider.issuer, &external.subject, &username).await?;
            let mut opened = self.update_external(tx, external, &username, role).await?;
            let author = external.author(Some(&username));
            opened.records.insert(0, linked(author, provider, &external.subject, &username));
            return Ok(Opened { has_changed: true, ..opened });
        }
        if !provider.creates_accounts {
            return Err(Problem::forbidden(format!(
                "You have no account here, and {} does not create one. Ask an administrator to link an account to the \
                 subject {}.",
                provider.display_name, external.subject
            ))
            .into());
        }
        let Some(email) = provider.claims.email(&external.claims) else {
            return Err(Problem::forbidden(format!(
                "{} sent no verified e-mail address, which a new account needs. Verify your address there, or ask an \
                 administrator.",
                provider.display_name
            ))
            .into());
        };
        if role != Some(Role::Administrator) && !any_user(tx).await? {
            // The first account ends the set-up, which would leave Berth without an administrator.
            return Err(Problem::forbidden("Berth is not set up yet. An administrator must log in first.").into());
        }
        self.check_is_unused(tx, &username).await?;
        let row = users::Model {
            username: username.clone(),
            email: email.to_owned(),
            // No password matches this hash.
            password_hash: String::new(),
            role: Text(role.unwrap_or(Role::User)),
            disabled: false,
            ssh_key: String::new(),
            created_at: self.context.now().timestamp_millis(),
            role_provider: role.map(|_| provider.name.clone()),
        };
        let inserted = users::Entity::insert(users::ActiveModel::from(row.clone())).exec_without_returning(tx).await;
        inserted.map_err(|error| Error::on_unique_violation(error, || taken(external, &username)))?;
        self.insert_identity(tx, &provider.issuer, &external.subject, &username).await?;
        tracing::info!(username, provider = %provider.name, "an account was created by a first log-in");
        let author = || external.author(Some(&username));
        let records = vec![
            self.created(tx, author(), &username).await?,
            linked(author(), provider, &external.subject, &username),
        ];
        Ok(Opened { user: row, has_changed: true, records, notifications: Vec::new() })
    }

    async fn insert_identity(
        &self,
        connection: &impl ConnectionTrait,
        issuer: &str,
        subject: &str,
        username: &str,
    ) -> Result<()> {
        let row = identities::ActiveModel {
            issuer: Set(issuer.to_owned()),
            subject: Set(subject.to_owned()),
            username: Set(username.to_owned()),
            created_at: Set(self.context.now().timestamp_millis()),
            last_used_at: NotSet,
        };
        let inserted = identities::Entity::insert(row).exec_without_returning(connection).await;
        inserted.map_err(|error| {
            Error::on_unique_violation(error, || {
                Problem::conflict("This user of the identity provider is already linked to an account.")
            })
        })?;
        Ok(())
    }

    /// Links an account to a verified user of a provider, and notifies its user.
    ///
    /// # Errors
    /// 403 if the groups refuse the user; 409 if the user, or the account at this provider, is linked already.
    pub(crate) async fn link(&self, external: &ExternalLogIn<'_>, username: &str) -> Result<(), Problem> {
        external.provider.claims.role(&external.claims).map_err(|rejection| rejected(external, &rejection))?;
        let message = format!(
            "Your account was linked to {}. If this was not you, inform an administrator.",
            external.provider.display_name
        );
        self.add_link(external.author(Some(username)), external.provider, &external.subject, username, &message).await
    }

    async fn add_link(
        &self,
        author: Author<'_>,
        provider: &ProviderSettings,
        subject: &str,
        username: &str,
        message: &str,
    ) -> Result<(), Problem> {
        let notification = self.insert_link(author, provider, subject, username, message).await?;
        self.feed.publish(vec![notification]);
        Ok(())
    }

    async fn insert_link(
        &self,
        author: Author<'_>,
        provider: &ProviderSettings,
        subject: &str,
        username: &str,
        message: &str,
    ) -> Result<Change> {
        let tx = self.context.begin_change().await?;
        let user = users::Entity::find_by_id(username).lock_exclusive().one(&*tx).await?;
        user.ok_or_else(|| Problem::not_found("user"))?;
        if has_identity(&tx, username, &provider.issuer).await? {
            return Err(Problem::conflict(format!(
                "The account {username} is already linked to {}. Remove that link first.",
                provider.display_name
            ))
            .into());
        }
        self.insert_identity(&tx, &provider.issuer, subject, username).await?;
        let (recipient, link) = (Recipient::User(username), Some("/settings/account"));
        let notification = self.notifications.create(&tx, recipient, Severity::Warning, message, link).await?;
        tx.commit(linked(author, provider, subject, username)).await?;
        Ok(Change::Notification(notification))
    }

    /// Lists the links of an account to identity providers. Administrators may list those of every account.
    ///
    /// # Errors
    /// 403 for other users; 404 for an unknown account.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn list_identities(&self, actor: &Actor, username: &str) -> Result<Vec<Identity>, Problem> {
        authorize_account(actor, username)?;
        self.get_user(username).await?;
        Ok(self.identities_of(username).await?)
    }

    pub(super) async fn identities_of(&self, username: &str) -> Result<Vec<Identity>> {
        let rows = identities::Entity::find()
            .filter(identities::COLUMN.username.eq(username))
            .order_by_asc(identities::Column::CreatedAt)
            .order_by_asc(identities::Column::Subject)
            .all(&self.context.db.read)
            .await?;
        let settings = &self.context.settings.single_sign_on;
        let to_identity = |row: identities::Model| Identity {
            id: identity_id(&row.issuer, &row.subject),
            provider: settings
                .provider_of(&row.issuer)
                .map_or_else(|| row.issuer.clone(), |provider| provider.display_name.clone()),
            issuer: row.issuer,
            subject: row.subject,
            created_at: time(row.created_at),
            last_used_at: row.last_used_at.map(time),
        };
        Ok(rows.into_iter().map(to_identity).collect())
    }

    /// Links an account to a user of a provider (administrators). The account gets a notification.
    ///
    /// # Errors
    /// 403 for other users; 404 for an unknown account; 409 if either is linked already; 422 that names invalid fields.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn add_identity(&self, actor: &Actor, username: &str, input: IdentityInput) -> Result<Identity, Problem> {
        authorize(actor, Action::ManageUsers)?;
        let settings = &self.context.settings.single_sign_on;
        let provider = settings.provider(&input.provider);
        let mut validator = Validator::new();
        if provider.is_none() {
            validator.error("provider", "Enter the name of a configured provider, as in BERTH_OIDC_PROVIDERS.");
        }
        validator.check("subject", validate_subject(&input.subject));
        validator.finish()?;
        let Some(provider) = provider else { return Err(Problem::internal()) };
        self.context.require_confirmation(actor).await?;
        let message = format!("Your account was linked to {} by {}.", provider.display_name, actor.username);
        self.add_link(actor.into(), provider, &input.subject, username, &message).await?;
        let id = identity_id(&provider.issuer, &input.subject);
        let found = self.identities_of(username).await?.into_iter().find(|identity| identity.id == id);
        found.ok_or_else(|| Problem::not_found("identity"))
    }

    /// Removes the link of an account to a user of a provider, and ends the sessions of that link except the one of the
    /// request. Administrators may remove those of every account. For the own account, this must be confirmed like the
    /// change of a credential. The role stays, and administrators can change it.
    ///
    /// # Errors
    /// 403 for other users; 404 for an unknown account or link; 409 if users would have no way to log in; 422 for
    /// `current_password`.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn remove_identity(
        &self,
        actor: &Actor,
        username: &str,
        id: &str,
        current_password: Option<String>,
    ) -> Result<(), Problem> {
        authorize_account(actor, username)?;
        let user = self.find_user(username).await?;
        let all = self.identities_of(username).await?;
        let identity = all.iter().find(|identity| identity.id == id).ok_or_else(|| Problem::not_found("identity"))?;
        if actor.username == username {
            if all.len() == 1 && !self.has_password(&user) {
                return Err(Problem::conflict(
                    "This is the only way to log in to your account. Ask an administrator to set a password first.",
                ));
            }
            self.confirm_identity(actor, current_password).await?;
        } else {
            self.context.require_confirmation(actor).await?;
        }
        let current = actor.session.as_ref().filter(|_| actor.username == username);
        self.delete_identity(actor, username, identity, current.map(|session| session.id.as_str())).await?;
        self.invalidate_credentials();
        Ok(())
    }

    async fn delete_identity(
        &self,
        actor: &Actor,
        username: &str,
        identity: &Identity,
        except: Option<&str>,
    ) -> Result<()> {
        let settings = &self.context.settings.single_sign_on;
        let tx = self.context.begin_change().await?;
        identities::Entity::delete_by_id((identity.issuer.clone(), identity.subject.clone())).exec(&tx).await?;
        if let Some(provider) = settings.provider_of(&identity.issuer) {
            let change = users::ActiveModel { role_provider: Set(None), ..Default::default() };
            users::Entity::update_many()
                .set(change)
                .filter(users::COLUMN.username.eq(username))
                .filter(users::COLUMN.role_provider.eq(provider.name.as_str()))
                .exec(&tx)
                .await?;
        }
        let mut sessions = sessions::Entity::delete_many()
            .filter(sessions::COLUMN.username.eq(username))
            .filter(sessions::COLUMN.issuer.eq(identity.issuer.as_str()));
        if let Some(current) = except.and_then(has_session_id) {
            sessions = sessions.filter(current.not());
        }
        let ended = sessions.exec(&tx).await?.rows_affected;
        let changes = Changes::none()
            .field("provider", &identity.provider, ())
            .field("subject", &identity.subject, ())
            .field("ended_sessions", (), ended);
        let target = Target::new(AuditTargetType::User, username);
        tx.commit(Record::new(actor, AuditAction::IdentityRemoved, target).changes(changes)).await
    }

    /// The issuer and the ID token of a session; `None` after a log-in with a password.
    pub(crate) async fn external_session(&self, session_token: &str) -> Result<Option<(String, String)>> {
        let hash = digest(session_token);
        let row = sessions::Entity::find_by_id(hash.as_str()).one(&self.context.db.read).await?;
        let found = row.and_then(|row| Some((row.issuer?, row.id_token?)));
        let of = SecretUse::IdToken(&hash);
        Ok(found.and_then(|(issuer, token)| Some((issuer, self.cipher.try_decrypt(of, &token)?))))
    }

    /// Ends the sessions of a session at a provider, or all sessions of one of its users if there is none.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    pub(crate) async fn end_external_sessions(
        &self,
        issuer: &str,
        subject: Option<&str>,
        session: Option<&str>,
    ) -> Result<(), Problem> {
        if self.delete_external_sessions(issuer, subject, session).await? > 0 {
            self.invalidate_credentials();
        }
        Ok(())
    }

    async fn delete_external_sessions(
        &self,
        issuer: &str,
        subject: Option<&str>,
        session: Option<&str>,
    ) -> Result<u64> {
        let identity = match subject {
            Some(subject) => {
                let key = (issuer.to_owned(), subject.to_owned());
                identities::Entity::find_by_id(key).one(&self.context.db.read).await?
            }
            None => None,
        };
        let is_of_user = identity.map(|identity| sessions::COLUMN.username.eq(identity.username));
        let is_of_session =
            session.map(|session| sessions::COLUMN.provider_session.eq(session_digest(issuer, session)));
        let which = match (is_of_session, is_of_user) {
            // A session whose provider sent no `sid` can be any session of the user.
            (Some(session), Some(user)) => session.or(user.and(sessions::COLUMN.provider_session.is_null())),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return Ok(0),
        };
        let tx = self.context.begin_change().await?;
        let of_issuer = sessions::COLUMN.issuer.eq(issuer).and(which);
        let username = sessions::Entity::find().filter(of_issuer.clone()).one(&*tx).await?.map(|row| row.username);
        // An unknown session must not cause a write.
        let Some(username) = username else { return Ok(0) };
        let ended = sessions::Entity::delete_many().filter(of_issuer).exec(&tx).await?.rows_affected;
        let record =
            Record::new(Author::System, AuditAction::SessionEnded, Target::new(AuditTargetType::User, username));
        let record = record.changes(Changes::none().field("ended_sessions", (), ended));
        tx.commit(record.detail(format!("The identity provider {issuer} ended the session, or refuses the user.")))
            .await?;
        Ok(ended)
    }
}

/// The entry of the audit log about a new link of an account.
fn linked(author: Author<'_>, provider: &ProviderSettings, subject: &str, username: &str) -> Record {
    let changes = Changes::none().field("provider", (), &provider.display_name).field("subject", (), subject);
    let target = Target::new(AuditTargetType::User, username);
    Record::new(author, AuditAction::IdentityLinked, target).changes(changes)
}

fn authorize_account(actor: &Actor, username: &str) -> Result<(), Problem> {
    let is_own = actor.username == username;
    authorize(actor, if is_own { Action::ManageOwnTokens } else { Action::ManageUsers })
}

async fn has_identity(connection: &impl ConnectionTrait, username: &str, issuer: &str) -> Result<bool> {
    let found = identities::Entity::find()
        .filter(identities::COLUMN.username.eq(username))
        .filter(identities::COLUMN.issuer.eq(issuer));
    Ok(found.exists(connection).await?)
}

/// The public id of an identity. It does not contain the subject, which can be a secret of the provider.
fn identity_id(issuer: &str, subject: &str) -> String {
    let digest = digest(&format!("{issuer}\n{subject}"));
    format!("{ID_PREFIX}{}", digest.get(..ID_LEN).unwrap_or_default())
}

fn session_digest(issuer: &str, session: &str) -> String {
    digest(&format!("{issuer}\n{session}"))
}

/// The problem if a username belongs to an account that is not linked.
fn taken(external: &ExternalLogIn<'_>, username: &str) -> Problem {
    Problem::conflict(format!(
        "The account {username} exists and is not linked to {provider}. If it is yours, log in with its password and link \
         {provider} in Settings → Account, or ask an administrator to link it to the subject {subject}.",
        provider = external.provider.display_name,
        subject = external.subject
    ))
}

fn rejected(external: &ExternalLogIn<'_>, rejection: &Rejection) -> Problem {
    let provider = &external.provider.display_name;
    let detail = match rejection {
        Rejection::NoUsername { claim } => format!(
            "{provider} sent no username (claim {claim}). Ask an administrator to enable this claim there, or to choose \
             another one in the settings."
        ),
        Rejection::InvalidUsername { value } => format!(
            "{provider} sent the username {value}, which does not begin with a Latin letter. Ask an administrator to choose \
             another claim in the settings."
        ),
        Rejection::NotInGroup => {
            format!("Your account at {provider} is in no group that may use Berth. Ask an administrator for access.")
        }
    };
    Problem::new(ProblemKind::Forbidden, detail)
}
