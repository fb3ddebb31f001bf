//! People, sessions, API tokens.

use crate::Service;
use crate::db::codec::{get, json, time, to_json};
use crate::error::{db_problem, is_unique_violation};
use crate::secrets::{digest, new_token};
use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use chrono::{DateTime, Duration, Utc};
use domain::account::*;
use domain::authorization::{Action, Actor, Role, Scope, authorize};
use domain::id::TokenId;
use domain::problem::Validator;
use domain::{Problem, ProblemKind, validation};
use parking_lot::{Mutex, MutexGuard};
use sea_orm::{ConnectionTrait as _, QueryResult};
use std::collections::HashMap;
use subtle::ConstantTimeEq as _;

/// How long a session lasts.
const SESSION: Duration = Duration::days(7);
/// How long a checked credential is believed without asking the database again (also by other replicas).
const BELIEVED: std::time::Duration = std::time::Duration::from_secs(3);
/// Failed log-ins with one name from one source before they are throttled.
const FREE_FAILURES: u32 = 10;
/// The same with whatever names from one source.
const FREE_FAILURES_OF_SOURCE: u32 = 30;
/// How long failures are remembered.
const REMEMBERED: Duration = Duration::minutes(15);
/// Log-ins under way at the same time at most: four that hash and sixteen that wait for them. More are told to come back.
const LOG_INS: usize = 4 + 16;
/// Passwords hashed at the same time at most: each takes 19 MiB, so that a flood must queue instead of filling memory.
static HASHING: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(4);
/// The wait between tries once throttled.
const THROTTLE: Duration = Duration::seconds(30);

/// A log-in: what the page shows and the cookie's value.
pub struct LoggedIn {
    /// Who.
    pub info: SessionInfo,
    /// The session token, for the cookie alone.
    pub token: String,
}

/// Failed tries.
#[derive(Clone, Copy)]
struct Failed {
    count: u32,
    first: DateTime<Utc>,
    last: DateTime<Utc>,
}

/// Failed log-ins: of a source with one name, and (`None`) with all names together.
#[derive(Default)]
struct Failures(HashMap<(Option<String>, String), Failed>);

impl Failures {
    /// Counts a try, unless it comes too soon. It counts as failed until [`Self::right`], so that tries at the same time count.
    fn count(&mut self, name: &str, source: &str, now: DateTime<Utc>) -> Result<(), Problem> {
        // Those with a name as long as it goes on, those of a source in spells: behind one address there can be a whole office.
        let over = |name: &Option<String>, failed: &Failed| {
            now - if name.is_some() { failed.last } else { failed.first } >= REMEMBERED
        };
        if self.0.len() > 10_000 {
            self.0.retain(|(name, _), failed| !over(name, failed));
        }
        let keys = [(None, source.to_owned()), (Some(name.to_owned()), source.to_owned())];
        for (key, free) in keys.iter().zip([FREE_FAILURES_OF_SOURCE, FREE_FAILURES]) {
            let Some(failed) = self.0.get(key).filter(|failed| !over(&key.0, failed)) else { continue };
            if failed.count >= free && now - failed.last < THROTTLE {
                let wait = (THROTTLE - (now - failed.last)).num_seconds().max(1);
                let whose = if key.0.is_some() { "for this account" } else { "from your address" };
                return Err(too_many(format!("Too many failed log-ins {whose}. Try again in {wait} seconds."), wait));
            }
        }
        for key in keys {
            let failed = self.0.get(&key).copied().filter(|failed| !over(&key.0, failed));
            let failed = failed.unwrap_or(Failed { count: 0, first: now, last: now });
            self.0.insert(key, Failed { count: failed.count + 1, last: now, ..failed });
        }
        Ok(())
    }

    /// It was no try: nothing could be checked.
    fn undo(&mut self, name: &str, source: &str) {
        for key in [(None, source.to_owned()), (Some(name.to_owned()), source.to_owned())] {
            if let Some(failed) = self.0.get_mut(&key) {
                failed.count = failed.count.saturating_sub(1);
            }
        }
    }

