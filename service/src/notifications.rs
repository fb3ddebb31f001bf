//! Notifications: messages to users, listed on the page.

use crate::Result;
use crate::context::Context;
use crate::db::codec::time;
use crate::db::column::Text;
use crate::db::entity::notifications;
use crate::db::link::DatabaseTransaction;
use domain::Problem;
use domain::authorization::{Actor, Role};
use domain::change::{Notification, Severity};
use sea_orm::sea_query::Expr;
use sea_orm::{Condition, EntityTrait as _, NotSet, QueryFilter as _, QueryOrder as _, QuerySelect as _, Set};
use tracing::instrument;

/// Number of notifications in the list.
const LIST_LIMIT: u64 = 100;

/// The recipient of a notification.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Recipient<'a> {
    /// One user, by username.
    User(&'a str),
    /// Every administrator.
    Administrators,
}

/// Use cases of notifications.
#[derive(Clone)]
pub struct Notifications {
    context: Context,
}

impl Notifications {
    pub(crate) fn new(context: Context) -> Self {
        Self { context }
    }

    /// Creates a notification in the transaction that causes it. The caller announces it after the commit.
    pub(crate) async fn create(
        &self,
        tx: &DatabaseTransaction,
        recipient: Recipient<'_>,
        severity: Severity,
        message: &str,
        link: Option<&str>,
    ) -> Result<Notification> {
        let now = self.context.now();
        let username = match recipient {
            Recipient::User(username) => Some(username.to_owned()),
            Recipient::Administrators => None,
        };
        let row = notifications::ActiveModel {
            id: NotSet,
            username: Set(username.clone()),
            severity: Set(Text(severity)),
            message: Set(message.to_owned()),
            link: Set(link.map(str::to_owned)),
            at: Set(now.timestamp_millis()),
            read: Set(false),
        };
        let id = notifications::Entity::insert(row).exec(tx).await?.last_insert_id;
        let (message, link) = (message.to_owned(), link.map(str::to_owned));
        Ok(Notification { id, username, severity, message, link, at: now, read: false })
    }

    /// Lists the actor's newest 100 notifications, newest first.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn list(&self, actor: &Actor) -> Result<Vec<Notification>, Problem> {
        Ok(self.newest(actor).await?)
    }

    async fn newest(&self, actor: &Actor) -> Result<Vec<Notification>> {
        let rows = notifications::Entity::find()
            .filter(addressed_to(actor))
            .order_by_desc(notifications::Column::Id)
            .limit(LIST_LIMIT)
            .all(&self.context.db.read)
            .await?;
        Ok(rows.into_iter().map(to_notification).collect())
    }

    /// Marks the actor's notifications up to `id` as read.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn mark_read(&self, actor: &Actor, id: i64) -> Result<(), Problem> {
        Ok(self.set_read(actor, id).await?)
    }

    async fn set_read(&self, actor: &Actor, id: i64) -> Result<()> {
        notifications::Entity::update_many()
            .col_expr(notifications::Column::Read, Expr::value(true))
            .filter(addressed_to(actor))
            .filter(notifications::COLUMN.id.lte(id))
            .filter(notifications::COLUMN.read.eq(false))
            .exec(&self.context.db.write)
            .await?;
        Ok(())
    }
}

/// The notifications that an actor may see.
fn addressed_to(actor: &Actor) -> Condition {
    let to_administrators = (actor.role == Role::Administrator).then(|| notifications::COLUMN.username.is_null());
    Condition::any().add(notifications::COLUMN.username.eq(actor.username.as_str())).add_option(to_administrators)
}

fn to_notification(row: notifications::Model) -> Notification {
    Notification {
        id: row.id,
        username: row.username,
        severity: row.severity.0,
        message: row.message,
        link: row.link,
        at: time(row.at),
        read: row.read,
    }
}
