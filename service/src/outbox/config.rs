//! The settings of webhooks for the outbox: decrypted, parsed, and cached until one of them changes.

use crate::context::Context;
use crate::db::codec::time;
use crate::db::column::is_deliverable;
use crate::db::entity::webhooks;
use crate::db::webhook_revision::read_revision;
use crate::error;
use crate::secrets::{Cipher, SecretUse};
use chrono::{DateTime, Utc};
use delivery::{Auth, Destination, Target, TlsSettings};
use domain::Problem;
use domain::event::EventType;
use domain::id::WebhookId;
use domain::payload::PayloadFormat;
use domain::provisioning::DrivingWebhook;
use domain::reservation::Reservation;
use domain::retry::RetryPolicy;
use domain::signature::{Secret, SigningKey};
use domain::webhook::{AuthView, CustomHeader, DeliveryMode, EventFilter, FilterSubject, ProvisionTime, WebhookState};
use parking_lot::Mutex;
use sea_orm::{ConnectionTrait, EntityTrait as _, QueryFilter as _, QuerySelect as _};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// The settings of one webhook.
pub struct WebhookConfig {
    pub(crate) id: WebhookId,
    pub(crate) name: String,
    pub(crate) resource_type: Option<String>,
    pub(crate) events: Vec<EventType>,
    pub(crate) state: WebhookState,
    pub(crate) retry: RetryPolicy,
    pub(crate) max_in_flight: u32,
    pub(crate) rate_limit: Option<u32>,
    pub(crate) failing: bool,
    /// Whether its responses drive provisioning.
    pub(crate) provisions: bool,
    pub(crate) payload_format: PayloadFormat,
    /// When it receives `reservation.created`.
    provision: ProvisionTime,
    /// Whether a local listener claims its deliveries, and no dispatcher.
    pub(crate) is_local: bool,
    filter: EventFilter,
    urls: HashMap<EventType, Arc<Destination>>,
    /// The endpoint URL as entered.
    exact_url: Arc<Destination>,
    target: Arc<Target>,
    /// After rotations: the targets that also sign with old secrets, and the end of each, earliest first.
    overlaps: Vec<(Arc<Target>, DateTime<Utc>)>,
}

impl WebhookConfig {
    /// Reads a webhook and decrypts its secrets.
    ///
    /// # Errors
    /// When a secret cannot be decrypted.
    pub(crate) fn decrypt(model: webhooks::Model, cipher: &Cipher, public_url: &str) -> Result<Self, Problem> {
        let secrets = DecryptedSecrets::of(&model, cipher)?;
        Ok(Self::new(model, secrets, public_url))
    }

    fn new(model: webhooks::Model, decrypted: DecryptedSecrets, public_url: &str) -> Self {
        let auth_secret = decrypted.auth;
        let auth = match model.auth.0 {
            AuthView::None => Auth::None,
            AuthView::ApiKey { header } => Auth::ApiKey { header, key: auth_secret },
            AuthView::Oauth2 { token_url, client_id, scope, audience } => {
                Auth::Oauth2 { token_url, client_id, client_secret: auth_secret, scope, audience }
            }
        };
        let headers = decrypted.headers;
        let tls = decrypted.tls;
        let public_url: Arc<str> = public_url.into();
        let target = |secrets, keys| {
            Arc::new(Target {
                webhook_id: model.id,
                auth: auth.clone(),
                secrets,
                keys,
                headers: headers.clone(),
                public_url: public_url.clone(),
                tls: tls.clone(),
            })
        };
        let paths = model.delivery_paths.0;
        Self {
            id: model.id,
            name: model.name,
            resource_type: model.resource_type,
            events: model.events.0,
            state: model.state.0,
            retry: model.retry.0,
            max_in_flight: model.max_in_flight.unsigned_abs(),
            rate_limit: model.rate_limit.map(i32::unsigned_abs),
            provisions: model.provisions,
            payload_format: model.payload_format.0,
            provision: model.provision.0,
            is_local: model.delivery_mode.0 == DeliveryMode::Local,
            filter: model.filter.0,
            failing: model.failing_since.is_some(),
            exact_url: Destination::new(model.endpoint_url.as_str()),
            urls: EventType::ALL
                .into_iter()
                .map(|event| (event, Destination::new(paths.url(&model.endpoint_url, event))))
                .collect(),
            target: target(decrypted.secrets, decrypted.keys),
            overlaps: decrypted
                .overlaps
                .into_iter()
                .map(|overlap| (target(overlap.secrets, overlap.keys), overlap.until))
                .collect(),
        }
    }

