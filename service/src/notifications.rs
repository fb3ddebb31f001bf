//! Notifications: messages to users, listed on the page.

use crate::Result;
use crate::audit_trail::{AuditedTransaction, Record, Target};
use crate::context::Context;
use crate::db::codec::time;
use crate::db::column::Text;
use crate::db::entity::{notification_reads, notifications};
use crate::db::link::DatabaseTransaction;
use crate::db::notification_reads::{mark as mark_shared_read, mark_each as mark_each_shared_read};
use crate::ownership::owners_of;
use crate::pagination::{decode_number_cursor, page_of};
use domain::Problem;
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::authorization::{Action, Actor, Role, authorize};
use domain::change::{Notification, Severity};
use domain::ownership::ResourceKey;
use domain::pagination::{Page, PageQuery};
use sea_orm::sea_query::Expr;
use sea_orm::{
    Condition, ConnectionTrait, EntityTrait as _, NotSet, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    QueryTrait as _, Set,
};
use std::collections::HashSet;
use tracing::instrument;

/// Number of notifications that the page shows.
const SHOWN: u32 = 100;

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

    /// Creates the same notification for all administrators and for each owner of a resource, in the transaction that
    /// causes it. `None`: for administrators only. The caller announces the notifications after the commit.
    pub(crate) async fn create_for_managers(
        &self,
        tx: &DatabaseTransaction,
        resource: Option<ResourceKey<'_>>,
        severity: Severity,
        message: &str,
        link: Option<&str>,
    ) -> Result<Vec<Notification>> {
        let mut created = vec![self.create(tx, Recipient::Administrators, severity, message, link).await?];
        let owners = match resource {
            Some(resource) => owners_of(tx, resource).await?,
            None => Vec::new(),
        };
        for owner in owners {
            created.push(self.create(tx, Recipient::User(&owner), severity, message, link).await?);
        }
        Ok(created)
    }

    /// The actor's newest 100 notifications, newest first.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn list(&self, actor: &Actor) -> Result<Vec<Notification>, Problem> {
        let newest = PageQuery { limit: Some(SHOWN), cursor: None };
        Ok(self.read_page(actor, &newest).await?.items)
    }

    /// One page of the actor's notifications, newest first.
    ///
    /// # Errors
    /// 422 for an invalid limit or cursor.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn list_page(&self, actor: &Actor, page: &PageQuery) -> Result<Page<Notification>, Problem> {
        Ok(self.read_page(actor, page).await?)
    }

    async fn read_page(&self, actor: &Actor, page: &PageQuery) -> Result<Page<Notification>> {
        let limit = page.limit()?;
        let rows = notifications::Entity::find()
            .filter(addressed_to(actor))
            .apply_if(decode_number_cursor(page.cursor.as_deref())?, |query, id| {
                query.filter(notifications::COLUMN.id.lt(id))
            })
            .order_by_desc(notifications::Column::Id)
            .limit(limit + 1)
            .all(&self.context.db.read)
            .await?;
        let page = page_of(rows, limit, |row| row.id.to_string());
        let read = self.read_by(actor, &page.items).await?;
        let to_item = |row: notifications::Model| {
            let is_read = row.read || read.contains(&row.id);
            to_notification(row, is_read)
        };
        Ok(Page { items: page.items.into_iter().map(to_item).collect(), next_cursor: page.next_cursor })
    }

    /// The notifications to all administrators that the actor has read.
    async fn read_by(&self, actor: &Actor, rows: &[notifications::Model]) -> Result<HashSet<i64>> {
        let shared: Vec<i64> = rows.iter().filter(|row| row.username.is_none()).map(|row| row.id).collect();
        if shared.is_empty() {
            return Ok(HashSet::new());
        }
        let read: Vec<i64> = notification_reads::Entity::find()
            .select_only()
            .column(notification_reads::Column::NotificationId)
            .filter(notification_reads::COLUMN.username.eq(actor.username.as_str()))
            .filter(notification_reads::COLUMN.notification_id.is_in(shared))
            .into_tuple()
            .all(&self.context.db.read)
            .await?;
        Ok(read.into_iter().collect())
    }

    /// Marks the actor's notifications up to `id` as read. Other administrators still see theirs as unread.
    ///
    /// # Errors
    /// 403 for a token that may only read; 503 if the database is unavailable.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn mark_read(&self, actor: &Actor, id: i64) -> Result<(), Problem> {
        authorize(actor, Action::MarkNotifications)?;
        Ok(self.set_read(actor, id).await?)
    }

    /// Marks some of the actor's notifications as read, e.g. those of one cause. Other administrators still see theirs as unread.
    ///
    /// # Errors
    /// 403 for a token that may only read; 422 for more than 100 identifiers; 503 if the database is unavailable.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn mark_each_read(&self, actor: &Actor, ids: &[i64]) -> Result<(), Problem> {
        authorize(actor, Action::MarkNotifications)?;
        if ids.len() > SHOWN as usize {
            return Err(Problem::field("ids", format!("Name at most {SHOWN} notifications.")));
        }
        Ok(self.set_each_read(actor, ids).await?)
    }

    async fn set_read(&self, actor: &Actor, id: i64) -> Result<()> {
        let tx = self.context.begin_change().await?;
        let mut marked = mark_own_read(&tx, actor, notifications::COLUMN.id.lte(id)).await?;
        if actor.role == Role::Administrator {
            marked += mark_shared_read(&self.context.db, &tx, &actor.username, id).await?;
        }
        Self::commit_read(tx, actor, id, marked).await
    }

    async fn set_each_read(&self, actor: &Actor, ids: &[i64]) -> Result<()> {
        let Some(newest) = ids.iter().copied().max() else { return Ok(()) };
        let tx = self.context.begin_change().await?;
        let mut marked = mark_own_read(&tx, actor, notifications::COLUMN.id.is_in(ids.iter().copied())).await?;
        if actor.role == Role::Administrator {
            marked += mark_each_shared_read(&self.context.db, &tx, &actor.username, ids).await?;
        }
        Self::commit_read(tx, actor, newest, marked).await
    }

    async fn commit_read(tx: AuditedTransaction, actor: &Actor, id: i64, marked: u64) -> Result<()> {
        if marked == 0 {
            return Ok(());
        }
        let target = Target::new(AuditTargetType::Notification, id);
        let record = Record::new(actor, AuditAction::NotificationRead, target);
        tx.commit(record.changes(Changes::none().field("marked", (), marked))).await
    }
}

