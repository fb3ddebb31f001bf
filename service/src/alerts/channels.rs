//! The channels of alerts: e-mail and the operations webhook.

use super::Alerts;
use super::notices::body;
use super::sending::NoticeRequest;
use crate::Result;
use crate::audit_trail::{Record, Target};
use crate::db::codec::time;
use crate::db::column::Text;
use crate::db::entity::{alert_channel, alert_notices, users};
use crate::secrets::{SecretUse, random};
use domain::Problem;
use domain::alert::{
    AlertChannels, AlertChannelsInput, ChannelResult, ChannelStatus, ChannelTest, Notice, NoticeKind,
    OperationsWebhook, OperationsWebhookInput, mask_url,
};
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::authorization::{Action, Actor, authorize};
use domain::id::EventId;
use domain::signature::Secret;
use sea_orm::sea_query::OnConflict;
use sea_orm::{EntityTrait as _, Iterable as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _, Select};

impl Alerts {
    /// The channels, without secrets.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator or an auditor.
    #[tracing::instrument(skip_all, err(level = "debug"))]
    pub async fn channels(&self, actor: &Actor) -> Result<AlertChannels> {
        authorize(actor, Action::ReadAlertChannels)?;
        let notices = alert_notices::Entity::find;
        let channel = self.channel().await?;
        Ok(AlertChannels {
            email_from: self.mailer.as_ref().map(super::mail::Mailer::from),
            email: self.status(notices().filter(alert_notices::COLUMN.username.is_not_null())).await?,
            webhook: channel.as_ref().map(to_view),
            webhook_status: self.status(notices().filter(alert_notices::COLUMN.username.is_null())).await?,
            secret: None,
        })
    }

    async fn channel(&self) -> Result<Option<alert_channel::Model>> {
        Ok(alert_channel::Entity::find_by_id(alert_channel::ID).one(&self.context.db.read).await?)
    }

    async fn status(&self, notices: Select<alert_notices::Entity>) -> Result<ChannelStatus> {
        let db = &self.context.db.read;
        let queued = notices.clone().filter(alert_notices::COLUMN.due_at.is_not_null()).count(db).await?;
        let newest = |notices: Select<alert_notices::Entity>| notices.order_by_desc(alert_notices::COLUMN.id);
        let sent = newest(notices.clone()).filter(alert_notices::COLUMN.sent_at.is_not_null()).one(db).await?;
        let last = newest(notices).filter(alert_notices::COLUMN.attempts.gt(0)).one(db).await?;
        Ok(ChannelStatus {
            queued,
            last_sent_at: sent.and_then(|notice| notice.sent_at).map(time),
            last_error: last.and_then(|notice| notice.error),
        })
    }

    /// Sets or removes the operations webhook. Needs a recent confirmation, because it receives names and failures of all
    /// webhooks. The response contains the signing secret if the call sets one.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator, and without the confirmation; 422 naming every invalid field.
    #[tracing::instrument(skip_all, err(level = "debug"))]
    pub async fn set_channels(&self, actor: &Actor, input: AlertChannelsInput) -> Result<AlertChannels> {
        authorize(actor, Action::ManageAlerts)?;
        let before = self.channel().await?;
        let target = Target::new(AuditTargetType::Alerts, "");
        let record = Record::new(actor, AuditAction::AlertChannelsUpdated, target);
        let Some(input) = input.webhook else {
            let tx = self.context.begin_change().await?;
            alert_channel::Entity::delete_by_id(alert_channel::ID).exec(&tx).await?;
            let changes = Changes::none().field("webhook", before.map(|before| before.url_hint), ());
            tx.commit(record.changes(changes)).await?;
            return self.channels(actor).await;
        };
        let (row, secret) = self.channel_row(before.as_ref(), &input)?;
        self.context.require_confirmation(actor).await?;
        let (old, new) = (before.as_ref().map(to_view), to_view(&row));
        let changes = Changes::none()
            .secret_if(input.url.is_some(), "webhook.url")
            .secret_if(secret.is_some(), "webhook.secret")
            .field("webhook.format", old.as_ref().map(|old| old.format), new.format)
            .field("webhook.enabled", old.map(|old| old.enabled), new.enabled);
        let columns = alert_channel::Column::iter().filter(|column| !matches!(column, alert_channel::Column::Id));
        let conflict = OnConflict::column(alert_channel::Column::Id).update_columns(columns).to_owned();
        let tx = self.context.begin_change().await?;
        let row: alert_channel::ActiveModel = row.into();
        let row = sea_orm::ActiveModelTrait::reset_all(row);
        alert_channel::Entity::insert(row).on_conflict(conflict).exec_without_returning(&tx).await?;
        tx.commit(record.changes(changes)).await?;
        Ok(AlertChannels { secret, ..self.channels(actor).await? })
    }