    /// The target of requests, with the secrets that sign at `now`.
    pub(crate) fn target(&self, now: DateTime<Utc>) -> Arc<Target> {
        let overlap = self.overlaps.iter().find(|(_, until)| now < *until);
        overlap.map_or(&self.target, |(target, _)| target).clone()
    }

    /// The full URL for an event in a payload format.
    pub(crate) fn url(&self, event: EventType, format: PayloadFormat) -> Arc<Destination> {
        if format.uses_exact_url() {
            return self.exact_url.clone();
        }
        self.urls.get(&event).cloned().unwrap_or_else(|| Destination::new(""))
    }

    /// The webhook as reservations refer to it.
    pub(crate) fn driving_webhook(&self) -> DrivingWebhook<'_> {
        DrivingWebhook { id: self.id, name: &self.name }
    }

    /// Whether `reservation.created` is held until the start or the lead time before. The classic format has its own
    /// start.
    pub(crate) fn provisions_at_start(&self) -> bool {
        self.provision == ProvisionTime::Start && !self.payload_format.holds_until_start(EventType::ReservationCreated)
    }

    /// Whether the webhook receives the start of reservations of a type instead of their creation.
    pub(crate) fn receives_start(&self, resource_type: &str) -> bool {
        let created = EventType::ReservationCreated;
        self.payload_format.holds_until_start(created) && self.events.contains(&created) && self.serves(resource_type)
    }

    /// Whether an event passes the content filter.
    pub(crate) fn passes(&self, subject: FilterSubject<'_>) -> bool {
        self.filter.is_empty() || self.filter.matches(subject)
    }

    /// Whether the webhook receives events of a resource type.
    pub(crate) fn serves(&self, resource_type: &str) -> bool {
        self.resource_type.as_deref().is_none_or(|slug| slug == resource_type)
    }
}

/// The secrets of a webhook, decrypted.
#[derive(Default)]
struct DecryptedSecrets {
    secrets: Vec<Secret>,
    keys: Vec<SigningKey>,
    auth: String,
    /// The custom headers.
    headers: Vec<CustomHeader>,
    tls: Option<Arc<TlsSettings>>,
    /// The overlaps of rotations, the one that ends first at the start.
    overlaps: Vec<Overlap>,
}

/// The secrets and keys that sign until a time: the current ones, then old ones, newest first.
struct Overlap {
    secrets: Vec<Secret>,
    keys: Vec<SigningKey>,
    until: DateTime<Utc>,
}

impl DecryptedSecrets {
    /// Decrypts the secrets of a webhook.
    ///
    /// # Errors
    /// When one of them cannot be decrypted.
    fn of(model: &webhooks::Model, cipher: &Cipher) -> Result<Self, Problem> {
        let secret = |encrypted: &str| -> Result<Secret, Problem> {
            Secret::parse(&cipher.decrypt(SecretUse::WebhookSecret(model.id), encrypted)?)
                .map_err(|_| Problem::internal())
        };
        let key = |encrypted: Option<&str>| -> Result<Vec<SigningKey>, Problem> {
            let Some(encrypted) = encrypted else { return Ok(Vec::new()) };
            let seed = cipher.decrypt(SecretUse::WebhookSigningKey(model.id), encrypted)?;
            Ok(vec![SigningKey::parse(&seed).ok_or_else(Problem::internal)?])
        };
        let current = secret(&model.secret)?;
        let current_key = key(model.signing_key.as_deref())?;
        let auth = match &model.auth_secret {
            Some(encrypted) => cipher.decrypt(SecretUse::WebhookAuth(model.id), encrypted)?,
            None => String::new(),
        };
        let mut old = Vec::new();
        for one in model.old_secrets() {
            old.push((secret(&one.secret)?, key(one.signing_key.as_deref())?, one.until));
        }
        // Between two ends the same secrets sign, so each end has one set of them.
        let ends: BTreeSet<i64> = old.iter().map(|(_, _, until)| *until).collect();
        let overlap = |end: i64| {
            let signing = || old.iter().filter(move |(_, _, until)| *until >= end);
            let old_keys = signing().flat_map(|(_, keys, _)| keys);
            Overlap {
                secrets: [&current].into_iter().chain(signing().map(|(secret, _, _)| secret)).cloned().collect(),
                keys: current_key.iter().chain(old_keys).cloned().collect(),
                until: time(end),
            }
        };
        let overlaps = ends.into_iter().map(overlap).collect();
        // Earlier releases stored secret values in clear text, without the mark.
        let header = |header: &CustomHeader| -> Result<CustomHeader, Problem> {
            let mut header = header.clone();
            if header.secret == Some(true) {
                header.value = cipher.decrypt(SecretUse::WebhookHeader(model.id, &header.name), &header.value)?;
            }
            Ok(header)
        };
        let headers = model.headers.0.iter().map(header).collect::<Result<_, _>>()?;
        let tls = stored_tls(model, cipher)?;
        Ok(Self { secrets: vec![current], keys: current_key, auth, headers, tls, overlaps })
    }
}

