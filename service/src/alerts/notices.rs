//! The queue of notices: created in the transaction of their cause, so that none is lost.

use super::{Alerts, millis, webhook_link};
use crate::Result;
use crate::db::codec::to_json;
use crate::db::column::Text;
use crate::db::entity::{alert_channel, alert_notices, alert_preferences, users, webhooks};
use crate::db::link::DatabaseTransaction;
use crate::ownership::owners_of;
use domain::alert::{Notice, NoticeAlert, NoticeFormat, NoticeKind, NoticeWebhook};
use domain::authorization::Role;
use domain::id::EventId;
use domain::ownership::ResourceKey;
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, QueryTrait as _,
};

/// A notice about a webhook.
pub(super) struct Draft {
    pub(super) kind: NoticeKind,
    pub(super) message: String,
    pub(super) alert: Option<NoticeAlert>,
}

impl Alerts {
    /// Queues a notice for the operations webhook and for the e-mail of each recipient, in the transaction of its cause.
    pub(super) async fn enqueue(
        &self,
        tx: &DatabaseTransaction,
        webhook: &webhooks::Model,
        draft: Draft,
    ) -> Result<()> {
        let public_url = &self.context.settings.public_url;
        let notice = Notice {
            event_type: draft.kind,
            event_id: EventId::from_ulid(self.context.new_ulid()),
            occurred_at: self.context.now(),
            message: draft.message,
            alert: draft.alert,
            webhook: Some(NoticeWebhook {
                id: webhook.id,
                name: webhook.name.clone(),
                resource_type: webhook.resource_type.clone(),
                url: format!("{public_url}{}", webhook_link(webhook.id)),
            }),
        };
        let mut rows = Vec::new();
        let channel = alert_channel::Entity::find_by_id(alert_channel::ID).one(tx).await?;
        if let Some(channel) = channel.filter(|channel| channel.enabled) {
            rows.push(self.row(&notice, None, body(&notice, channel.format.0)?));
        }
        if self.mailer.is_some() {
            let text = notice.text(&format!("{public_url}/alerts"));
            for username in recipients(tx, webhook).await? {
                rows.push(self.row(&notice, Some(username), text.clone()));
            }
        }
        if !rows.is_empty() {
            alert_notices::Entity::insert_many(rows).exec_without_returning(tx).await?;
        }
        Ok(())
    }

    fn row(&self, notice: &Notice, username: Option<String>, body: String) -> alert_notices::ActiveModel {
        let now = millis(self.context.now());
        alert_notices::ActiveModel {
            id: NotSet,
            username: Set(username),
            event_id: Set(notice.event_id.to_string()),
            event_type: Set(notice.event_type.as_str().to_owned()),
            subject: Set(notice.subject()),
            body: Set(body),
            created_at: Set(now),
            due_at: Set(Some(now)),
            attempts: Set(0),
            sent_at: Set(None),
            error: Set(None),
        }
    }
}

/// The body of a request to the operations webhook.
pub(super) fn body(notice: &Notice, format: NoticeFormat) -> Result<String> {
    match format {
        NoticeFormat::Berth => Ok(to_json(notice)?),
        NoticeFormat::Slack => Ok(to_json(&notice.slack())?),
    }
}

/// The administrators, and the owners of the webhook's resource type, who have not turned e-mails off.
async fn recipients(tx: &DatabaseTransaction, webhook: &webhooks::Model) -> Result<Vec<String>> {
    let off = alert_preferences::Entity::find()
        .select_only()
        .column(alert_preferences::Column::Username)
        .filter(alert_preferences::COLUMN.email.eq(false));
    let mut recipients: Vec<String> = users::Entity::find()
        .select_only()
        .column(users::Column::Username)
        .filter(users::COLUMN.role.eq(Text(Role::Administrator)))
        .filter(users::COLUMN.disabled.eq(false))
        .filter(users::COLUMN.username.not_in_subquery(off.clone().into_query()))
        .order_by_asc(users::COLUMN.username)
        .into_tuple()
        .all(tx)
        .await?;
    if let Some(slug) = &webhook.resource_type {
        let off: Vec<String> = off.into_tuple().all(tx).await?;
        let owners = owners_of(tx, ResourceKey::of_type(slug)).await?;
        recipients.extend(owners.into_iter().filter(|owner| !off.contains(owner)));
    }
    Ok(recipients)
}
