//! API tokens: creation, revocation and the check of bearer tokens.

use super::Accounts;
use super::sessions::has_session_id;
use crate::Result;
use crate::audit_trail::{Author, Record, Target, identify};
use crate::db::codec::time;
use crate::db::column::JsonText;
use crate::db::entity::{api_tokens, sessions, users};
use crate::db::link::DatabaseTransaction;
use crate::ownership::owned_by;
use crate::pagination::{decode_cursor, page_of};
use crate::secrets::{digest, new_token};
use chrono::{DateTime, Duration, Utc};
use domain::account::{ApiToken, ApiTokenInput, NewApiToken, SessionInfo};
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::authorization::{Action, Actor, ActorToken, Scope, authorize};
use domain::id::TokenId;
use domain::pagination::{Page, PageQuery};
use domain::problem::Validator;
use domain::{Problem, validation};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ConnectionTrait, DbErr, EntityTrait as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    QueryTrait as _, SelectExt as _, Set,
};
use tracing::instrument;

/// Precision of the recorded time of the last use.
const LAST_USE_PRECISION: Duration = Duration::minutes(1);

/// Tolerance of the maximum lifetime, for the clock of a client that computes the time.
const EXPIRY_TOLERANCE: Duration = Duration::minutes(5);

/// Valid input of a new token.
struct ValidToken {
    name: String,
    scopes: Vec<Scope>,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

impl Accounts {
    /// The user of an API token.
    ///
    /// # Errors
    /// 401 if the token is unknown, expired or revoked, or the account is disabled.
    pub async fn authenticate_token(&self, bearer: &str) -> Result<(Actor, SessionInfo), Problem> {
        let hash = digest(bearer);
        let credential = format!("token {hash}");
        let generation = self.credential_generation();
        if let Some(holder) = self.cached_credential(&credential) {
            identify(&holder.0);
            return Ok(holder);
        }
        let now = self.context.now();
        let found = self.find_token(&hash).await?;
        let Some((token, user)) = found.filter(|(token, _)| token.expires_at.is_none_or(|at| time(at) > now)) else {
            self.record_rejected_token().await;
            return Err(Problem::unauthenticated(
                "This API token is unknown, revoked or expired. Create one under Settings → API tokens.",
            ));
        };
        if token.last_used_at.is_none_or(|at| now - time(at) > LAST_USE_PRECISION) {
            // Not fatal: a database on a full disk can still be read, so requests that only read must succeed.
            if let Err(error) = self.record_token_use(&token.id).await {
                tracing::warn!(%error, "the last use of an API token was not recorded");
            }
        }
        let (user, scopes) = (self.to_user(user), token.scopes.0);
        let owns = owned_by(&self.context.db.read, &user.username, user.role).await?;
        let actor = Actor {
            username: user.username.clone(),
            role: user.role,
            scopes: scopes.clone(),
            session: None,
            token: Some(ActorToken { id: TokenId(token.id), name: token.name }),
            owns: owns.clone(),
        };
        identify(&actor);
        let expires_at = token.expires_at.map(time);
        let holder = (actor, SessionInfo { user, scopes, expires_at, needs_second_factor: false, owns });
        self.cache_credential(credential, generation, &holder);
        Ok(holder)
    }

    /// A token with its enabled account.
    async fn find_token(&self, hash: &str) -> Result<Option<(api_tokens::Model, users::Model)>> {
        let found = api_tokens::Entity::find()
            .filter(api_tokens::COLUMN.token_hash.eq(hash))
            .filter(users::COLUMN.disabled.eq(false))
            .find_also_related(users::Entity)
            .one(&self.context.db.read)
            .await?;
        Ok(found.and_then(|(token, user)| Some((token, user?))))
    }

    async fn record_token_use(&self, id: &str) -> Result<()> {
        api_tokens::Entity::update_many()
            .col_expr(api_tokens::Column::LastUsedAt, Expr::value(self.context.now().timestamp_millis()))
            .filter(api_tokens::COLUMN.id.eq(id))
            .exec(&self.context.db.write)
            .await?;
        Ok(())
    }

    /// Lists the actor's tokens, newest first.
    ///
    /// # Errors
    /// 403 if the credential may not manage tokens.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn list_tokens(&self, actor: &Actor) -> Result<Vec<ApiToken>, Problem> {
        authorize(actor, Action::ManageOwnTokens)?;
        Ok(self.tokens_of(&actor.username).await?)
    }