/// The TLS settings of a webhook, with the decrypted private key.
///
/// # Errors
/// When the key cannot be decrypted.
pub(crate) fn stored_tls(model: &webhooks::Model, cipher: &Cipher) -> Result<Option<Arc<TlsSettings>>, Problem> {
    let key = match &model.client_key {
        Some(encrypted) => cipher.decrypt(SecretUse::WebhookClientKey(model.id), encrypted)?,
        None => String::new(),
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Ok(TlsSettings::new(&text(&model.ca_certificates), &text(&model.client_certificate), &key))
}

/// All webhooks that are not deleted, as of one revision.
pub(crate) struct Configs {
    revision: i64,
    by_id: HashMap<WebhookId, Arc<WebhookConfig>>,
}

impl Configs {
    /// The revision of the settings of all webhooks.
    pub(crate) fn revision(&self) -> i64 {
        self.revision
    }

    /// Whether a webhook has the classic payload format.
    pub(crate) fn has_classic(&self) -> bool {
        self.by_id.values().any(|config| config.payload_format == PayloadFormat::Classic)
    }

    /// The resource types of webhooks that receive the starts of reservations; `None` stands for every type.
    pub(crate) fn classic_types(&self) -> impl Iterator<Item = Option<&str>> {
        let holds = |config: &&Arc<WebhookConfig>| {
            config.payload_format.holds_until_start(EventType::ReservationCreated)
                && config.events.contains(&EventType::ReservationCreated)
        };
        self.by_id.values().filter(holds).map(|config| config.resource_type.as_deref())
    }

    /// Whether a webhook receives the start of a reservation instead of its creation.
    pub(crate) fn holds_start(&self, reservation: &Reservation) -> bool {
        self.by_id.values().any(|config| config.receives_start(&reservation.resource_type))
    }

    /// The webhooks for which `reservation.created` of a new reservation is held until its start or the lead time before.
    pub(crate) fn holding(&self, reservation: &Reservation) -> impl Iterator<Item = WebhookId> {
        let subject =
            FilterSubject { resource_id: reservation.resource_id, config: Some(&reservation.additional_config) };
        self.subscribed(&reservation.resource_type, EventType::ReservationCreated)
            .filter(move |config| config.provisions_at_start() && config.passes(subject))
            .map(|config| config.id)
    }

    /// Whether a webhook receives an event of a resource type, if its filter does not exclude it.
    pub(crate) fn has_recipient(&self, resource_type: &str, event: EventType) -> bool {
        self.subscribed(resource_type, event).next().is_some()
    }

    /// The resource types of webhooks that receive an event; `None` stands for every type.
    pub(crate) fn types_with(&self, event: EventType) -> impl Iterator<Item = Option<&str>> {
        let receives =
            move |config: &&Arc<WebhookConfig>| config.events.contains(&event) && config.payload_format.sends(event);
        self.by_id.values().filter(receives).map(|config| config.resource_type.as_deref())
    }

    /// One webhook.
    pub(crate) fn get(&self, id: WebhookId) -> Option<&Arc<WebhookConfig>> {
        self.by_id.get(&id)
    }

    /// All webhooks.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<WebhookConfig>> {
        self.by_id.values()
    }

    /// The enabled webhooks.
    pub(crate) fn enabled(&self) -> impl Iterator<Item = &Arc<WebhookConfig>> {
        self.by_id.values().filter(|config| config.state == WebhookState::Enabled)
    }

    /// The webhooks that receive an event type, including paused ones, whose events are kept. Their filters can still exclude
    /// an event.
    pub(crate) fn subscribed(
        &self,
        resource_type: &str,
        event: EventType,
    ) -> impl Iterator<Item = &Arc<WebhookConfig>> {
        let receives = move |config: &&Arc<WebhookConfig>| {
            config.events.contains(&event) && config.payload_format.sends(event) && config.serves(resource_type)
        };
        self.by_id.values().filter(receives)
    }

    /// The webhooks that receive the creation of a reservation and drive its provisioning, in the order of their ids.
    pub(crate) fn provisioning(&self, reservation: &Reservation) -> Vec<DrivingWebhook<'_>> {
        let subject =
            FilterSubject { resource_id: reservation.resource_id, config: Some(&reservation.additional_config) };
        let receiving = self.subscribed(&reservation.resource_type, EventType::ReservationCreated);
        driving(receiving.filter(|config| config.passes(subject)))
    }
}

