//! Webhooks as the engine needs them: decrypted, parsed, remembered until any of them changes.

use crate::Service;
use crate::db::codec::{get, json, time};
use crate::error::db_problem;
use chrono::{DateTime, Utc};
use delivery::{Auth, Destination, Target};
use domain::Problem;
use domain::event::EventType;
use domain::id::WebhookId;
use domain::retry::RetryPolicy;
use domain::routing::DeliveryPaths;
use domain::signature::{Secret, SigningKey};
use domain::webhook::{AuthView, WebhookState};
use sea_orm::{ConnectionTrait, QueryResult};
use std::collections::HashMap;
use std::sync::Arc;

/// One webhook.
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
    /// Whether what it says drives provisioning.
    pub(crate) provisions: bool,
    urls: HashMap<EventType, Arc<Destination>>,
    target: Arc<Target>,
    /// While a rotation's overlap lasts: the target that signs with both secrets, and until when.
    overlap: Option<(Arc<Target>, DateTime<Utc>)>,
}

impl WebhookConfig {
    /// Where requests go, with the secrets that sign now.
    pub(crate) fn target(&self, now: DateTime<Utc>) -> Arc<Target> {
        match &self.overlap {
            Some((both, until)) if now < *until => both.clone(),
            _ => self.target.clone(),
        }
    }

    /// The full URL for an event.
    pub(crate) fn url(&self, event: EventType) -> Arc<Destination> {
        self.urls.get(&event).cloned().unwrap_or_else(|| Destination::new(""))
    }

    pub(crate) fn serves(&self, resource_type: &str) -> bool {
        self.resource_type.as_deref().is_none_or(|slug| slug == resource_type)
    }
}

/// What of a webhook is sealed under the master key, opened.
#[derive(Default)]
struct Opened {
    secrets: Vec<Secret>,
    keys: Vec<SigningKey>,
    auth: String,
    overlap: Option<(Vec<Secret>, Vec<SigningKey>, DateTime<Utc>)>,
    /// Instead of the stored one.
    state: Option<WebhookState>,
}

/// All webhooks that are not deleted, as of one revision.
pub(crate) struct Configs {
    revision: i64,
    by_id: HashMap<WebhookId, Arc<WebhookConfig>>,
}

impl Configs {
    pub(crate) fn get(&self, id: WebhookId) -> Option<&Arc<WebhookConfig>> {
        self.by_id.get(&id)
    }

    pub(crate) fn enabled(&self) -> impl Iterator<Item = &Arc<WebhookConfig>> {
        self.by_id.values().filter(|config| config.state == WebhookState::Enabled)
    }

    /// Those that want to be told of an event; paused ones too, whose events are kept.
    pub(crate) fn wanting(&self, resource_type: &str, event: EventType) -> impl Iterator<Item = &Arc<WebhookConfig>> {
        self.by_id.values().filter(move |config| config.events.contains(&event) && config.serves(resource_type))
    }
}

impl Service {
    /// The webhooks as of now in `connection`'s view. Every change raises some row's revision and no row ever goes, so the
    /// sum tells whether what is remembered still holds.
    pub(crate) async fn configs(&self, connection: &impl ConnectionTrait) -> Result<Arc<Configs>, Problem> {
        let sql = "SELECT CAST(COALESCE(SUM(revision), 0) AS BIGINT) AS revision FROM webhooks";
        let row =
            connection.query_one_raw(self.sql(sql, [])).await.map_err(db_problem)?.ok_or_else(Problem::internal)?;
        let revision: i64 = get(&row, "revision")?;
        if let Some(known) = &*self.inner.outbox.configs.lock()
            && known.revision == revision
        {
            return Ok(known.clone());
        }
        let rows = connection
            .query_all_raw(self.sql("SELECT * FROM webhooks WHERE deleted_at IS NULL", []))
            .await
            .map_err(db_problem)?;
        let mut by_id = HashMap::new();
        for row in &rows {
            let id = get(row, "id")?;
            // One whose secrets cannot be opened (another master key) stops neither the others nor the events that it is to
            // get: they wait, as if it were paused, until its secrets are set anew or the right key is back.
            let config = self.config(row).or_else(|problem| {
                tracing::error!(webhook_id = id, %problem, "a webhook's secrets cannot be opened; its deliveries wait");
                self.config_with(row, Opened { state: Some(WebhookState::Paused), ..Opened::default() })
            })?;
            by_id.insert(id, Arc::new(config));
        }
        let configs = Arc::new(Configs { revision, by_id });
        *self.inner.outbox.configs.lock() = Some(configs.clone());
        Ok(configs)
    }

