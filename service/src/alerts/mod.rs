//! Monitoring of webhooks and alerts: health checks, rules, the automatic pause, and notices.
//!
//! Periodic work is done by one process at a time: a health check and a notice have a lease (the time of the next one, which
//! the process moves into the future), and the state of a rule has a revision (optimistic concurrency).

mod channels;
mod evaluation;
mod health;
mod list;
mod mail;
mod measurement;
mod monitoring;
mod notices;
mod pause;
mod preferences;
mod rules;
mod sending;

pub use health::HealthRound;
pub use mail::check_smtp;

use crate::change_feed::ChangeFeed;
use crate::context::Context;
use crate::db::entity::{webhook_monitors, webhooks};
use crate::deliveries::Deliveries;
use crate::notifications::Notifications;
use crate::outbox::ConfigCache;
use crate::secrets::Cipher;
use crate::webhooks::{Webhooks, find_webhook};
use crate::{OpenError, Result};
use domain::id::WebhookId;
use mail::Mailer;
use sea_orm::{ConnectionTrait, EntityTrait as _};
use std::sync::Arc;
use tokio::sync::Notify;

/// Use cases of monitoring and alerts. Cheap to clone.
#[derive(Clone)]
pub struct Alerts {
    context: Context,
    cipher: Cipher,
    sender: delivery::Sender,
    feed: ChangeFeed,
    notifications: Notifications,
    webhooks: Webhooks,
    deliveries: Deliveries,
    configs: ConfigCache,
    mailer: Option<Mailer>,
    /// Wakes the task that sends notices.
    wake: Arc<Notify>,
    /// Wakes the task that runs health checks.
    health_wake: Arc<Notify>,
}

/// What [`Alerts`] uses.
pub(crate) struct Dependencies {
    pub(crate) context: Context,
    pub(crate) cipher: Cipher,
    pub(crate) sender: delivery::Sender,
    pub(crate) feed: ChangeFeed,
    pub(crate) notifications: Notifications,
    pub(crate) webhooks: Webhooks,
    pub(crate) deliveries: Deliveries,
    pub(crate) configs: ConfigCache,
}

impl Alerts {
    /// # Errors
    /// A sentence for the operator if the settings of e-mail are not valid.
    pub(crate) fn new(dependencies: Dependencies) -> Result<Self, OpenError> {
        let Dependencies { context, cipher, sender, feed, notifications, webhooks, deliveries, configs } = dependencies;
        let mailer = context.settings.smtp.as_ref().map(Mailer::new).transpose().map_err(OpenError)?;
        let (wake, health_wake) = Default::default();
        Ok(Self {
            context,
            cipher,
            sender,
            feed,
            notifications,
            webhooks,
            deliveries,
            configs,
            mailer,
            wake,
            health_wake,
        })
    }

    /// The monitoring of a webhook.
    async fn monitor(&self, id: WebhookId) -> Result<webhook_monitors::Model> {
        let row = webhook_monitors::Entity::find_by_id(id).one(&self.context.db.read).await?;
        Ok(row.unwrap_or_else(|| webhook_monitors::Model::new(id)))
    }

    /// A webhook that is not deleted.
    ///
    /// # Errors
    /// 404.
    async fn find_webhook(&self, id: WebhookId) -> Result<webhooks::Model> {
        find_webhook(&self.context.db.read, id).await
    }
}

/// Creates the row of a webhook whose monitoring was never changed.
async fn ensure_monitor(connection: &impl ConnectionTrait, id: WebhookId) -> Result<()> {
    use sea_orm::{ActiveModelTrait as _, IntoActiveModel as _};
    let row = webhook_monitors::Model::new(id).into_active_model().reset_all();
    webhook_monitors::Entity::insert(row).on_conflict_do_nothing().exec_without_returning(connection).await?;
    Ok(())
}

/// The page of a webhook with its monitoring.
fn webhook_link(id: WebhookId) -> String {
    format!("/settings/webhooks/{id}?tab=health")
}

/// Milliseconds since the epoch.
fn millis(at: chrono::DateTime<chrono::Utc>) -> i64 {
    at.timestamp_millis()
}
