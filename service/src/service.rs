//! The open service: database, keys, clock and change feed.

use crate::Clock;
use crate::accounts::Accounts;
use crate::alerts::{Alerts, Dependencies};
use crate::audit::Audit;
use crate::catalogue::{AccessRequests, Catalogue};
use crate::change_feed::ChangeFeed;
use crate::context::Context;
use crate::db::connect::{Database, connect};
use crate::deliveries::Deliveries;
use crate::dispatcher::Dispatcher;
use crate::error::{OpenError, unavailable};
use crate::groups::{Groups, OwnerLists};
use crate::idempotency::Idempotency;
use crate::keys::{audit_log_key, cipher_of, status_url_key};
use crate::listeners::Listeners;
use crate::maintenance::Maintenance;
use crate::notifications::Notifications;
use crate::outbox::Outbox;
use crate::privacy::Privacy;
use crate::replays::Replays;
use crate::reservations::Reservations;
use crate::settings::Settings;
use crate::single_sign_on::SingleSignOn;
use crate::status_urls::StatusUrls;
use crate::webhooks::Webhooks;
use chrono::{DateTime, Utc};
use domain::Problem;
use domain::account::{ReservationsOfDisabled, User, UserPatch};
use domain::authorization::Actor;
use domain::id::{ReservationId, WebhookId};
use sea_orm::ConnectionTrait as _;
use std::sync::Arc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The use cases of Berth. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

struct Inner {
    context: Context,
    sender: delivery::Sender,
    feed: ChangeFeed,
    outbox: Outbox,
    deliveries: Deliveries,
    webhooks: Webhooks,
    listeners: Listeners,
    accounts: Accounts,
    alerts: Alerts,
    single_sign_on: SingleSignOn,
    catalogue: Catalogue,
    access_requests: AccessRequests,
    groups: Groups,
    owners: OwnerLists,
    reservations: Reservations,
    replays: Replays,
    notifications: Notifications,
    idempotency: Idempotency,
    maintenance: Maintenance,
    audit: Audit,
    privacy: Privacy,
    /// Ends the background tasks with the service.
    _tasks: DropGuard,
}

/// The user agent of every request to a receiver (docs/contract.md §1).
const USER_AGENT: &str = concat!("Berth-Webhooks/", env!("CARGO_PKG_VERSION"));

impl Service {
    /// Connects; does not migrate (that is `migrations::up`, called by the server first).
    ///
    /// # Errors
    /// When the database cannot be reached or the settings are not sound.
    pub async fn open(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let database = connect(&settings.database_url).await?;
        Self::open_with(settings, clock, database).await
    }