/// Those of some webhooks that drive provisioning, in the order of their ids.
pub(super) fn driving<'a>(webhooks: impl Iterator<Item = &'a Arc<WebhookConfig>>) -> Vec<DrivingWebhook<'a>> {
    let mut driving: Vec<_> =
        webhooks.filter(|config| config.provisions).map(|config| config.driving_webhook()).collect();
    driving.sort_unstable();
    driving
}

/// The cache of webhook settings. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ConfigCache {
    context: Context,
    cipher: Cipher,
    cached: Arc<Mutex<Option<Arc<Configs>>>>,
}

impl ConfigCache {
    pub(super) fn new(context: Context, cipher: Cipher) -> Self {
        Self { context, cipher, cached: Arc::default() }
    }

    /// The webhooks as they were loaded last, without access to the database; `None` before the first load.
    pub(crate) fn cached(&self) -> Option<Arc<Configs>> {
        self.cached.lock().clone()
    }

    /// Loads the webhooks through `connection`, which can be a transaction. Cached until their revision changes.
    pub(crate) async fn load(&self, connection: &impl ConnectionTrait) -> error::Result<Arc<Configs>> {
        let revision = read_revision(&self.context.db, connection).await?;
        if let Some(cached) = &*self.cached.lock()
            && cached.revision == revision
        {
            return Ok(cached.clone());
        }
        let models = webhooks::Entity::find().filter(webhooks::COLUMN.deleted_at.is_null()).all(connection).await?;
        let undeliverable = undeliverable_webhooks(connection).await?;
        let public_url = &self.context.settings.public_url;
        let mut by_id = HashMap::with_capacity(models.len());
        for model in models {
            let id = model.id;
            // A webhook whose secrets cannot be decrypted (another master key) must not stop the others. Its events
            // stay queued, as if it were paused, until it has new secrets or the correct key is configured.
            let mut config = match DecryptedSecrets::of(&model, &self.cipher) {
                Ok(secrets) => WebhookConfig::new(model, secrets, public_url),
                Err(problem) => {
                    tracing::error!(
                        webhook_id = id,
                        %problem,
                        "the secrets of a webhook cannot be decrypted; its deliveries stay queued"
                    );
                    let mut config = WebhookConfig::new(model, DecryptedSecrets::default(), public_url);
                    config.state = WebhookState::Paused;
                    config
                }
            };
            if undeliverable.contains(&id) {
                tracing::error!(
                    webhook_id = id,
                    "a newer release has set the authentication, paths, format or filter of a webhook; its deliveries stay queued"
                );
                config.state = WebhookState::Paused;
            }
            by_id.insert(id, Arc::new(config));
        }
        let configs = Arc::new(Configs { revision, by_id });
        *self.cached.lock() = Some(configs.clone());
        Ok(configs)
    }
}

/// The webhooks with settings that only a newer release knows, so that this one cannot send their requests.
async fn undeliverable_webhooks(connection: &impl ConnectionTrait) -> error::Result<HashSet<WebhookId>> {
    use webhooks::Column;
    let stored: Vec<(WebhookId, String, String, String, String)> = webhooks::Entity::find()
        .select_only()
        .columns([Column::Id, Column::Auth, Column::DeliveryPaths, Column::PayloadFormat, Column::Filter])
        .filter(webhooks::COLUMN.deleted_at.is_null())
        .into_tuple()
        .all(connection)
        .await?;
    let undeliverable = stored
        .into_iter()
        .filter(|(_, auth, paths, format, filter)| !is_deliverable(auth, paths, format, filter))
        .map(|(id, ..)| id);
    Ok(undeliverable.collect())
}
