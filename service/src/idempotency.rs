//! `Idempotency-Key` on creating POSTs (docs/contract.md §6): kept 24 h per person.

use crate::Service;
use crate::db::codec::get;
use crate::error::{db_problem, is_unique_violation};
use domain::Problem;
use domain::authorization::Actor;
use sea_orm::ConnectionTrait as _;

/// A first request that has not answered for this long died; its key is free again.
const ABANDONED_MS: i64 = 60_000;

/// What a key means for a request.
pub enum Idempotent {
    /// Not seen: do the work, then call [`Service::idempotency_finish`] (or `_abandon` on an error).
    New,
    /// Done before: answer this status and body again.
    Replay(u16, String),
}

impl Service {
    /// Takes a key (1 to 255 visible ASCII characters).
    ///
    /// # Errors
    /// 409 while the first request runs, 422 when the key came with another request (`fingerprint` = digest of method,
    /// path and body).
    pub async fn idempotency_begin(&self, actor: &Actor, key: &str, fingerprint: &str) -> Result<Idempotent, Problem> {
        if !(1..=255).contains(&key.len()) || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Problem::field("Idempotency-Key", "Use 1 to 255 visible ASCII characters."));
        }
        let now = self.now().timestamp_millis();
        let sql = "DELETE FROM idempotency_keys WHERE username = $1 AND key = $2 AND (created_at < $3 OR (status IS NULL AND created_at < $4))";
        let values =
            [actor.username.as_str().into(), key.into(), (now - 86_400_000).into(), (now - ABANDONED_MS).into()];
        self.inner.context.db.write.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        let sql = "INSERT INTO idempotency_keys (username, key, fingerprint, created_at) VALUES ($1, $2, $3, $4)";
        let values = [actor.username.as_str().into(), key.into(), fingerprint.into(), now.into()];
        match self.inner.context.db.write.execute_raw(self.sql(sql, values)).await {
            Ok(_) => return Ok(Idempotent::New),
            Err(error) if is_unique_violation(&error) => {}
            Err(error) => return Err(db_problem(error)),
        }
        let sql = "SELECT fingerprint, status, body FROM idempotency_keys WHERE username = $1 AND key = $2";
        let rows = self.rows(sql, [actor.username.as_str().into(), key.into()]).await?;
        let running = || {
            Problem::conflict("The first request with this Idempotency-Key is still running. Try again in a moment.")
        };
        let row = rows.first().ok_or_else(running)?;
        if get::<String>(row, "fingerprint")? != fingerprint {
            return Err(Problem::field(
                "Idempotency-Key",
                "This key came with another request before. Use a new key for a new request.",
            ));
        }
        match (get::<Option<i32>>(row, "status")?, get::<Option<String>>(row, "body")?) {
            (Some(status), Some(body)) => {
                Ok(Idempotent::Replay(status as u16, self.inner.cipher.decrypt("idempotency", &body)?))
            }
            _ => Err(running()),
        }
    }

    /// Keeps the answer. Secrets in it are encrypted at rest.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn idempotency_finish(&self, actor: &Actor, key: &str, status: u16, body: &str) -> Result<(), Problem> {
        let sql = "UPDATE idempotency_keys SET status = $1, body = $2 WHERE username = $3 AND key = $4";
        let body = self.inner.cipher.encrypt("idempotency", body)?;
        let values = [i32::from(status).into(), body.into(), actor.username.as_str().into(), key.into()];
        self.inner.context.db.write.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        Ok(())
    }

    /// Frees the key after a failed request.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn idempotency_abandon(&self, actor: &Actor, key: &str) -> Result<(), Problem> {
        let sql = "DELETE FROM idempotency_keys WHERE username = $1 AND key = $2 AND status IS NULL";
        let values = [actor.username.as_str().into(), key.into()];
        self.inner.context.db.write.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        Ok(())
    }
}
