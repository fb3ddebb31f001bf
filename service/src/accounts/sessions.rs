//! Log-in, log-out and the check of session cookies.

use super::budgets::Subject;
use super::devices::KnownDevice;
use super::passwords::Capacity;
use super::second_factor::{SecondStep, has_second_factor};
use super::{Accounts, LogInClient, passwords};
use crate::Result;
use crate::audit_trail::{Author, Record, Target, identify};
use crate::db::codec::time;
use crate::db::entity::{sessions, users};
use crate::db::link::DatabaseTransaction;
use crate::notifications::Recipient;
use crate::ownership::owned_by;
use crate::secrets::{digest, new_token};
use chrono::Duration;
use domain::account::{Credentials, SessionInfo};
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::authorization::{Actor, ActorSession, Role, Scope};
use domain::change::{Change, Severity};
use domain::ownership::Ownership;
use domain::single_sign_on::LocalLogIn;
use domain::{Problem, ProblemKind, validation};
use sea_orm::sea_query::Expr;
use sea_orm::{Condition, EntityTrait as _, NotSet, QueryFilter as _, QuerySelect as _, Set};
use tokio::sync::SemaphorePermit;
use tracing::instrument;

/// Precision of the recorded time of the last use.
const LAST_USE_PRECISION: Duration = Duration::minutes(1);
/// Prefix of the public id of a session.
const ID_PREFIX: &str = "ses_";
/// Length of the public id after the prefix, in hex digits of the token's digest. The token cannot be derived from it.
const ID_LEN: usize = 32;

/// A new session.
pub struct LoggedIn {
    /// The user and the scopes, for display.
    pub info: SessionInfo,
    /// The session token; only the cookie contains it.
    pub token: String,
    /// The value of the device cookie.
    pub device: String,
}

/// The result of a log-in whose password was correct.
pub enum LogIn {
    /// A session.
    Started(Box<LoggedIn>),
    /// The account has a second factor: there is no session until it is used.
    SecondStep(SecondStep),
}

impl LogIn {
    /// The session, unless a second factor is needed.
    pub fn session(self) -> Option<LoggedIn> {
        match self {
            Self::Started(session) => Some(*session),
            Self::SecondStep(_) => None,
        }
    }
}

/// What follows a correct password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Session,
    SecondFactor,
}

/// A log-in that is being checked.
struct Attempt {
    /// The entered username, shortened.
    username: String,
    client: LogInClient,
    device: Option<KnownDevice>,
    budget: Subject,
}

/// Counts a log-in with a local credential in the metrics, by its outcome.
pub(super) fn count_log_in(result: Result<&'static str, &Problem>) {
    let outcome = result.unwrap_or_else(|problem| match problem.kind {
        ProblemKind::RateLimited => "throttled",
        ProblemKind::Unauthenticated | ProblemKind::Forbidden | ProblemKind::Invalid => "rejected",
        _ => "failed",
    });
    metrics::counter!("berth_log_ins_total", "outcome" => outcome).increment(1);
}

