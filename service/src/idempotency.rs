//! Idempotency keys: a repeated `POST` with the same `Idempotency-Key` returns the first response (docs/contract.md
//! §6).

use crate::audit_trail::{Record, Target};
use crate::context::Context;
use crate::db::entity::idempotency_keys as keys;
use crate::error::is_unique_violation;
use crate::secrets::{Cipher, SecretUse};
use crate::{Error, Result};
use chrono::{DateTime, Duration, Utc};
use domain::Problem;
use domain::audit::{AuditAction, AuditTargetType};
use domain::authorization::Actor;
use sea_orm::{Condition, EntityTrait as _, QueryFilter as _, Set};
use tracing::instrument;

/// Retention of a key and its response.
pub(crate) const KEY_LIFETIME: Duration = Duration::hours(24);
/// Time after which a first request without a response counts as crashed, and its key can be used again.
const ABANDONED_AFTER: Duration = Duration::minutes(1);

fn use_of<'a>(actor: &'a Actor, key: &'a str) -> SecretUse<'a> {
    SecretUse::Idempotency { username: &actor.username, key }
}

/// The result of [`Idempotency::begin`].
pub enum Idempotent {
    /// The key is new: run the request, then call [`Idempotency::finish`], or [`Idempotency::abandon`] if it fails.
    New,
    /// The request was run before: return this status and body.
    Replay(u16, String),
}

/// Idempotency keys of all users.
#[derive(Clone)]
pub struct Idempotency {
    context: Context,
    cipher: Cipher,
}

impl Idempotency {
    pub(crate) fn new(context: Context, cipher: Cipher) -> Self {
        Self { context, cipher }
    }

    /// Reserves a key of 1 to 255 visible ASCII characters. `fingerprint` is the digest of method, path and body.
    ///
    /// # Errors
    /// 409 while the first request runs; 422 for an invalid key, or if the key belongs to another request.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn begin(&self, actor: &Actor, key: &str, fingerprint: &str) -> Result<Idempotent, Problem> {
        if !(1..=255).contains(&key.len()) || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Problem::field("Idempotency-Key", "Use 1 to 255 visible ASCII characters."));
        }
        let now = self.context.now();
        self.delete_expired(actor, key, now).await?;
        if self.insert(actor, key, fingerprint, now).await? {
            return Ok(Idempotent::New);
        }
        let Some(stored) = self.find(actor, key).await? else { return Err(still_running()) };
        if stored.fingerprint != fingerprint {
            return Err(Problem::field(
                "Idempotency-Key",
                "This key belongs to another request. Use a new key for each request.",
            ));
        }
        match (stored.status.and_then(|status| u16::try_from(status).ok()), stored.body) {
            (Some(status), Some(body)) => {
                let body = self.cipher.decrypt(use_of(actor, key), &body)?;
                // The response can contain a secret, so it is shown only after the audit log records that.
                let target = Target::new(AuditTargetType::Request, key);
                let record = Record::new(actor, AuditAction::RequestRepeated, target);
                self.context.trail.write(record.detail("The stored response was returned.")).await?;
                Ok(Idempotent::Replay(status, body))
            }
            _ => Err(still_running()),
        }
    }

    /// Deletes the key if it is expired or abandoned.
    async fn delete_expired(&self, actor: &Actor, key: &str, now: DateTime<Utc>) -> Result<()> {
        let older_than = |age: Duration| keys::COLUMN.created_at.lt((now - age).timestamp_millis());
        let abandoned = Condition::all().add(keys::COLUMN.status.is_null()).add(older_than(ABANDONED_AFTER));
        keys::Entity::delete_by_id((actor.username.clone(), key.to_owned()))
            .filter(Condition::any().add(older_than(KEY_LIFETIME)).add(abandoned))
            .exec(&self.context.db.write)
            .await?;
        Ok(())
    }

    /// Inserts the key; false if it exists.
    async fn insert(&self, actor: &Actor, key: &str, fingerprint: &str, now: DateTime<Utc>) -> Result<bool> {
        let row = keys::ActiveModel {
            username: Set(actor.username.clone()),
            key: Set(key.to_owned()),
            fingerprint: Set(fingerprint.to_owned()),
            status: Set(None),
            body: Set(None),
            created_at: Set(now.timestamp_millis()),
        };
        match keys::Entity::insert(row).exec_without_returning(&self.context.db.write).await {
            Ok(_) => Ok(true),
            Err(error) if is_unique_violation(&error) => Ok(false),
            Err(error) => Err(Error::from(error)),
        }
    }

    async fn find(&self, actor: &Actor, key: &str) -> Result<Option<keys::Model>> {
        let id = (actor.username.clone(), key.to_owned());
        Ok(keys::Entity::find_by_id(id).one(&self.context.db.read).await?)
    }

    /// Stores the response. The body may contain a secret, so it is encrypted.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn finish(&self, actor: &Actor, key: &str, status: u16, body: &str) -> Result<(), Problem> {
        let body = self.cipher.encrypt(use_of(actor, key), body)?;
        Ok(self.store(actor, key, status, body).await?)
    }

    async fn store(&self, actor: &Actor, key: &str, status: u16, body: String) -> Result<()> {
        let response =
            keys::ActiveModel { status: Set(Some(status.into())), body: Set(Some(body)), ..Default::default() };
        keys::Entity::update_many()
            .set(response)
            .filter(keys::COLUMN.username.eq(actor.username.as_str()))
            .filter(keys::COLUMN.key.eq(key))
            .exec(&self.context.db.write)
            .await?;
        Ok(())
    }

    /// Releases the key of a failed request. A stored response is kept.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn abandon(&self, actor: &Actor, key: &str) -> Result<(), Problem> {
        Ok(self.delete_unfinished(actor, key).await?)
    }

    async fn delete_unfinished(&self, actor: &Actor, key: &str) -> Result<()> {
        keys::Entity::delete_by_id((actor.username.clone(), key.to_owned()))
            .filter(keys::COLUMN.status.is_null())
            .exec(&self.context.db.write)
            .await?;
        Ok(())
    }
}

fn still_running() -> Problem {
    Problem::conflict("The first request with this Idempotency-Key is still running. Try again in a moment.")
}