    /// Reads one row of `webhooks`.
    ///
    /// # Errors
    /// When its secrets cannot be opened.
    pub(crate) fn config(&self, row: &QueryResult) -> Result<WebhookConfig, Problem> {
        let cipher = &self.inner.cipher;
        let secret = |sealed: &str| -> Result<Secret, Problem> {
            Secret::parse(&cipher.decrypt("webhook-secret", sealed)?).map_err(|_| Problem::internal())
        };
        let key = |sealed: Option<String>| -> Result<Vec<SigningKey>, Problem> {
            let Some(sealed) = sealed else { return Ok(Vec::new()) };
            let seed = cipher.decrypt("webhook-signing-key", &sealed)?;
            Ok(vec![SigningKey::parse(&seed).ok_or_else(Problem::internal)?])
        };
        let current = secret(&get::<String>(row, "secret")?)?;
        let current_key = key(get(row, "signing_key")?)?;
        let auth = match get::<Option<String>>(row, "auth_secret")? {
            Some(sealed) => cipher.decrypt("webhook-auth", &sealed)?,
            None => String::new(),
        };
        let previous = get::<Option<String>>(row, "previous_secret")?;
        let overlap = match (previous, get::<Option<i64>>(row, "previous_secret_until")?) {
            (Some(previous), Some(until)) => {
                let secrets = vec![current.clone(), secret(&previous)?];
                let keys = [current_key.clone(), key(get(row, "previous_signing_key")?)?].concat();
                Some((secrets, keys, time(until)))
            }
            _ => None,
        };
        self.config_with(row, Opened { secrets: vec![current], keys: current_key, auth, overlap, state: None })
    }

    /// Reads a row with what was sealed in it.
    fn config_with(&self, row: &QueryResult, opened: Opened) -> Result<WebhookConfig, Problem> {
        let auth_secret = opened.auth;
        let auth = match json::<AuthView>(&get::<String>(row, "auth")?)? {
            AuthView::None => Auth::None,
            AuthView::ApiKey { header } => Auth::ApiKey { header, key: auth_secret },
            AuthView::Oauth2 { token_url, client_id, scope, audience } => {
                Auth::Oauth2 { token_url, client_id, client_secret: auth_secret, scope, audience }
            }
        };
        let headers: Vec<domain::webhook::Header> = json(&get::<String>(row, "headers")?)?;
        let id: WebhookId = get(row, "id")?;
        let target = |secrets, keys| {
            Arc::new(Target { webhook_id: id, auth: auth.clone(), secrets, keys, headers: headers.clone() })
        };
        let endpoint: String = get(row, "endpoint_url")?;
        let paths: DeliveryPaths = json(&get::<String>(row, "delivery_paths")?)?;
        Ok(WebhookConfig {
            id,
            name: get(row, "name")?,
            resource_type: get(row, "resource_type")?,
            events: json(&get::<String>(row, "events")?)?,
            state: match opened.state {
                Some(state) => state,
                None => WebhookState::parse(&get::<String>(row, "state")?).unwrap_or(WebhookState::Paused),
            },
            retry: json(&get::<String>(row, "retry")?)?,
            max_in_flight: get::<i32>(row, "max_in_flight")? as u32,
            rate_limit: get::<Option<i32>>(row, "rate_limit")?.map(|rate| rate as u32),
            provisions: get(row, "provisions")?,
            failing: get::<Option<i64>>(row, "failing_since")?.is_some(),
            urls: EventType::ALL
                .into_iter()
                .map(|event| (event, Destination::new(paths.url(&endpoint, event))))
                .collect(),
            target: target(opened.secrets, opened.keys),
            overlap: opened.overlap.map(|(secrets, keys, until)| (target(secrets, keys), until)),
        })
    }
}