    /// The password was right: the name's failures are forgotten. The source's are not, else one account of one's own would
    /// allow as many tries with others as one likes.
    fn right(&mut self, name: &str, source: &str) {
        self.0.remove(&(Some(name.to_owned()), source.to_owned()));
        if let Some(failed) = self.0.get_mut(&(None, source.to_owned())) {
            failed.count = failed.count.saturating_sub(1);
        }
    }
}

fn too_many(detail: String, wait: i64) -> Problem {
    let mut problem = Problem::new(ProblemKind::RateLimited, detail);
    problem.retry_after = Some(wait.max(1) as u64);
    problem
}

/// What is remembered between requests.
pub(crate) struct Memory {
    credentials: Mutex<Believed>,
    failures: Mutex<Failures>,
    log_ins: tokio::sync::Semaphore,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            credentials: Mutex::default(),
            failures: Mutex::default(),
            log_ins: tokio::sync::Semaphore::new(LOG_INS),
        }
    }
}

#[derive(Default)]
struct Believed {
    generation: u64,
    entries: HashMap<String, (std::time::Instant, Actor, SessionInfo)>,
    users: HashMap<String, (std::time::Instant, User)>,
}

impl Believed {
    fn clear(&mut self) {
        self.entries.clear();
        self.users.clear();
    }
}

const USER: &str = "username, email, role, disabled, ssh_key, created_at";

fn user(row: &QueryResult) -> Result<User, Problem> {
    Ok(User {
        username: get(row, "username")?,
        email: get(row, "email")?,
        role: role(row)?,
        disabled: get(row, "disabled")?,
        ssh_key: get(row, "ssh_key")?,
        created_at: time(get(row, "created_at")?),
    })
}

fn role(row: &QueryResult) -> Result<Role, Problem> {
    Ok(Role::parse(&get::<String>(row, "role")?).unwrap_or(Role::User))
}

/// argon2id with the crate's defaults (OWASP's first recommendation), off the async threads.
async fn hash(password: String) -> Result<String, Problem> {
    let salt = SaltString::encode_b64(&crate::secrets::random::<16>()).map_err(|_| Problem::internal())?;
    let _turn = HASHING.acquire().await.map_err(|_| Problem::internal())?;
    tokio::task::spawn_blocking(move || {
        argon2::Argon2::default().hash_password(password.as_bytes(), &salt).map(|hash| hash.to_string())
    })
    .await
    .map_err(|_| Problem::internal())?
    .map_err(|_| Problem::internal())
}