    /// The row of the operations webhook, and its signing secret if it is new.
    fn channel_row(
        &self,
        before: Option<&alert_channel::Model>,
        input: &OperationsWebhookInput,
    ) -> Result<(alert_channel::Model, Option<String>)> {
        let (url, url_hint) = match (&input.url, before) {
            (Some(url), _) => {
                let policy = &self.context.settings.url_policy;
                domain::endpoint::check_url(url, policy).map_err(|message| Problem::field("webhook.url", message))?;
                (self.cipher.encrypt(SecretUse::AlertChannelUrl, url)?, mask_url(url))
            }
            (None, Some(before)) => (before.url.clone(), before.url_hint.clone()),
            (None, None) => return Err(Problem::field("webhook.url", "Enter the URL of the webhook.").into()),
        };
        let new_secret = match (&input.secret, before) {
            (Some(secret), _) => {
                let secret = Secret::parse(secret).map_err(|message| Problem::field("webhook.secret", message))?;
                if !self.context.settings.url_policy.allow_http
                    && let Some(weakness) = secret.weakness()
                {
                    return Err(Problem::field("webhook.secret", weakness).into());
                }
                Some(secret)
            }
            (None, Some(_)) => None,
            (None, None) => Some(Secret::generate(random())),
        };
        let (secret, secret_hint) = match (&new_secret, before) {
            (Some(secret), _) => (self.cipher.encrypt(SecretUse::AlertChannelSecret, secret.expose())?, secret.hint()),
            (None, Some(before)) => (before.secret.clone(), before.secret_hint.clone()),
            (None, None) => return Err(Problem::internal().into()),
        };
        let row = alert_channel::Model {
            id: alert_channel::ID,
            url,
            url_hint,
            secret,
            secret_hint,
            format: Text(input.format.or(before.map(|before| before.format.0)).unwrap_or_default()),
            enabled: input.enabled.unwrap_or(true),
        };
        Ok((row, new_secret.map(|secret| secret.expose().to_owned())))
    }

    /// The URL and the signing secret of the operations webhook.
    pub(super) fn channel_secrets(&self, channel: &alert_channel::Model) -> Result<(String, String)> {
        Ok((
            self.cipher.decrypt(SecretUse::AlertChannelUrl, &channel.url)?,
            self.cipher.decrypt(SecretUse::AlertChannelSecret, &channel.secret)?,
        ))
    }

    /// Sends a test alert to the operations webhook, also to one that is turned off, and to the actor's e-mail address. A
    /// channel that fails is no error.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator; 409 without a channel.
    #[tracing::instrument(skip_all, err(level = "debug"))]
    pub async fn test_channels(&self, actor: &Actor) -> Result<ChannelTest> {
        authorize(actor, Action::ManageAlerts)?;
        let notice = Notice {
            event_type: NoticeKind::Test,
            event_id: EventId::from_ulid(self.context.new_ulid()),
            occurred_at: self.context.now(),
            message: "This is a test alert. Alerts about webhooks arrive here.".to_owned(),
            alert: None,
            webhook: None,
        };
        let mut results = Vec::new();
        if let Some(channel) = self.channel().await? {
            let request = NoticeRequest {
                event_id: notice.event_id.as_str(),
                event_type: notice.event_type.as_str(),
                attempt: 1,
                body: body(&notice, channel.format.0)?,
                is_test: true,
            };
            let error = self.request(&channel, request).await?.err();
            results.push(ChannelResult { channel: "webhook".to_owned(), recipient: channel.url_hint, error });
        }
        let user = users::Entity::find_by_id(actor.username.as_str()).one(&self.context.db.read).await?;
        if let Some((mailer, user)) = self.mailer.as_ref().zip(user).filter(|(_, user)| !user.email.is_empty()) {
            let text = notice.text(&format!("{}/alerts", self.context.settings.public_url));
            let sent = mailer.send(&user.email, &notice.subject(), &text, notice.event_id.as_str()).await;
            results.push(ChannelResult { channel: "email".to_owned(), recipient: user.email, error: sent.err() });
        }
        if results.is_empty() {
            return Err(Problem::conflict(
                "There is no channel. Set an operations webhook, or ask the operator to configure e-mail.",
            )
            .into());
        }
        let failed = results.iter().filter(|result| result.error.is_some()).count();
        let target = Target::new(AuditTargetType::Alerts, "");
        let changes = Changes::none().field("channels", (), results.len()).field("failed", (), failed);
        let tx = self.context.begin_change().await?;
        tx.commit(Record::new(actor, AuditAction::AlertChannelsTested, target).changes(changes)).await?;
        Ok(ChannelTest { results })
    }
}

fn to_view(channel: &alert_channel::Model) -> OperationsWebhook {
    OperationsWebhook {
        url_hint: channel.url_hint.clone(),
        format: channel.format.0,
        enabled: channel.enabled,
        secret_hint: channel.secret_hint.clone(),
    }
}