impl Accounts {
    /// Logs in with a password, and ends the present session of the same browser. An account with a second factor gets no
    /// session, but a second step that must be finished within 5 minutes.
    ///
    /// Failures are throttled by username and source (an address or network) after 10 of them, by source alone after
    /// 30, and by IPv6 /48 network after 100. From then on, one log-in per 30 s is allowed. In addition, an account has
    /// a stored budget of 50 failures from all sources, which refills by one in 5 minutes. A device that has logged in
    /// to the account before has a budget of its own and reserved capacity instead.
    ///
    /// # Errors
    /// 401 with the same message for every reason; 429 if it is throttled or too many people log in at once.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn log_in(&self, credentials: Credentials, client: impl Into<LogInClient>) -> Result<LogIn, Problem> {
        let result = self.check_log_in(credentials, client.into()).await;
        count_log_in(result.as_ref().map(|log_in| match log_in {
            LogIn::Started(_) => "succeeded",
            LogIn::SecondStep(_) => "second_step",
        }));
        result
    }

    async fn check_log_in(&self, credentials: Credentials, client: LogInClient) -> Result<LogIn, Problem> {
        let settings = &self.context.settings.single_sign_on;
        if settings.local_log_in == LocalLogIn::Off {
            let names = settings.names();
            return Err(Problem::forbidden(format!("Log-in with a password is switched off. Log in with {names}.")));
        }
        let username = credentials.username.chars().take(64).collect::<String>();
        let device = self.known_device(client.device.as_deref(), &username);
        // The permit is acquired first, so that a log-in without one does not count as failed.
        let _permit = self.log_in_permit(device.is_some())?;
        let budget = device.as_ref().map_or_else(|| Subject::account(&username), |device| Subject::device(&device.id));
        let attempt = Attempt { username, client, device, budget };
        if let Err(problem) = self.count_attempt(&attempt).await {
            self.record_rejected_log_in(&attempt.username, &problem.detail).await;
            return Err(problem);
        }
        let token = new_token();
        let result = self.try_log_in(credentials, &attempt, &token).await;
        if result.is_err() {
            self.undo_attempt(&attempt).await;
        }
        let Some((user, next)) = result? else {
            let (reason, remedy) = match settings.local_log_in {
                LocalLogIn::On => ("The username or the password is wrong.", "Check both and try again.".to_owned()),
                _ => (
                    "The username or the password is wrong, or the account may not log in with a password.",
                    format!("Log in with {}.", settings.names()),
                ),
            };
            self.record_rejected_log_in(&attempt.username, reason).await;
            return Err(Problem::unauthenticated(format!("{reason} {remedy}")));
        };
        if attempt.device.is_none() {
            self.throttle().record_success(&attempt.username, &attempt.client.source);
        }
        if next == Next::SecondFactor {
            return Ok(LogIn::SecondStep(self.start_second_step(&user).await?));
        }
        if settings.local_log_in == LocalLogIn::BreakGlass {
            self.report_break_glass(&user.username, &attempt.client.source).await?;
        }
        let device = self.device_cookie(attempt.device, &user.username)?;
        let (_, info) = self.authenticate_session(&token).await?;
        Ok(LogIn::Started(Box::new(LoggedIn { info, token, device })))
    }

    /// Logs the use of the break-glass account, and notifies all administrators.
    pub(super) async fn report_break_glass(&self, username: &str, source: &str) -> Result<()> {
        tracing::warn!(username, source, "the break-glass administrator has logged in with a password");
        let message = format!("The break-glass administrator {username} has logged in with a password from {source}.");
        let tx = self.context.db.begin_unaudited().await?;
        let recipient = Recipient::Administrators;
        let notification = self.notifications.create(&tx, recipient, Severity::Warning, &message, None).await?;
        tx.commit().await?;
        self.feed.publish(vec![Change::Notification(notification)]);
        Ok(())
    }

    /// A permit for one log-in. Known devices have reserved ones in addition.
    fn log_in_permit(&self, is_known: bool) -> Result<SemaphorePermit<'_>, Problem> {
        let shared = self.state.log_ins.try_acquire();
        let permit = if is_known { shared.or_else(|_| self.state.reserved_log_ins.try_acquire()) } else { shared };
        permit.map_err(|_| Problem::rate_limited("Too many people are logging in right now. Try again in a second.", 1))
    }

    /// Counts a log-in as failed until it succeeds.
    async fn count_attempt(&self, attempt: &Attempt) -> Result<(), Problem> {
        let Attempt { username, client, device, budget } = attempt;
        // Failures of others at the same address do not lock out a known device.
        if device.is_none() {
            self.throttle().record_attempt(username, &client.source, self.context.now())?;
        }
        let spent = self.spend(budget).await;
        if spent.is_err() && device.is_none() {
            self.throttle().undo_attempt(username, &client.source);
        }
        spent
    }

    /// Undoes the count of a log-in whose password could not be checked.
    async fn undo_attempt(&self, attempt: &Attempt) {
        if attempt.device.is_none() {
            self.throttle().undo_attempt(&attempt.username, &attempt.client.source);
        }
        if let Err(error) = self.refund(&self.context.db.write, &attempt.budget).await {
            tracing::debug!(%error, "a log-in that could not be checked counts as failed");
        }
    }

    /// Verifies the password and opens the session, unless the account has a second factor; `None` if the log-in is refused.
    async fn try_log_in(
        &self,
        credentials: Credentials,
        attempt: &Attempt,
        token: &str,
    ) -> Result<Option<(users::Model, Next)>> {
        let Some(user) = self.verify(credentials, attempt.device.is_some()).await? else { return Ok(None) };
        Ok(self.insert_session(&user, attempt, token).await?.map(|next| (user, next)))
    }

    /// The account whose password is correct; `None` if it is wrong, or the account is unknown or disabled.
    async fn verify(&self, credentials: Credentials, is_known: bool) -> Result<Option<users::Model>> {
        // An invalid username (PostgreSQL rejects NUL) takes the same path as an unknown one.
        let valid = validation::username(&credentials.username).is_ok();
        let username = if valid { credentials.username.as_str() } else { "" };
        let user = users::Entity::find_by_id(username).one(&self.context.db.read).await?;
        let stored = user.as_ref().map_or(passwords::DUMMY_HASH, |user| &user.password_hash).to_owned();
        let capacity = if is_known { Capacity::Reserved } else { Capacity::Shared };
        let matches = passwords::verify(credentials.password.into(), stored, capacity).await;
        let settings = &self.context.settings.single_sign_on;
        Ok(user.filter(|user| matches && !user.disabled && settings.accepts_password_of(&user.username)))
    }

    /// Opens a session for the account that the first set-up has created.
    pub(super) async fn open_session(&self, username: &str) -> Result<LoggedIn, Problem> {
        let token = new_token();
        let row = self.session_row(username, &token, &LogInClient::default());
        self.insert_first_session(row, username, &token).await?;
        let (_, info) = self.authenticate_session(&token).await?;
        Ok(LoggedIn { info, token, device: self.device_cookie(None, username)? })
    }

    async fn insert_first_session(&self, row: sessions::ActiveModel, username: &str, token: &str) -> Result<()> {
        let tx = self.context.begin_change().await?;
        sessions::Entity::insert(row).exec_without_returning(&tx).await?;
        tx.commit(started(Author::SetupCode(username), token, "", "")).await
    }

    /// Inserts the session of a log-in, and ends the present session of the same browser. Inserts none for an account with a
    /// second factor. `None` if the password that was verified is no longer valid.
    async fn insert_session(&self, verified: &users::Model, attempt: &Attempt, token: &str) -> Result<Option<Next>> {
        let tx = self.context.begin_change().await?;
        // The lock serialises the log-in with a change of the password, which would not end an uncommitted session.
        let is_current = users::Entity::find_by_id(verified.username.as_str())
            .filter(users::COLUMN.password_hash.eq(verified.password_hash.as_str()))
            .filter(users::COLUMN.disabled.eq(false))
            .lock_shared()
            .one(&tx)
            .await?
            .is_some();
        if !is_current {
            tx.rollback().await?;
            return Ok(None);
        }
        if has_second_factor(&*tx, &verified.username).await? {
            self.refund(&*tx, &attempt.budget).await?;
            tx.commit(Vec::new()).await?;
            return Ok(Some(Next::SecondFactor));
        }
        let author = || Author::Password(&verified.username);
        let replaced = end_replaced_session(&tx, &attempt.client, author()).await?;
        let has_ended_session = replaced.is_some();
        let row = self.session_row(&verified.username, token, &attempt.client);
        sessions::Entity::insert(row).exec_without_returning(&tx).await?;
        self.refund(&*tx, &attempt.budget).await?;
        let started = started(author(), token, &attempt.client.description(), "");
        let notification =
            self.notify_new_browser(&tx, &verified.username, &attempt.client, attempt.device.is_some()).await?;
        tx.commit(replaced.into_iter().chain([started]).collect::<Vec<_>>()).await?;
        self.feed.publish(notification.into_iter().collect());
        if has_ended_session {
            self.invalidate_credentials();
        }
        Ok(Some(Next::Session))
    }

    pub(super) fn session_row(&self, username: &str, token: &str, client: &LogInClient) -> sessions::ActiveModel {
        let now = self.context.now();
        sessions::ActiveModel {
            token_hash: Set(digest(token)),
            username: Set(username.to_owned()),
            created_at: Set(now.timestamp_millis()),
            expires_at: Set((now + self.context.settings.accounts.session_lifetime).timestamp_millis()),
            last_used_at: Set(Some(now.timestamp_millis())),
            source: Set(client.source.clone()),
            device: Set(client.description()),
            issuer: NotSet,
            provider_session: NotSet,
            id_token: NotSet,
            authenticated_at: NotSet,
        }
    }

    /// Ends a session. An unknown token is not an error.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn log_out(&self, session_token: &str) -> Result<(), Problem> {
        if self.delete_session(session_token).await? {
            self.invalidate_credentials();
        }
        Ok(())
    }

    /// Whether the session existed. An invented token must not clear the cached credentials of all users.
    async fn delete_session(&self, session_token: &str) -> Result<bool> {
        let hash = digest(session_token);
        // An unknown token must not cause a write.
        let Some(session) = sessions::Entity::find_by_id(hash.as_str()).one(&self.context.db.read).await? else {
            return Ok(false);
        };
        let tx = self.context.begin_change().await?;
        let deleted = sessions::Entity::delete_by_id(hash.as_str()).exec(&tx).await?;
        if deleted.rows_affected == 0 {
            return Ok(false);
        }
        let actor = session_actor(&session, None);
        let target = Target::new(AuditTargetType::Session, session_id(&hash));
        tx.commit(Record::new(&actor, AuditAction::SessionEnded, target).detail("Log-out.")).await?;
        Ok(true)
    }

    /// The user of a session cookie. Extends the idle limit.
    ///
    /// # Errors
    /// 401 if the session is unknown, expired or idle for too long, or the account is disabled.
    pub async fn authenticate_session(&self, session_token: &str) -> Result<(Actor, SessionInfo), Problem> {
        self.find_holder(session_token, true).await
    }

    /// The user of a session cookie, without a use of the session: an open live feed does not extend the idle limit.
    ///
    /// # Errors
    /// As for [`Self::authenticate_session`].
    pub async fn check_session(&self, session_token: &str) -> Result<(Actor, SessionInfo), Problem> {
        self.find_holder(session_token, false).await
    }

    async fn find_holder(&self, session_token: &str, is_use: bool) -> Result<(Actor, SessionInfo), Problem> {
        let hash = digest(session_token);
        let credential = format!("session {hash}");
        let generation = self.credential_generation();
        if let Some(holder) = self.cached_credential(&credential) {
            identify(&holder.0);
            return Ok(holder);
        }
        let Some((session, user)) = self.find_session(&hash).await? else {
            return Err(Problem::unauthenticated("Your session has ended. Log in again."));
        };
        let now = self.context.now();
        if is_use && session.last_used_at.is_none_or(|at| now - time(at) >= LAST_USE_PRECISION) {
            // Not fatal: a database on a full disk can still be read, so requests that only read must succeed.
            if let Err(error) = self.record_session_use(&hash).await {
                tracing::warn!(%error, "the last use of a session was not recorded");
            }
        }
        let needs_second_factor = self.needs_second_factor(&user, session.issuer.is_some()).await?;
        let user = self.to_user(user);
        let scopes = Scope::ALL.to_vec();
        let owns = owned_by(&self.context.db.read, &user.username, user.role).await?;
        let mut actor = Actor { owns: owns.clone(), ..session_actor(&session, Some(user.role)) };
        if let Some(session) = &mut actor.session {
            session.needs_second_factor = needs_second_factor;
        }
        identify(&actor);
        let expires_at = Some(time(session.expires_at));
        let holder = (actor, SessionInfo { user, scopes, expires_at, needs_second_factor, owns });
        self.cache_credential(credential, generation, &holder);
        Ok(holder)
    }

    async fn record_session_use(&self, hash: &str) -> Result<()> {
        sessions::Entity::update_many()
            .col_expr(sessions::Column::LastUsedAt, Expr::value(self.context.now().timestamp_millis()))
            .filter(sessions::COLUMN.token_hash.eq(hash))
            .exec(&self.context.db.write)
            .await?;
        Ok(())
    }

    /// A session that has not ended, with its enabled account.
    async fn find_session(&self, hash: &str) -> Result<Option<(sessions::Model, users::Model)>> {
        let found = sessions::Entity::find_by_id(hash)
            .filter(self.is_open())
            .filter(users::COLUMN.disabled.eq(false))
            .find_also_related(users::Entity)
            .one(&self.context.db.read)
            .await?;
        Ok(found.and_then(|(session, user)| Some((session, user?))))
    }

    /// Sessions within their lifetime and their idle limit. Shorter settings apply to existing sessions too.
    pub(super) fn is_open(&self) -> Condition {
        let now = self.context.now();
        let limits = &self.context.settings.accounts;
        let since = |limit: Duration| (now - limit).timestamp_millis();
        let used_at = sessions::COLUMN.last_used_at;
        Condition::all()
            .add(sessions::COLUMN.expires_at.gt(now.timestamp_millis()))
            .add(sessions::COLUMN.created_at.gt(since(limits.session_lifetime)))
            // The idle limit of a session of an earlier release begins with its first use.
            .add(Condition::any().add(used_at.is_null()).add(used_at.gt(since(limits.session_idle))))
    }
}