async fn verify(password: String, stored: String) -> bool {
    let Ok(_turn) = HASHING.acquire().await else { return false };
    tokio::task::spawn_blocking(move || {
        PasswordHash::new(&stored)
            .is_ok_and(|hash| argon2::Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
    })
    .await
    .unwrap_or(false)
}

/// A hash of nobody's password: verifying against it takes as long as against a real one.
const DUMMY_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$YmVydGgtbm9ib2R5LXNhbHQ$0Q7WYV2Uvqc8xHnVvbnQ5o0oYwHn0Zc5p3hq2m4Jk1c";

fn already_set_up() -> Problem {
    Problem::conflict("Berth has been set up already. Log in instead.")
}

fn check_new(input: &UserInput) -> Result<(), Problem> {
    let mut validator = Validator::new();
    validator.check("username", validation::username(&input.username));
    validator.check("email", validation::email(&input.email));
    validator.check("password", validation::password(&input.password));
    validator.finish()
}

impl Service {
    /// Whether no account exists yet.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn needs_setup(&self) -> Result<bool, Problem> {
        Ok(self.rows("SELECT 1 AS one FROM users LIMIT 1", []).await?.is_empty())
    }

    /// Makes the first administrator, on a visit from this machine (`local`) or with the one-time code that was printed at
    /// start (`expected`).
    ///
    /// # Errors
    /// 403 from elsewhere without the code; 409 when an account exists; 422 naming the fields at fault.
    pub async fn set_up(&self, input: SetupInput, local: bool, expected: &str) -> Result<LoggedIn, Problem> {
        let code = input.code.unwrap_or_default();
        let right: bool = code.as_bytes().ct_eq(expected.as_bytes()).into();
        if !local && (expected.is_empty() || !right) {
            return Err(Problem::forbidden(
                "Open the set-up link that Berth printed when it started, or set it up from the machine itself.",
            ));
        }
        let user = UserInput {
            username: input.username,
            email: input.email,
            password: input.password,
            role: Role::Administrator,
        };
        check_new(&user)?;
        if !self.needs_setup().await? {
            return Err(already_set_up());
        }
        let hash = hash(user.password.clone()).await?;
        let tx = self.write_tx().await?;
        // PostgreSQL: two first visits at once must not both win.
        if self.is_postgres() {
            tx.execute_unprepared("LOCK TABLE users IN EXCLUSIVE MODE").await.map_err(db_problem)?;
        }
        if tx.query_one_raw(self.sql("SELECT 1 AS one FROM users LIMIT 1", [])).await.map_err(db_problem)?.is_some() {
            return Err(already_set_up());
        }
        self.insert_user(&tx, &user, &hash).await?;
        tx.commit().await.map_err(db_problem)?;
        self.open_session(&user.username).await
    }

    async fn insert_user(
        &self,
        tx: &sea_orm::DatabaseTransaction,
        input: &UserInput,
        hash: &str,
    ) -> Result<(), Problem> {
        let values = [
            input.username.as_str().into(),
            input.email.as_str().into(),
            hash.into(),
            input.role.as_str().into(),
            false.into(),
            "".into(),
            self.now().timestamp_millis().into(),
        ];
        let sql = "INSERT INTO users (username, email, password_hash, role, disabled, ssh_key, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)";
        tx.execute_raw(self.sql(sql, values)).await.map_err(|error| {
            if is_unique_violation(&error) {
                Problem::conflict(format!("There is already an account named {}. Choose another name.", input.username))
            } else {
                db_problem(error)
            }
        })?;
        Ok(())
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.inner.accounts.failures.lock()
    }

    /// Logs in. `source` (an address or network) is throttled together with the name, after 10 failures, and by itself, after
    /// 30: then one try per 30 s.
    ///
    /// # Errors
    /// 401 with one message for every cause; 429 when throttled, and when too many log in at once.
    pub async fn log_in(&self, credentials: Credentials, source: &str) -> Result<LoggedIn, Problem> {
        // First, for who is turned away here has not tried.
        let _turn = self
            .inner
            .accounts
            .log_ins
            .try_acquire()
            .map_err(|_| too_many("Too many people are logging in right now. Try again in a second.".into(), 1))?;
        let tried = credentials.username.chars().take(64).collect::<String>();
        self.failures().count(&tried, source, self.now())?;
        // What cannot be a name is not asked for (PostgreSQL refuses NUL), but answered like any other wrong one.
        let name = if validation::username(&credentials.username).is_ok() { credentials.username.as_str() } else { "" };
        let sql = "SELECT password_hash, disabled FROM users WHERE username = $1";
        let rows = self.rows(sql, [name.into()]).await.inspect_err(|_| self.failures().undo(&tried, source))?;
        let row = rows.first();
        let (stored, disabled) = match row {
            Some(row) => (get::<String>(row, "password_hash")?, get::<bool>(row, "disabled")?),
            None => (DUMMY_HASH.to_owned(), false),
        };
        let right = credentials.password.chars().count() <= 200 && verify(credentials.password, stored).await;
        if !right || row.is_none() || disabled {
            return Err(Problem::unauthenticated("The user name or the password is wrong."));
        }
        self.failures().right(&tried, source);
        self.open_session(&credentials.username).await
    }

    async fn open_session(&self, username: &str) -> Result<LoggedIn, Problem> {
        let token = new_token();
        let now = self.now();
        let values = [
            digest(&token).into(),
            username.into(),
            now.timestamp_millis().into(),
            (now + SESSION).timestamp_millis().into(),
        ];
        let sql = "INSERT INTO sessions (token_hash, username, created_at, expires_at) VALUES ($1, $2, $3, $4)";
        self.inner.context.db.write.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        let (_, info) = self.actor_of_session(&token).await?;
        Ok(LoggedIn { info, token })
    }

    /// Ends a session; unknown tokens are fine.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn log_out(&self, session_token: &str) -> Result<(), Problem> {
        let sql = self.sql("DELETE FROM sessions WHERE token_hash = $1", [digest(session_token).into()]);
        self.inner.context.db.write.execute_raw(sql).await.map_err(db_problem)?;
        self.forget_credentials();
        Ok(())
    }

    /// Another number when accounts or credentials may have changed, here or (as soon as it is told) on another replica.
    pub fn credential_generation(&self) -> u64 {
        self.inner.feed.cache_generation()
    }

    fn forget_credentials(&self) {
        // In this order: who read before the change and remembers after the clearing finds another number (see `believe`).
        self.inner.feed.advance_cache_generation();
        self.inner.accounts.credentials.lock().clear();
        self.broadcast_invalidation();
    }

    /// `hash` says what kind of credential it is of: a session's token is no API token, nor the reverse.
    fn believed(&self, hash: &str) -> Option<(Actor, SessionInfo)> {
        let mut believed = self.inner.accounts.credentials.lock();
        let generation = self.inner.feed.cache_generation();
        if believed.generation != generation {
            believed.generation = generation;
            believed.clear();
        }
        believed
            .entries
            .get(hash)
            .filter(|(at, _, info)| at.elapsed() < BELIEVED && info.expires_at.is_none_or(|until| until > self.now()))
            .map(|(_, actor, info)| (actor.clone(), info.clone()))
    }

    /// Remembers what was read at `generation`, unless accounts changed since: it may be of before.
    fn believe(&self, hash: String, generation: u64, actor: &Actor, info: &SessionInfo) {
        let mut believed = self.inner.accounts.credentials.lock();
        if generation != self.credential_generation() {
            return;
        }
        if believed.entries.len() > 10_000 {
            believed.clear();
        }
        believed.users.insert(info.user.username.clone(), (std::time::Instant::now(), info.user.clone()));
        believed.entries.insert(hash, (std::time::Instant::now(), actor.clone(), info.clone()));
    }

    /// Who holds this session cookie.
    ///
    /// # Errors
    /// 401 when it is expired or unknown, or the account disabled.
    pub async fn actor_of_session(&self, session_token: &str) -> Result<(Actor, SessionInfo), Problem> {
        let hash = digest(session_token);
        let credential = format!("session {hash}");
        let generation = self.credential_generation();
        if let Some(known) = self.believed(&credential) {
            return Ok(known);
        }
        let sql = format!(
            "SELECT s.expires_at, u.{} FROM sessions s JOIN users u ON u.username = s.username WHERE s.token_hash = $1 AND s.expires_at > $2 AND NOT u.disabled",
            USER.replace(", ", ", u.")
        );
        let rows = self.rows(sql, [hash.as_str().into(), self.now().timestamp_millis().into()]).await?;
        let row = rows.first().ok_or_else(|| Problem::unauthenticated("Your session has ended. Log in again."))?;
        let user = user(row)?;
        let actor = Actor { username: user.username.clone(), role: user.role, scopes: Scope::ALL.to_vec() };
        let info = SessionInfo { user, scopes: Scope::ALL.to_vec(), expires_at: Some(time(get(row, "expires_at")?)) };
        self.believe(credential, generation, &actor, &info);
        Ok((actor, info))
    }

    /// Who holds this API token.
    ///
    /// # Errors
    /// 401 when it is expired, revoked or unknown, or the account disabled.
    pub async fn actor_of_token(&self, bearer: &str) -> Result<(Actor, SessionInfo), Problem> {
        let hash = digest(bearer);
        let credential = format!("token {hash}");
        let generation = self.credential_generation();
        if let Some(known) = self.believed(&credential) {
            return Ok(known);
        }
        let now = self.now();
        let sql = format!(
            "SELECT t.scopes, t.expires_at, t.last_used_at, u.{} FROM api_tokens t JOIN users u ON u.username = t.username WHERE t.token_hash = $1 AND NOT u.disabled",
            USER.replace(", ", ", u.")
        );
        let rows = self.rows(sql, [hash.as_str().into()]).await?;
        let expires_at = match rows.first() {
            Some(row) => get::<Option<i64>>(row, "expires_at")?.map(time),
            None => None,
        };
        let row = rows.first().filter(|_| expires_at.is_none_or(|until| until > now)).ok_or_else(|| {
            Problem::unauthenticated(
                "This API token is unknown, revoked or expired. Make one under Settings → API tokens.",
            )
        })?;
        let user = user(row)?;
        let scopes: Vec<Scope> = json(&get::<String>(row, "scopes")?)?;
        if get::<Option<i64>>(row, "last_used_at")?.is_none_or(|at| now - time(at) > Duration::minutes(1)) {
            let sql = "UPDATE api_tokens SET last_used_at = $1 WHERE token_hash = $2";
            let values = [now.timestamp_millis().into(), hash.as_str().into()];
            // A note only: where the database can be read but not written (a full disk), reading goes on.
            if let Err(error) = self.inner.context.db.write.execute_raw(self.sql(sql, values)).await {
                tracing::warn!(%error, "the use of an API token could not be noted");
            }
        }
        let actor = Actor { username: user.username.clone(), role: user.role, scopes: scopes.clone() };
        let info = SessionInfo { user, scopes, expires_at };
        self.believe(credential, generation, &actor, &info);
        Ok((actor, info))
    }

    /// All accounts by name (administrators).
    ///
    /// # Errors
    /// 403 for others.
    pub async fn list_users(&self, actor: &Actor) -> Result<Vec<User>, Problem> {
        authorize(actor, Action::ManageUsers)?;
        self.rows(format!("SELECT {USER} FROM users ORDER BY username"), []).await?.iter().map(user).collect()
    }

    /// A new account (administrators).
    ///
    /// # Errors
    /// 403 for others, 409 when the name is taken, 422 naming the fields at fault.
    pub async fn create_user(&self, actor: &Actor, input: UserInput) -> Result<User, Problem> {
        authorize(actor, Action::ManageUsers)?;
        self.create_user_as_operator(input).await
    }

    /// The same for the command line and the demonstration, without an actor; the operator's shell is the authority.
    ///
    /// # Errors
    /// 409 when the name is taken, 422 naming the fields at fault.
    pub async fn create_user_as_operator(&self, input: UserInput) -> Result<User, Problem> {
        check_new(&input)?;
        let hash = hash(input.password.clone()).await?;
        let tx = self.write_tx().await?;
        self.insert_user(&tx, &input, &hash).await?;
        tx.commit().await.map_err(db_problem)?;
        self.user(&input.username).await
    }

    pub(crate) async fn user(&self, username: &str) -> Result<User, Problem> {
        let rows = self.rows(format!("SELECT {USER} FROM users WHERE username = $1"), [username.into()]).await?;
        rows.first().map(user).unwrap_or_else(|| Err(Problem::not_found("user")))
    }

    /// A user, from what is remembered of their credentials where possible: the hot path asks for it each time.
    pub(crate) async fn user_cached(&self, username: &str) -> Result<User, Problem> {
        let known = {
            let believed = self.inner.accounts.credentials.lock();
            believed.users.get(username).filter(|(at, _)| at.elapsed() < BELIEVED).map(|(_, user)| user.clone())
        };
        match known {
            Some(user) => Ok(user),
            None => self.user(username).await,
        }
    }

    /// Changes an account: administrators any; people their own e-mail, password and key. One's own password only with the
    /// present one; when an administrator sets somebody else's, that person's API tokens are deleted.
    ///
    /// # Errors
    /// 403/404 for others, 409 for the last enabled administrator, 422 naming the fields at fault, 429 after too many wrong
    /// passwords.
    pub async fn patch_user(&self, actor: &Actor, username: &str, patch: UserPatch) -> Result<User, Problem> {
        let own = actor.username == username && patch.role.is_none() && patch.disabled.is_none();
        authorize(actor, if own { Action::ManageOwnTokens } else { Action::ManageUsers })?;
        self.user(username).await?;
        let mut validator = Validator::new();
        if let Some(email) = &patch.email {
            validator.check("email", validation::email(email));
        }
        if let Some(password) = &patch.password {
            validator.check("password", validation::password(password));
        }
        let changes_own = patch.password.is_some() && actor.username == username;
        if changes_own && patch.current_password.as_deref().unwrap_or_default().is_empty() {
            validator.error("current_password", "Type your current password too.");
        }
        if let Some(key) = patch.ssh_key.as_deref().filter(|key| !key.trim().is_empty()) {
            validator.check("ssh_key", validation::ssh_key(key));
        }
        validator.finish()?;
        if changes_own {
            self.check_present_password(username, patch.current_password.unwrap_or_default()).await?;
        }
        let hash = match &patch.password {
            Some(password) => Some(hash(password.clone()).await?),
            None => None,
        };
        let disables = patch.disabled == Some(true);
        let tx = self.write_tx().await?;
        if disables || patch.role == Some(Role::User) {
            if self.is_postgres() {
                tx.execute_unprepared("LOCK TABLE users IN EXCLUSIVE MODE").await.map_err(db_problem)?;
            }
            let sql =
                "SELECT 1 AS one FROM users WHERE role = 'administrator' AND NOT disabled AND username <> $1 LIMIT 1";
            if tx.query_one_raw(self.sql(sql, [username.into()])).await.map_err(db_problem)?.is_none() {
                return Err(Problem::conflict(
                    "This is the last administrator. Make someone else administrator first.",
                ));
            }
        }
        let values = [
            patch.email.into(),
            patch.role.map(Role::as_str).into(),
            patch.disabled.into(),
            patch.ssh_key.map(|key| key.trim().to_owned()).into(),
            hash.clone().into(),
            username.into(),
        ];
        // Absent fields stay as they are in the row, whoever else changes it meanwhile.
        let sql = "UPDATE users SET email = COALESCE($1, email), role = COALESCE($2, role), disabled = COALESCE($3, disabled), ssh_key = COALESCE($4, ssh_key), password_hash = COALESCE($5, password_hash) WHERE username = $6";
        tx.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        if hash.is_some() || disables {
            let sql = self.sql("DELETE FROM sessions WHERE username = $1", [username.into()]);
            tx.execute_raw(sql).await.map_err(db_problem)?;
        }
        // Whoever had got into the account may have made tokens to stay.
        if hash.is_some() && !changes_own {
            let sql = self.sql("DELETE FROM api_tokens WHERE username = $1", [username.into()]);
            tx.execute_raw(sql).await.map_err(db_problem)?;
        }
        tx.commit().await.map_err(db_problem)?;
        self.forget_credentials();
        self.user(username).await
    }

    /// Guessing is throttled as log-ins are: with a stolen session it must not be easier.
    async fn check_present_password(&self, username: &str, password: String) -> Result<(), Problem> {
        let source = format!("password change of {username}");
        self.failures().count(username, &source, self.now())?;
        let rows = self.rows("SELECT password_hash FROM users WHERE username = $1", [username.into()]).await?;
        let stored: String = get(rows.first().ok_or_else(|| Problem::not_found("user"))?, "password_hash")?;
        if password.chars().count() > 200 || !verify(password, stored).await {
            return Err(Problem::field("current_password", "This is not your current password."));
        }
        self.failures().right(username, &source);
        Ok(())
    }

    /// One's own tokens, newest first.
    ///
    /// # Errors
    /// 403 when the credential may not manage tokens.
    pub async fn list_tokens(&self, actor: &Actor) -> Result<Vec<ApiToken>, Problem> {
        authorize(actor, Action::ManageOwnTokens)?;
        let sql = "SELECT id, name, scopes, created_at, expires_at, last_used_at FROM api_tokens WHERE username = $1 ORDER BY id DESC";
        self.rows(sql, [actor.username.as_str().into()])
            .await?
            .iter()
            .map(|row| {
                Ok(ApiToken {
                    id: TokenId(get(row, "id")?),
                    name: get(row, "name")?,
                    scopes: json(&get::<String>(row, "scopes")?)?,
                    created_at: time(get(row, "created_at")?),
                    expires_at: get::<Option<i64>>(row, "expires_at")?.map(time),
                    last_used_at: get::<Option<i64>>(row, "last_used_at")?.map(time),
                })
            })
            .collect()
    }

    /// A new token, shown once.
    ///
    /// # Errors
    /// 403 when the credential may not manage tokens or lacks the scopes, 422 naming the fields at fault.
    pub async fn create_token(&self, actor: &Actor, mut input: ApiTokenInput) -> Result<NewApiToken, Problem> {
        authorize(actor, Action::ManageOwnTokens)?;
        let wanted = input.scopes.get_or_insert_with(|| actor.scopes.clone());
        // "admin" is everything, so whoever has it may give less.
        let holds = |scope: &Scope| actor.scopes.contains(scope) || actor.scopes.contains(&Scope::Admin);
        if let Some(beyond) = wanted.iter().find(|scope| !holds(scope)) {
            return Err(Problem::forbidden(format!(
                "You cannot give the scope \"{}\", for you do not have it.",
                beyond.as_str()
            )));
        }
        self.create_token_as_operator(&actor.username, input).await
    }

    /// `berth token create`: for `username`, by the operator.
    ///
    /// # Errors
    /// 404 for an unknown user, 422 naming the fields at fault.
    pub async fn create_token_as_operator(&self, username: &str, input: ApiTokenInput) -> Result<NewApiToken, Problem> {
        let mut validator = Validator::new();
        validator.check("name", validation::name(&input.name));
        let mut scopes = input.scopes.unwrap_or_else(|| Scope::ALL.to_vec());
        scopes.sort_unstable();
        scopes.dedup();
        if scopes.is_empty() {
            validator.error("scopes", "Choose at least one of read, reserve, admin.");
        }
        if input.expires_at.is_some_and(|until| until <= self.now()) {
            validator.error("expires_at", "This time is over. Choose one in the future, or none.");
        }
        validator.finish()?;
        self.user(username).await?;
        let id = TokenId::from_ulid(self.new_ulid());
        let token = format!("berth_{}", new_token());
        let values = [
            id.as_str().into(),
            username.into(),
            input.name.as_str().into(),
            digest(&token).into(),
            to_json(&scopes)?.into(),
            self.now().timestamp_millis().into(),
            input.expires_at.map(|until| until.timestamp_millis()).into(),
        ];
        let sql = "INSERT INTO api_tokens (id, username, name, token_hash, scopes, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)";
        self.inner.context.db.write.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        Ok(NewApiToken { id, name: input.name, token })
    }

    /// Revokes one's own token.
    ///
    /// # Errors
    /// 404 when one has no such token.
    pub async fn revoke_token(&self, actor: &Actor, id: &TokenId) -> Result<(), Problem> {
        authorize(actor, Action::ManageOwnTokens)?;
        let sql = "DELETE FROM api_tokens WHERE id = $1 AND username = $2";
        let values = [id.as_str().into(), actor.username.as_str().into()];
        let done = self.inner.context.db.write.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        if done.rows_affected() == 0 {
            return Err(Problem::not_found("API token"));
        }
        self.forget_credentials();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_in_that_could_not_be_checked_is_no_failure() {
        let mut failures = Failures::default();
        let now = DateTime::UNIX_EPOCH;
        for _ in 0..100 {
            failures.count("alice", "192.0.2.1", now).unwrap();
            failures.undo("alice", "192.0.2.1");
        }
        for _ in 0..FREE_FAILURES {
            failures.count("alice", "192.0.2.1", now).unwrap();
        }
        failures.count("alice", "192.0.2.1", now).unwrap_err();
    }

    #[test]
    fn checking_nobody_takes_the_work_of_checking_somebody() {
        let nobody = PasswordHash::new(DUMMY_HASH).unwrap();
        let salt = SaltString::encode_b64(&[7; 16]).unwrap();
        let somebody = argon2::Argon2::default().hash_password(b"long enough", &salt).unwrap();
        assert_eq!(nobody.algorithm, somebody.algorithm);
        assert_eq!(nobody.params, somebody.params);
        assert_eq!(nobody.hash.unwrap().len(), somebody.hash.unwrap().len());
    }
}