    /// Opens on connections made by [`connect`] or [`connect_with`](crate::connect_with).
    ///
    /// # Errors
    /// When the settings are not sound or the database is unavailable.
    pub async fn open_with(settings: Settings, clock: Arc<dyn Clock>, database: Database) -> Result<Self, OpenError> {
        let sender = delivery::Sender::new(delivery::SenderConfig {
            url_policy: settings.url_policy.clone(),
            timeout: settings.delivery_timeout,
            user_agent: USER_AGENT.into(),
        })
        .map_err(OpenError)?;
        let cancel = CancellationToken::new();
        let postgres = database.is_postgres().then(|| (settings.database_url.clone(), database.limits));
        let feed = ChangeFeed::start(postgres, cancel.clone());
        let cipher = cipher_of(&database, &settings).await?;
        let status_url_key = status_url_key(&database, &settings, &cipher).await?;
        let status_urls = StatusUrls::new(&settings.public_url, status_url_key);
        let audit_log_key = audit_log_key(&database, &settings, &cipher).await?;
        let context = Context::new(database, settings, status_urls, audit_log_key, clock);
        let outbox = Outbox::new(context.clone(), feed.clone(), cipher.clone());
        let deliveries = Deliveries::new(context.clone(), feed.clone(), outbox.limits().clone());
        let webhooks = Webhooks::new(
            context.clone(),
            cipher.clone(),
            sender.clone(),
            feed.clone(),
            deliveries.clone(),
            outbox.configs().clone(),
        );
        let accounts = Accounts::new(context.clone(), feed.clone(), cipher.clone());
        let catalogue = Catalogue::new(context.clone(), feed.clone());
        let notifications = Notifications::new(context.clone());
        let reservations = Reservations::start(
            context.clone(),
            feed.clone(),
            outbox.clone(),
            accounts.clone(),
            catalogue.clone(),
            deliveries.clone(),
        );
        let listeners =
            Listeners::new(context.clone(), outbox.clone(), feed.clone(), notifications.clone(), sender.clone());
        let alerts = Alerts::new(Dependencies {
            context: context.clone(),
            cipher: cipher.clone(),
            sender: sender.clone(),
            feed: feed.clone(),
            notifications: notifications.clone(),
            webhooks: webhooks.clone(),
            deliveries: deliveries.clone(),
            configs: outbox.configs().clone(),
        })?;
        let inner = Inner {
            alerts,
            access_requests: AccessRequests::new(
                context.clone(),
                feed.clone(),
                outbox.clone(),
                accounts.clone(),
                catalogue.clone(),
                notifications.clone(),
            ),
            replays: Replays::new(context.clone(), feed.clone(), deliveries.clone(), reservations.clone()),
            reservations,
            groups: Groups::new(context.clone(), accounts.clone()),
            owners: OwnerLists::new(context.clone(), accounts.clone()),
            single_sign_on: SingleSignOn::new(context.clone(), cipher.clone(), accounts.clone())?,
            privacy: Privacy::new(context.clone(), accounts.clone()),
            accounts,
            catalogue,
            notifications,
            idempotency: Idempotency::new(context.clone(), cipher.clone()),
            audit: Audit::new(context.clone()),
            maintenance: Maintenance::new(context.clone(), cipher),
            context,
            sender,
            feed,
            outbox,
            deliveries,
            webhooks,
            listeners,
            _tasks: cancel.drop_guard(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The present time, to the millisecond (what the database stores).
    pub fn now(&self) -> DateTime<Utc> {
        self.inner.context.now()
    }

    /// The URL to which the receiver of a webhook posts status updates of a reservation (docs/contract.md §4).
    pub fn status_url(&self, id: &ReservationId, webhook_id: WebhookId) -> String {
        self.inner.context.status_urls.url(id, webhook_id)
    }

    /// The settings it was opened with.
    pub fn settings(&self) -> &Settings {
        &self.inner.context.settings
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`domain::ProblemKind::Unavailable`] when it does not.
    pub async fn ping(&self) -> Result<(), Problem> {
        self.inner.context.db.read.execute_unprepared("SELECT 1").await.map(|_| ()).map_err(|error| {
            tracing::warn!(%error, "the database does not answer");
            unavailable()
        })
    }

    /// Whether the database is PostgreSQL.
    pub fn is_postgres(&self) -> bool {
        self.inner.context.db.is_postgres()
    }
}

/// The handles: the use cases by area.
impl Service {
    /// Users, sessions and API tokens.
    pub fn accounts(&self) -> &Accounts {
        &self.inner.accounts
    }

    /// Log-in at identity providers.
    pub fn single_sign_on(&self) -> &SingleSignOn {
        &self.inner.single_sign_on
    }

    /// Resource types and resources.
    pub fn catalogue(&self) -> &Catalogue {
        &self.inner.catalogue
    }

    /// Requests for access to restricted resources.
    pub fn access_requests(&self) -> &AccessRequests {
        &self.inner.access_requests
    }

    /// Groups of users.
    pub fn groups(&self) -> &Groups {
        &self.inner.groups
    }

    /// Owners of resource types and resources.
    pub fn owners(&self) -> &OwnerLists {
        &self.inner.owners
    }

    /// Reservations.
    pub fn reservations(&self) -> &Reservations {
        &self.inner.reservations
    }

    /// Webhooks.
    pub fn webhooks(&self) -> &Webhooks {
        &self.inner.webhooks
    }

    /// Local listeners of webhooks.
    pub fn listeners(&self) -> &Listeners {
        &self.inner.listeners
    }

    /// The delivery log.
    pub fn deliveries(&self) -> &Deliveries {
        &self.inner.deliveries
    }

    /// Replays in the background.
    pub fn replays(&self) -> &Replays {
        &self.inner.replays
    }

    /// Monitoring of webhooks, and alerts.
    pub fn alerts(&self) -> &Alerts {
        &self.inner.alerts
    }

    /// Messages to users.
    pub fn notifications(&self) -> &Notifications {
        &self.inner.notifications
    }

    /// Keys of repeatable requests.
    pub fn idempotency(&self) -> &Idempotency {
        &self.inner.idempotency
    }

    /// The audit log.
    pub fn audit(&self) -> &Audit {
        &self.inner.audit
    }

    /// Export of a user's data, and erasure of an account.
    pub fn privacy(&self) -> &Privacy {
        &self.inner.privacy
    }

    /// Retention and backups.
    pub fn maintenance(&self) -> &Maintenance {
        &self.inner.maintenance
    }
}

/// Use cases of several areas.
impl Service {
    /// Changes an account, and cancels its active reservations if the patch requests it.
    ///
    /// # Errors
    /// As for [`Accounts::update_user`]. If the database becomes unavailable (503), some reservations may still be active;
    /// the same patch cancels the rest.
    pub async fn update_user(&self, actor: &Actor, username: &str, patch: UserPatch) -> Result<User, Problem> {
        let cancels = patch.reservations == Some(ReservationsOfDisabled::Cancel);
        let user = self.accounts().update_user(actor, username, patch).await?;
        if cancels {
            self.reservations().cancel_all_of(actor, username, "The account was disabled.").await?;
        }
        Ok(user)
    }
}

/// The delivery engine.
impl Service {
    /// The change feed of this process.
    pub fn change_feed(&self) -> &ChangeFeed {
        &self.inner.feed
    }

    /// The outbox of this process.
    pub fn outbox(&self) -> &Outbox {
        &self.inner.outbox
    }

    /// A new dispatcher. A process runs one; tests step several.
    pub fn dispatcher(&self) -> Dispatcher {
        let inner = &self.inner;
        let (outbox, feed, sender) = (inner.outbox.clone(), inner.feed.clone(), inner.sender.clone());
        Dispatcher::new(inner.context.clone(), outbox, feed, inner.notifications.clone(), sender)
    }
}