/// The user of a session. Without a role, they have no permissions.
fn session_actor(session: &sessions::Model, role: Option<Role>) -> Actor {
    Actor {
        username: session.username.clone(),
        role: role.unwrap_or(Role::User),
        scopes: if role.is_some() { Scope::ALL.to_vec() } else { Vec::new() },
        session: Some(ActorSession {
            id: session_id(&session.token_hash),
            logged_in_at: time(session.authenticated_at.unwrap_or(session.created_at)),
            needs_second_factor: false,
        }),
        token: None,
        owns: Ownership::default(),
    }
}

/// Ends the present session of a browser in which somebody logs in. Returns the entry of the audit log about it; `None` if
/// there is no session.
pub(super) async fn end_replaced_session(
    tx: &DatabaseTransaction,
    client: &LogInClient,
    author: Author<'_>,
) -> Result<Option<Record>> {
    let Some(previous) = client.session.as_deref().map(digest) else { return Ok(None) };
    let Some(session) = sessions::Entity::find_by_id(previous.as_str()).one(tx).await? else { return Ok(None) };
    sessions::Entity::delete_by_id(previous.as_str()).exec(tx).await?;
    let target = Target::named(AuditTargetType::Session, session_id(&previous), session.username);
    let record = Record::new(author, AuditAction::SessionEnded, target);
    Ok(Some(record.detail("A log-in in the same browser replaced it.")))
}

/// The entry of the audit log about a new session. `second_factor` is empty if none was used.
pub(super) fn started(author: Author<'_>, token: &str, device: &str, second_factor: &str) -> Record {
    let target = Target::new(AuditTargetType::Session, session_id(&digest(token)));
    let mut changes = Changes::none().field("device", (), device);
    if !second_factor.is_empty() {
        changes = changes.field("second_factor", (), second_factor);
    }
    Record::new(author, AuditAction::SessionStarted, target).changes(changes)
}

/// The public id of the session whose token has this digest.
pub(super) fn session_id(token_hash: &str) -> String {
    format!("{ID_PREFIX}{}", token_hash.get(..ID_LEN).unwrap_or_default())
}

/// The condition for the session with this public id; `None` if the text is no id.
pub(super) fn has_session_id(id: &str) -> Option<Expr> {
    let prefix = id.strip_prefix(ID_PREFIX)?;
    let is_valid = prefix.len() == ID_LEN && prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_valid.then(|| sessions::COLUMN.token_hash.starts_with(prefix))
}
