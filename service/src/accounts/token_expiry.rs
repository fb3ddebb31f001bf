//! Reminders of API tokens that expire soon.

use super::Accounts;
use crate::Result;
use crate::db::codec::time;
use crate::db::entity::api_tokens;
use crate::notifications::Recipient;
use chrono::Duration;
use domain::Problem;
use domain::change::{Change, Severity};
use sea_orm::sea_query::Expr;
use sea_orm::{EntityTrait as _, QueryFilter as _, QueryOrder as _};

/// Time before the expiry at which the user is reminded.
const NOTICE: Duration = Duration::days(14);
/// The same as a share of a token's lifetime: a token of one day needs no reminder at its creation.
const NOTICE_SHARE: i32 = 4;

impl Accounts {
    /// Notifies the user of each API token that expires within 14 days, or within the last quarter of its lifetime if that is
    /// shorter, once. Returns the number of tokens.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    #[tracing::instrument(skip_all, err(level = "debug"))]
    pub async fn remind_of_expiring_tokens(&self) -> Result<u64, Problem> {
        Ok(self.remind_of_tokens().await?)
    }

    async fn remind_of_tokens(&self) -> Result<u64> {
        let now = self.context.now();
        let expiring = api_tokens::Entity::find()
            .filter(api_tokens::COLUMN.reminded_at.is_null())
            .filter(api_tokens::COLUMN.expires_at.gt(now.timestamp_millis()))
            .filter(api_tokens::COLUMN.expires_at.lte((now + NOTICE).timestamp_millis()))
            .order_by_asc(api_tokens::COLUMN.id)
            .all(&self.context.db.read)
            .await?;
        let mut reminded = 0;
        for token in expiring {
            let Some(expires_at) = token.expires_at.map(time) else { continue };
            let last_quarter = (expires_at - time(token.created_at)) / NOTICE_SHARE;
            if expires_at - now <= last_quarter && self.remind_of_token(&token).await? {
                reminded += 1;
            }
        }
        Ok(reminded)
    }

    /// Reminds of one token, unless another process has done it. Returns whether it did.
    async fn remind_of_token(&self, token: &api_tokens::Model) -> Result<bool> {
        let tx = self.context.db.begin_unaudited().await?;
        let marked = api_tokens::Entity::update_many()
            .col_expr(api_tokens::Column::RemindedAt, Expr::value(self.context.now().timestamp_millis()))
            .filter(api_tokens::COLUMN.id.eq(token.id.as_str()))
            .filter(api_tokens::COLUMN.reminded_at.is_null())
            .exec(&tx)
            .await?;
        if marked.rows_affected != 1 {
            return Ok(false);
        }
        let day = token.expires_at.map(|at| time(at).format("%Y-%m-%d at %H:%M UTC").to_string()).unwrap_or_default();
        let message = format!(
            "The API token {} expires on {day}. Create a new one under Settings → API tokens, and replace it where it is used.",
            token.name
        );
        let recipient = Recipient::User(&token.username);
        let notification =
            self.notifications.create(&tx, recipient, Severity::Warning, &message, Some("/settings/tokens")).await?;
        tx.commit().await?;
        self.feed.publish(vec![Change::Notification(notification)]);
        Ok(true)
    }
}