    /// One page of the actor's tokens, newest first.
    ///
    /// # Errors
    /// 403 if the credential may not manage tokens; 422 for an invalid limit or cursor.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn list_tokens_page(&self, actor: &Actor, page: &PageQuery) -> Result<Page<ApiToken>, Problem> {
        authorize(actor, Action::ManageOwnTokens)?;
        let limit = page.limit()?;
        let before = decode_cursor(page.cursor.as_deref())?;
        let tokens = self.tokens_before(&actor.username, before, limit + 1).await?;
        Ok(page_of(tokens, limit, |token| token.id.0.clone()))
    }

    async fn tokens_before(&self, username: &str, id: Option<String>, limit: u64) -> Result<Vec<ApiToken>> {
        let tokens = api_tokens::Entity::find()
            .filter(api_tokens::COLUMN.username.eq(username))
            .apply_if(id, |query, id| query.filter(api_tokens::COLUMN.id.lt(id)))
            .order_by_desc(api_tokens::Column::Id)
            .limit(limit)
            .all(&self.context.db.read)
            .await?;
        Ok(tokens.into_iter().map(to_api_token).collect())
    }

    pub(super) async fn tokens_of(&self, username: &str) -> Result<Vec<ApiToken>> {
        let tokens = api_tokens::Entity::find()
            .filter(api_tokens::COLUMN.username.eq(username))
            .order_by_desc(api_tokens::Column::Id)
            .all(&self.context.db.read)
            .await?;
        Ok(tokens.into_iter().map(to_api_token).collect())
    }

    /// Creates a token for the actor. Only this result contains the token itself.
    ///
    /// A token cannot create tokens: one that expires, or was stolen, could otherwise outlive its revocation.
    ///
    /// # Errors
    /// 403 for a token, or if the credential may not manage tokens; 401 if the session has ended; 409 at the limit on
    /// tokens of one user; 422 that names invalid fields. 403 without a recent confirmation too.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn create_token(&self, actor: &Actor, mut input: ApiTokenInput) -> Result<NewApiToken, Problem> {
        authorize(actor, Action::ManageOwnTokens)?;
        let Some(session) = &actor.session else {
            return Err(Problem::forbidden(
                "An API token cannot create tokens. Log in and create it under Settings → API tokens.",
            ));
        };
        let password = input.current_password.take();
        let token = self.validate_token(input)?;
        self.confirm_identity(actor, password).await?;
        let (row, created) = self.prepare_token(&actor.username, token);
        if !self.insert_token(Author::User(actor), row, Some(&session.id)).await? {
            return Err(Problem::unauthenticated("Your session has ended. Log in again."));
        }
        Ok(created)
    }

    /// Fails with 409 if the user, whose row is locked, has as many tokens as one user may have.
    async fn check_token_quota(&self, tx: &DatabaseTransaction, username: &str) -> Result<()> {
        let Some(limit) = self.context.settings.quotas.tokens else { return Ok(()) };
        let count = api_tokens::Entity::find().filter(api_tokens::COLUMN.username.eq(username)).count(tx).await?;
        if count >= limit.into() {
            return Err(Problem::conflict(format!(
                "You have {count} API tokens, and the limit is {limit}. Revoke one that you do not need, or ask the \
                 operator to raise BERTH_MAX_TOKENS."
            ))
            .into());
        }
        Ok(())
    }

    /// Creates a token for any user. For the command line, where access to the machine is the authorisation.
    ///
    /// # Errors
    /// 404 for an unknown user; 409 for a disabled one; 422 that names invalid fields.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn create_token_as_operator(&self, username: &str, input: ApiTokenInput) -> Result<NewApiToken, Problem> {
        let token = self.validate_token(input)?;
        self.get_user(username).await?;
        let (row, created) = self.prepare_token(username, token);
        if !self.insert_token(Author::Operator, row, None).await? {
            return Err(Problem::conflict(format!("The account {username} is disabled. Enable it first.")));
        }
        Ok(created)
    }

    fn validate_token(&self, input: ApiTokenInput) -> Result<ValidToken, Problem> {
        let mut validator = Validator::new();
        validator.check("name", validation::name(&input.name));
        let mut scopes = input.scopes.unwrap_or_else(|| Scope::ALL.to_vec());
        scopes.sort_unstable();
        scopes.dedup();
        if scopes.is_empty() {
            validator.error("scopes", "Choose at least one of read, reserve, admin.");
        }
        let now = self.context.now();
        let lifetime = self.context.settings.accounts.token_lifetime;
        let expires_at = input.expires_at.unwrap_or(now + lifetime);
        if expires_at <= now {
            validator.error("expires_at", "This time is in the past. Choose a future time.");
        } else if expires_at > now + lifetime + EXPIRY_TOLERANCE {
            let days = lifetime.num_days();
            validator.error("expires_at", format!("A token is valid for at most {days} days. Choose an earlier time."));
        }
        validator.finish()?;
        Ok(ValidToken { name: input.name, scopes, created_at: now, expires_at: expires_at.min(now + lifetime) })
    }

    /// The row of a new token, and the response with the token itself.
    fn prepare_token(&self, username: &str, token: ValidToken) -> (api_tokens::ActiveModel, NewApiToken) {
        let id = TokenId::from_ulid(self.context.new_ulid());
        let secret = format!("berth_{}", new_token());
        let row = api_tokens::ActiveModel {
            id: Set(id.0.clone()),
            username: Set(username.to_owned()),
            name: Set(token.name.clone()),
            token_hash: Set(digest(&secret)),
            scopes: Set(JsonText(token.scopes)),
            created_at: Set(token.created_at.timestamp_millis()),
            expires_at: Set(Some(token.expires_at.timestamp_millis())),
            last_used_at: Set(None),
            reminded_at: Set(None),
        };
        (row, NewApiToken { id, name: token.name, token: secret })
    }

    /// Inserts a token, unless its account is disabled or the session that creates it has ended. A session may not exceed
    /// the limit on tokens of one user.
    async fn insert_token(
        &self,
        author: Author<'_>,
        token: api_tokens::ActiveModel,
        session: Option<&str>,
    ) -> Result<bool> {
        let username = token.username.clone().take().unwrap_or_default();
        let tx = self.context.begin_change().await?;
        // The lock serialises the creation with a change of the password, which would not revoke an uncommitted token, and
        // with other creations, which the limit must count.
        let is_enabled = users::Entity::find_by_id(username.as_str())
            .filter(users::COLUMN.disabled.eq(false))
            .lock_exclusive()
            .one(&tx)
            .await?
            .is_some();
        let is_open = match session {
            None => true,
            Some(id) => match has_session_id(id) {
                None => false,
                Some(has_id) => {
                    let own = sessions::COLUMN.username.eq(username.as_str());
                    sessions::Entity::find().filter(own).filter(has_id).exists(&tx).await?
                }
            },
        };
        if !is_enabled || !is_open {
            tx.rollback().await?;
            return Ok(false);
        }
        if session.is_some() {
            self.check_token_quota(&tx, &username).await?;
        }
        let id = token.id.clone().take().unwrap_or_default();
        api_tokens::Entity::insert(token).exec_without_returning(&tx).await?;
        let created = api_tokens::Entity::find_by_id(id).one(&*tx).await?.map(to_api_token);
        let created = created.ok_or_else(Problem::internal)?;
        let changes = Changes::created(&created).secret("token").field("user_id", (), &username);
        let record = Record::new(author, AuditAction::TokenCreated, target(&created.id, &created.name));
        let notification = match session {
            Some(_) => Some(self.notify_new_token(&tx, &username, &created.name).await?),
            None => None,
        };
        tx.commit(record.changes(changes).detail("The token was shown.")).await?;
        self.feed.publish(notification.into_iter().collect());
        Ok(true)
    }

    /// Revokes one of the actor's tokens.
    ///
    /// # Errors
    /// 404 if the actor has no such token.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn revoke_token(&self, actor: &Actor, id: &TokenId) -> Result<(), Problem> {
        authorize(actor, Action::ManageOwnTokens)?;
        if !self.delete_token(actor, id).await? {
            return Err(Problem::not_found("API token"));
        }
        self.invalidate_credentials();
        Ok(())
    }

    async fn delete_token(&self, actor: &Actor, id: &TokenId) -> Result<bool> {
        let tx = self.context.begin_change().await?;
        let own = || {
            api_tokens::Entity::find_by_id(id.as_str()).filter(api_tokens::COLUMN.username.eq(actor.username.as_str()))
        };
        let Some(token) = own().lock_exclusive().one(&*tx).await?.map(to_api_token) else { return Ok(false) };
        api_tokens::Entity::delete_by_id(id.as_str()).exec(&tx).await?;
        let record = Record::new(actor, AuditAction::TokenRevoked, target(&token.id, &token.name));
        tx.commit(record.changes(Changes::deleted(&token))).await?;
        Ok(true)
    }
}

/// A token as the target of an entry of the audit log.
fn target(id: &TokenId, name: &str) -> Target {
    Target::named(AuditTargetType::Token, id, name)
}

fn to_api_token(token: api_tokens::Model) -> ApiToken {
    ApiToken {
        id: TokenId(token.id),
        name: token.name,
        scopes: token.scopes.0,
        created_at: time(token.created_at),
        expires_at: token.expires_at.map(time),
        last_used_at: token.last_used_at.map(time),
    }
}

/// Deletes the API tokens of an account.
pub(super) async fn delete_tokens(connection: &impl ConnectionTrait, username: &str) -> Result<(), DbErr> {
    api_tokens::Entity::delete_many().filter(api_tokens::COLUMN.username.eq(username)).exec(connection).await?;
    Ok(())
}