/// Marks the unread notifications to the actor alone that match `which`. Returns their number.
async fn mark_own_read(tx: &DatabaseTransaction, actor: &Actor, which: Expr) -> Result<u64> {
    let own = notifications::Entity::update_many()
        .col_expr(notifications::Column::Read, Expr::value(true))
        .filter(notifications::COLUMN.username.eq(actor.username.as_str()))
        .filter(which)
        .filter(notifications::COLUMN.read.eq(false))
        .exec(tx)
        .await?;
    Ok(own.rows_affected)
}

/// Notifications to a user with an id after `after`, oldest first.
pub(crate) async fn notifications_of(
    connection: &impl ConnectionTrait,
    username: &str,
    after: i64,
    limit: u64,
) -> Result<Vec<Notification>> {
    let rows = notifications::Entity::find()
        .filter(notifications::COLUMN.username.eq(username))
        .filter(notifications::COLUMN.id.gt(after))
        .order_by_asc(notifications::Column::Id)
        .limit(limit)
        .all(connection)
        .await?;
    let to_item = |row: notifications::Model| {
        let is_read = row.read;
        to_notification(row, is_read)
    };
    Ok(rows.into_iter().map(to_item).collect())
}

/// The notifications that an actor may see.
fn addressed_to(actor: &Actor) -> Condition {
    let to_administrators = (actor.role == Role::Administrator).then(|| notifications::COLUMN.username.is_null());
    Condition::any().add(notifications::COLUMN.username.eq(actor.username.as_str())).add_option(to_administrators)
}

fn to_notification(row: notifications::Model, read: bool) -> Notification {
    Notification {
        id: row.id,
        username: row.username,
        severity: row.severity.0,
        message: row.message,
        link: row.link,
        at: time(row.at),
        read,
    }
}
