//! Webhooks.

use crate::db::column::{JsonText, Text};
use domain::event::EventType;
use domain::payload::PayloadFormat;
use domain::retry::RetryPolicy;
use domain::routing::DeliveryPaths;
use domain::webhook::{AuthView, CustomHeader, DeliveryMode, EventFilter, ProvisionTime, WebhookState};
use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

/// A signing secret before a rotation, which also signs until its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OldSecret {
    /// The secret, encrypted.
    pub secret: String,
    /// The Ed25519 signing key of its time, encrypted.
    pub signing_key: Option<String>,
    /// End of its overlap.
    pub until: i64,
}

/// One webhook. The row of a deleted webhook is kept without its secrets, because the log shows its name.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "webhooks")]
pub(crate) struct Model {
    /// Identifier.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// Display name.
    pub name: String,
    /// Base URL of the receiver.
    pub endpoint_url: String,
    /// Slug of the only resource type whose events it receives; NULL = every type.
    pub resource_type: Option<String>,
    /// Event types that it receives, sorted.
    pub events: JsonText<Vec<EventType>>,
    /// Authentication method, without its secret.
    pub auth: JsonText<AuthView>,
    /// The method's secret, encrypted.
    pub auth_secret: Option<String>,
    /// Layout of the delivery paths.
    pub delivery_paths: JsonText<DeliveryPaths>,
    /// Custom headers. The value of one with `"secret": true` is encrypted.
    pub headers: JsonText<Vec<CustomHeader>>,
    /// Retry policy.
    pub retry: JsonText<RetryPolicy>,
    /// Concurrency limit.
    pub max_in_flight: i32,
    /// Rate limit in requests per second; NULL = no limit.
    pub rate_limit: Option<i32>,
    /// Enabled, paused or gone.
    pub state: Text<WebhookState>,
    /// Signing secret, encrypted.
    pub secret: String,
    /// Last characters of the signing secret.
    pub secret_hint: String,
    /// Signing secret before the last rotation, encrypted.
    pub previous_secret: Option<String>,
    /// End of the overlap during which the previous secret and key also sign.
    pub previous_secret_until: Option<i64>,
    /// Secrets before the previous one, newest first.
    pub earlier_secrets: JsonText<Vec<OldSecret>>,
    /// Start of the current failure period; NULL while the webhook is not failing.
    pub failing_since: Option<i64>,
    /// Number of changes: the version for optimistic concurrency and for configuration caches.
    pub revision: i64,
    /// Deletion time.
    pub deleted_at: Option<i64>,
    /// Creation time.
    pub created_at: i64,
    /// Time of the last change.
    pub updated_at: i64,
    /// Ed25519 signing key, encrypted.
    pub signing_key: Option<String>,
    /// Public half of the signing key (`whpk_…`).
    pub public_key: Option<String>,
    /// Ed25519 signing key before the last rotation, encrypted.
    pub previous_signing_key: Option<String>,
    /// Whether its responses and status updates change the provisioning state.
    pub provisions: bool,
    /// The form of the payload of new events.
    pub payload_format: Text<PayloadFormat>,
    /// Limits its events by resource and configuration.
    pub filter: JsonText<EventFilter>,
    /// Time of the last rotation of the signing secret.
    pub secret_rotated_at: Option<i64>,
    /// Time of the last reminder that the signing secret is old.
    pub secret_reminded_at: Option<i64>,
    /// Whether Berth sends its deliveries, or a local listener forwards them.
    pub delivery_mode: Text<DeliveryMode>,
    /// Certificates of authorities that it trusts besides those of the system, in PEM.
    pub ca_certificates: Option<String>,
    /// Client certificate with its chain, in PEM.
    pub client_certificate: Option<String>,
    /// Private key of the client certificate, encrypted.
    pub client_key: Option<String>,
    /// When it receives `reservation.created`.
    pub provision: Text<ProvisionTime>,
    /// The only resource type whose events it receives.
    #[sea_orm(belongs_to, from = "resource_type", to = "slug", skip_fk)]
    pub of_type: BelongsTo<Option<super::resource_types::Entity>>,
    /// Its log.
    #[sea_orm(has_many)]
    pub deliveries: HasMany<super::deliveries::Entity>,
    /// Its queue.
    #[sea_orm(has_many)]
    pub outbox: HasMany<super::outbox::Entity>,
    /// Attempts of its deliveries.
    #[sea_orm(has_many)]
    pub attempts: HasMany<super::attempts::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// The signing secrets before the current one, newest first, also those whose overlap has ended.
    pub(crate) fn old_secrets(&self) -> Vec<OldSecret> {
        let previous = self.previous_secret.clone().zip(self.previous_secret_until);
        let signing_key = self.previous_signing_key.clone();
        let previous = previous.map(|(secret, until)| OldSecret { secret, signing_key, until });
        previous.into_iter().chain(self.earlier_secrets.0.iter().cloned()).collect()
    }
}
