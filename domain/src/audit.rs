//! The audit log: actions, entries, filters, and the comparison of an object before and after a change.
//!
//! [`Changes`] is the only way to put values of an object into the log, so the rule for secrets is in one place: the value
//! of a secret is never compared or kept, only the fact that it changed ([`Changes::secret`]).

use crate::access_request::AccessRequest;
use crate::account::{ApiToken, User};
use crate::ownership::{Group, Owners};
use crate::reservation::Reservation;
use crate::resource::{Resource, ResourceType};
use crate::webhook::{AuthView, CertificateDetails, CustomHeader, MonitoringSettings, TlsView, Webhook};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Maximum number of characters of a logged text; the rest is replaced by its length.
const MAX_TEXT: usize = 500;

/// An action that the log records.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    strum::IntoStaticStr,
    strum::EnumString,
    strum::VariantArray,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum AuditAction {
    /// A user requested access to a resource.
    #[serde(rename = "access_request.created")]
    #[strum(serialize = "access_request.created")]
    AccessRequestCreated,
    /// An administrator approved an access request.
    #[serde(rename = "access_request.approved")]
    #[strum(serialize = "access_request.approved")]
    AccessRequestApproved,
    /// An administrator denied an access request.
    #[serde(rename = "access_request.denied")]
    #[strum(serialize = "access_request.denied")]
    AccessRequestDenied,
    /// An administrator withdrew a granted access.
    #[serde(rename = "access_request.withdrawn")]
    #[strum(serialize = "access_request.withdrawn")]
    AccessRequestWithdrawn,
    /// An account was erased: a pseudonym replaces its name everywhere.
    #[serde(rename = "account.erased")]
    #[strum(serialize = "account.erased")]
    AccountErased,
    /// Somebody exported the data about an account.
    #[serde(rename = "account.exported")]
    #[strum(serialize = "account.exported")]
    AccountExported,
    /// The channels of alerts were changed.
    #[serde(rename = "alert_channels.updated")]
    #[strum(serialize = "alert_channels.updated")]
    AlertChannelsUpdated,
    /// A test alert was sent.
    #[serde(rename = "alert_channels.tested")]
    #[strum(serialize = "alert_channels.tested")]
    AlertChannelsTested,
    /// A user turned e-mails about alerts on or off.
    #[serde(rename = "alert_preferences.updated")]
    #[strum(serialize = "alert_preferences.updated")]
    AlertPreferencesUpdated,
    /// The alert rules for all webhooks were changed.
    #[serde(rename = "alert_rules.updated")]
    #[strum(serialize = "alert_rules.updated")]
    AlertRulesUpdated,
    /// Somebody exported the audit log.
    #[serde(rename = "audit_log.exported")]
    #[strum(serialize = "audit_log.exported")]
    AuditLogExported,
    /// An administrator viewed the payload and the attempts of a delivery.
    #[serde(rename = "delivery.viewed")]
    #[strum(serialize = "delivery.viewed")]
    DeliveryViewed,
    /// An administrator redelivered one event.
    #[serde(rename = "delivery.redelivered")]
    #[strum(serialize = "delivery.redelivered")]
    DeliveryRedelivered,
    /// An administrator redelivered all events that match a filter, or sent those that a webhook had never received.
    #[serde(rename = "delivery.replayed")]
    #[strum(serialize = "delivery.replayed")]
    DeliveryReplayed,
    /// Somebody paused, continued or cancelled a replay, or changed its rate.
    #[serde(rename = "replay.updated")]
    #[strum(serialize = "replay.updated")]
    ReplayUpdated,
    /// Somebody exported deliveries.
    #[serde(rename = "delivery.exported")]
    #[strum(serialize = "delivery.exported")]
    DeliveriesExported,
    /// A group of users was created.
    #[serde(rename = "group.created")]
    #[strum(serialize = "group.created")]
    GroupCreated,
    /// The name, the description or the members of a group were changed.
    #[serde(rename = "group.updated")]
    #[strum(serialize = "group.updated")]
    GroupUpdated,
    /// A group of users was deleted.
    #[serde(rename = "group.deleted")]
    #[strum(serialize = "group.deleted")]
    GroupDeleted,
    /// An account was linked to a user of an identity provider.
    #[serde(rename = "identity.linked")]
    #[strum(serialize = "identity.linked")]
    IdentityLinked,
    /// The link of an account to a user of an identity provider was removed.
    #[serde(rename = "identity.removed")]
    #[strum(serialize = "identity.removed")]
    IdentityRemoved,
    /// The secrets of the database were encrypted again with another master key.
    #[serde(rename = "master_key.rotated")]
    #[strum(serialize = "master_key.rotated")]
    MasterKeyRotated,
    /// A user marked notifications as read.
    #[serde(rename = "notification.read")]
    #[strum(serialize = "notification.read")]
    NotificationRead,
    /// A wrong current password was entered to confirm a change.
    #[serde(rename = "password.rejected")]
    #[strum(serialize = "password.rejected")]
    PasswordRejected,
    /// A recovery code was used to log in.
    #[serde(rename = "recovery_code.used")]
    #[strum(serialize = "recovery_code.used")]
    RecoveryCodeUsed,
    /// Recovery codes were created, and shown. Earlier ones are invalid.
    #[serde(rename = "recovery_codes.created")]
    #[strum(serialize = "recovery_codes.created")]
    RecoveryCodesCreated,
    /// A request was refused for lack of permission (403).
    #[serde(rename = "request.refused")]
    #[strum(serialize = "request.refused")]
    RequestRefused,
    /// A request with a used `Idempotency-Key` got the stored response, which can contain a secret.
    #[serde(rename = "request.repeated")]
    #[strum(serialize = "request.repeated")]
    RequestRepeated,
    /// A reservation was created.
    #[serde(rename = "reservation.created")]
    #[strum(serialize = "reservation.created")]
    ReservationCreated,
    /// A reservation was changed.
    #[serde(rename = "reservation.updated")]
    #[strum(serialize = "reservation.updated")]
    ReservationUpdated,
    /// A reservation was cancelled.
    #[serde(rename = "reservation.cancelled")]
    #[strum(serialize = "reservation.cancelled")]
    ReservationCancelled,
    /// A reservation ended.
    #[serde(rename = "reservation.expired")]
    #[strum(serialize = "reservation.expired")]
    ReservationExpired,
    /// Someone confirmed that the resource of an ended reservation is released.
    #[serde(rename = "reservation.release_confirmed")]
    #[strum(serialize = "reservation.release_confirmed")]
    ReservationReleaseConfirmed,
    /// A receiver changed the provisioning status of a reservation by a status update.
    #[serde(rename = "reservation.status_updated")]
    #[strum(serialize = "reservation.status_updated")]
    ReservationStatusUpdated,
    /// A resource was created.
    #[serde(rename = "resource.created")]
    #[strum(serialize = "resource.created")]
    ResourceCreated,
    /// A resource was changed.
    #[serde(rename = "resource.updated")]
    #[strum(serialize = "resource.updated")]
    ResourceUpdated,
    /// A resource was deleted.
    #[serde(rename = "resource.deleted")]
    #[strum(serialize = "resource.deleted")]
    ResourceDeleted,
    /// The owners of a resource were changed.
    #[serde(rename = "resource.owners_changed")]
    #[strum(serialize = "resource.owners_changed")]
    ResourceOwnersChanged,
    /// A resource type was created.
    #[serde(rename = "resource_type.created")]
    #[strum(serialize = "resource_type.created")]
    ResourceTypeCreated,
    /// A resource type was changed.
    #[serde(rename = "resource_type.updated")]
    #[strum(serialize = "resource_type.updated")]
    ResourceTypeUpdated,
    /// A resource type was deleted.
    #[serde(rename = "resource_type.deleted")]
    #[strum(serialize = "resource_type.deleted")]
    ResourceTypeDeleted,
    /// The owners of a resource type were changed.
    #[serde(rename = "resource_type.owners_changed")]
    #[strum(serialize = "resource_type.owners_changed")]
    ResourceTypeOwnersChanged,
    /// A second factor was added to an account.
    #[serde(rename = "second_factor.added")]
    #[strum(serialize = "second_factor.added")]
    SecondFactorAdded,
    /// A wrong code, or a response of a passkey that is not valid.
    #[serde(rename = "second_factor.rejected")]
    #[strum(serialize = "second_factor.rejected")]
    SecondFactorRejected,
    /// A second factor of an account was removed.
    #[serde(rename = "second_factor.removed")]
    #[strum(serialize = "second_factor.removed")]
    SecondFactorRemoved,
    /// All second factors of an account were removed by an administrator or the operator.
    #[serde(rename = "second_factor.reset")]
    #[strum(serialize = "second_factor.reset")]
    SecondFactorReset,
    /// A user confirmed who they are, before a sensitive change.
    #[serde(rename = "session.confirmed")]
    #[strum(serialize = "session.confirmed")]
    SessionConfirmed,
    /// A user logged in.
    #[serde(rename = "session.started")]
    #[strum(serialize = "session.started")]
    SessionStarted,
    /// A log-in failed.
    #[serde(rename = "session.rejected")]
    #[strum(serialize = "session.rejected")]
    SessionRejected,
    /// A session was ended, or all sessions of a user were.
    #[serde(rename = "session.ended")]
    #[strum(serialize = "session.ended")]
    SessionEnded,
    /// A status update had no valid signature.
    #[serde(rename = "status_update.rejected")]
    #[strum(serialize = "status_update.rejected")]
    StatusUpdateRejected,
    /// An API token was created, and its secret shown.
    #[serde(rename = "token.created")]
    #[strum(serialize = "token.created")]
    TokenCreated,
    /// An API token was revoked, or all tokens of a user were.
    #[serde(rename = "token.revoked")]
    #[strum(serialize = "token.revoked")]
    TokenRevoked,
    /// A request had an unknown, expired or revoked API token.
    #[serde(rename = "token.rejected")]
    #[strum(serialize = "token.rejected")]
    TokenRejected,
    /// An account was created.
    #[serde(rename = "user.created")]
    #[strum(serialize = "user.created")]
    UserCreated,
    /// An account was changed.
    #[serde(rename = "user.updated")]
    #[strum(serialize = "user.updated")]
    UserUpdated,
    /// A webhook was created, and its signing secret shown.
    #[serde(rename = "webhook.created")]
    #[strum(serialize = "webhook.created")]
    WebhookCreated,
    /// The settings of a webhook were changed.
    #[serde(rename = "webhook.updated")]
    #[strum(serialize = "webhook.updated")]
    WebhookUpdated,
    /// A webhook was deleted.
    #[serde(rename = "webhook.deleted")]
    #[strum(serialize = "webhook.deleted")]
    WebhookDeleted,
    /// A webhook was paused.
    #[serde(rename = "webhook.paused")]
    #[strum(serialize = "webhook.paused")]
    WebhookPaused,
    /// A webhook was resumed.
    #[serde(rename = "webhook.resumed")]
    #[strum(serialize = "webhook.resumed")]
    WebhookResumed,
    /// Berth disabled a webhook, because its receiver responded 410 Gone.
    #[serde(rename = "webhook.disabled")]
    #[strum(serialize = "webhook.disabled")]
    WebhookDisabled,
    /// The signing secret of a webhook was rotated, and the new one shown.
    #[serde(rename = "webhook.secret_rotated")]
    #[strum(serialize = "webhook.secret_rotated")]
    WebhookSecretRotated,
    /// The previous signing secrets of a webhook were revoked before the end of their overlap.
    #[serde(rename = "webhook.secrets_revoked")]
    #[strum(serialize = "webhook.secrets_revoked")]
    WebhookSecretsRevoked,
    /// A test event was sent.
    #[serde(rename = "webhook.tested")]
    #[strum(serialize = "webhook.tested")]
    WebhookTested,
    /// The receiver of a webhook was certified with test events.
    #[serde(rename = "webhook.certified")]
    #[strum(serialize = "webhook.certified")]
    WebhookCertified,
    /// The notices of alerts about a webhook were muted, or the mute was ended.
    #[serde(rename = "webhook.alerts_muted")]
    #[strum(serialize = "webhook.alerts_muted")]
    WebhookAlertsMuted,
    /// A health check of a webhook was run on demand.
    #[serde(rename = "webhook.health_checked")]
    #[strum(serialize = "webhook.health_checked")]
    WebhookHealthChecked,
    /// The health check, the automatic pause or the alert rules of a webhook were changed.
    #[serde(rename = "webhook.monitoring_updated")]
    #[strum(serialize = "webhook.monitoring_updated")]
    WebhookMonitoringUpdated,
    /// A new OAuth token of a webhook was requested on demand.
    #[serde(rename = "webhook.token_fetched")]
    #[strum(serialize = "webhook.token_fetched")]
    WebhookTokenFetched,
    /// Settings of a webhook were checked before they were saved, with test events.
    #[serde(rename = "webhook.checked")]
    #[strum(serialize = "webhook.checked")]
    WebhookChecked,
    /// A local listener (`berth listen`) connected to a webhook. It receives the signed requests of its deliveries.
    #[serde(rename = "webhook.listener_connected")]
    #[strum(serialize = "webhook.listener_connected")]
    WebhookListenerConnected,
    /// The local listener of a webhook disconnected.
    #[serde(rename = "webhook.listener_disconnected")]
    #[strum(serialize = "webhook.listener_disconnected")]
    WebhookListenerDisconnected,
    /// A classic receiver reported how it has processed an event.
    #[serde(rename = "webhook.log_received")]
    #[strum(serialize = "webhook.log_received")]
    WebhookLogReceived,
    /// A classic receiver sent a message to the user of a reservation.
    #[serde(rename = "reservation.notification_received")]
    #[strum(serialize = "reservation.notification_received")]
    ReservationNotificationReceived,
}

impl AuditAction {
    /// Every action, by name.
    pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

    /// The wire name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The action with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// The kind of object that an action concerns.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    strum::IntoStaticStr,
    strum::EnumString,
    strum::VariantArray,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum AuditTargetType {
    /// An access request, by id.
    AccessRequest,
    /// The rules and channels of alerts, without an id.
    Alerts,
    /// The audit log itself.
    AuditLog,
    /// A delivery, by id.
    Delivery,
    /// A group of users, by id.
    Group,
    /// The master key, without an id.
    MasterKey,
    /// The notifications of a user, by the id of the newest one.
    Notification,
    /// A replay, by id.
    Replay,
    /// A request, by method and route.
    Request,
    /// A reservation, by id.
    Reservation,
    /// A resource, by id.
    Resource,
    /// A resource type, by slug.
    ResourceType,
    /// A session, by id.
    Session,
    /// An API token, by id.
    Token,
    /// An account, by login name.
    User,
    /// A webhook, by id.
    Webhook,
}

impl AuditTargetType {
    /// Every kind, by name.
    pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

    /// The wire name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The kind with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// How the actor proved who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr, strum::EnumString)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum AuditCredentialType {
    /// A log-in session.
    Session,
    /// An API token.
    ApiToken,
    /// A username and a password.
    Password,
    /// A passkey, without a password.
    Passkey,
    /// A log-in at an identity provider.
    IdentityProvider,
    /// The signature of a webhook's receiver.
    WebhookSignature,
    /// The code of the link for the first set-up, or a browser on the machine itself.
    SetupCode,
    /// Access to the machine: the command line, or the settings of the process.
    Operator,
    /// Berth itself, e.g. at the end of a reservation.
    System,
    /// None, or none that is valid.
    None,
}

impl AuditCredentialType {
    /// The wire name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The credential of an action. It contains no secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditCredential {
    /// `session`, `api_token`, `password`, `passkey`, `webhook_signature`, `setup_code`, `operator`, `system` or `none`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Public id of the session or the API token, or id of the webhook; `""` if it has none.
    pub id: String,
    /// Name of the API token or the webhook at the time of the action; `""` if it has none.
    pub name: String,
}

/// The object of an action.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditTarget {
    /// The kind of object, e.g. `webhook`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its id; `""` if the action concerns none or an unknown one.
    pub id: String,
    /// Its name at the time of the action; `""` if it has none.
    pub name: String,
}

/// Whether an action was performed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr, strum::EnumString)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum AuditOutcome {
    /// It was performed.
    Succeeded,
    /// It was refused.
    Refused,
}

impl AuditOutcome {
    /// The wire name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The outcome with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// A field before and after a change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldChange {
    /// Name of the field; a dot separates the parts of a nested one, e.g. `auth.method`.
    pub field: String,
    /// Value before the change; null if it had none or is secret.
    #[serde(default)]
    pub before: Value,
    /// Value after the change; null if it has none or is secret.
    #[serde(default)]
    pub after: Value,
    /// Whether the field is a secret, of which only the fact of the change is kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
}

/// One entry of the audit log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// Its number. Numbers have no gaps.
    pub seq: i64,
    /// When it was written.
    pub at: DateTime<Utc>,
    /// Login name of the user; null if the action has none.
    pub actor: Option<String>,
    /// The credential.
    pub credential: AuditCredential,
    /// Address of the client; `""` if the action did not come over the network.
    pub source: String,
    /// Id of the request, as in `X-Request-Id` and in the log; `""` outside a request.
    pub request_id: String,
    /// The action, e.g. `webhook.updated`.
    pub action: String,
    /// Whether it was performed.
    pub outcome: AuditOutcome,
    /// The object.
    pub target: AuditTarget,
    /// The changed fields.
    pub changes: Vec<FieldChange>,
    /// Details in one sentence; `""` if there are none.
    pub detail: String,
    /// Number of equal actions that this entry stands for; 1 except for failures that are counted per minute.
    pub count: i64,
    /// Chain hash in hex: HMAC-SHA256 of the previous entry's hash and of this entry.
    pub hash: String,
}

/// Filters of the audit log. Absent ones match every entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(default)]
pub struct AuditFilter {
    /// Only entries of this user, by login name.
    pub actor: Option<String>,
    /// Only entries with this action.
    pub action: Option<AuditAction>,
    /// Only entries about this kind of object.
    pub target_type: Option<AuditTargetType>,
    /// Only entries about the object with this id.
    pub target_id: Option<String>,
    /// Only entries from this client address.
    pub source: Option<String>,
    /// Only entries with this outcome.
    pub outcome: Option<AuditOutcome>,
    /// Only entries written at or after this time.
    #[serde(deserialize_with = "crate::timestamp::deserialize_optional")]
    pub since: Option<DateTime<Utc>>,
    /// Only entries written before this time.
    #[serde(deserialize_with = "crate::timestamp::deserialize_optional")]
    pub until: Option<DateTime<Utc>>,
}

/// An object whose changes are logged.
pub trait Audited {
    /// Its fields with their values, without secrets and without values that Berth derives.
    fn fields(&self) -> Vec<(String, Value)>;
}

fn field(name: &str, value: impl Serialize) -> (String, Value) {
    (name.to_owned(), serde_json::to_value(value).unwrap_or_default())
}

/// The entries of an object as separate fields, e.g. `additional_config.gpu_count`.
fn nested<'a>(name: &'a str, object: &'a Map<String, Value>) -> impl Iterator<Item = (String, Value)> + 'a {
    object.iter().map(move |(key, value)| (format!("{name}.{key}"), value.clone()))
}

fn nested_value(name: &str, value: impl Serialize) -> Vec<(String, Value)> {
    match serde_json::to_value(value) {
        Ok(Value::Object(object)) => nested(name, &object).collect(),
        Ok(value) => vec![(name.to_owned(), value)],
        Err(_) => Vec::new(),
    }
}

impl Audited for Reservation {
    fn fields(&self) -> Vec<(String, Value)> {
        let mut fields = vec![
            field("user_id", &self.user_id),
            field("resource_id", self.resource_id),
            field("resource_name", &self.resource_name),
            field("title", &self.title),
            field("start_time", self.start_time),
            field("end_time", self.end_time),
            field("user_ssh_key", &self.user_ssh_key),
            field("status", self.status),
            field("cancel_reason", &self.cancel_reason),
        ];
        fields.extend(nested("additional_config", &self.additional_config));
        fields
    }
}

impl Audited for User {
    fn fields(&self) -> Vec<(String, Value)> {
        vec![
            field("email", &self.email),
            field("role", self.role),
            field("disabled", self.disabled),
            field("ssh_key", &self.ssh_key),
            field("role_provider", &self.role_provider),
        ]
    }
}

impl Audited for ApiToken {
    fn fields(&self) -> Vec<(String, Value)> {
        vec![field("name", &self.name), field("scopes", &self.scopes), field("expires_at", self.expires_at)]
    }
}

impl Audited for ResourceType {
    fn fields(&self) -> Vec<(String, Value)> {
        vec![
            field("name", &self.name),
            field("color", &self.color),
            field("config_schema", &self.config_schema),
            field("lead_minutes", self.lead_minutes),
            field("ending_notice_minutes", self.ending_notice_minutes),
            field("turnaround_minutes", self.turnaround_minutes),
            field("late_release_minutes", self.late_release_minutes),
            field("access_before_start", self.access_before_start),
        ]
    }
}

impl Audited for Resource {
    fn fields(&self) -> Vec<(String, Value)> {
        vec![
            field("name", &self.name),
            field("resource_type", &self.resource_type),
            field("location", &self.location),
            field("specs", &self.specs),
            field("status", self.status),
        ]
    }
}

impl Audited for MonitoringSettings {
    fn fields(&self) -> Vec<(String, Value)> {
        nested_value("monitoring", self)
    }
}

impl Audited for Group {
    /// Each member is a field of its own, so that a large group is not cut.
    fn fields(&self) -> Vec<(String, Value)> {
        let mut fields = vec![field("name", &self.name), field("description", &self.description)];
        fields.extend(self.members.iter().map(|member| field(&format!("members.{member}"), true)));
        fields
    }
}

impl Audited for Owners {
    fn fields(&self) -> Vec<(String, Value)> {
        let users = self.users.iter().map(|user| field(&format!("owners.users.{user}"), true));
        let groups = self.groups.iter().map(|group| field(&format!("owners.groups.{}", group.id), &group.name));
        users.chain(groups).collect()
    }
}

impl Audited for AccessRequest {
    fn fields(&self) -> Vec<(String, Value)> {
        vec![
            field("user_id", &self.user_id),
            field("resource_id", self.resource_id),
            field("resource_name", &self.resource_name),
            field("reason", &self.reason),
            field("status", self.status),
        ]
    }
}

impl Audited for Webhook {
    /// The hint of the secret is part of it, so it is not a field. Neither are the values of secret headers.
    fn fields(&self) -> Vec<(String, Value)> {
        let mut fields = vec![
            field("name", &self.name),
            field("endpoint_url", &self.endpoint_url),
            field("resource_type", &self.resource_type),
            field("events", &self.events),
        ];
        fields.extend(auth_fields(&self.auth));
        fields.extend(nested_value("delivery_paths", &self.delivery_paths));
        fields.extend(self.headers.iter().map(header_field));
        fields.extend(nested_value("retry", &self.retry));
        fields.extend([
            field("max_in_flight", self.max_in_flight),
            field("rate_limit", self.rate_limit),
            field("provisions", self.provisions),
            field("provision", self.provision),
            field("payload_format", self.payload_format),
            field("filter.resource_ids", &self.filter.resource_ids),
            field("filter.fields", &self.filter.fields),
            field("delivery_mode", self.delivery_mode),
            field("state", self.state),
            field("public_key", &self.public_key),
            field("previous_secrets_until", &self.previous_secrets_until),
        ]);
        fields.extend(self.tls.iter().flat_map(tls_fields));
        fields
    }
}

fn auth_fields(auth: &AuthView) -> Vec<(String, Value)> {
    nested_value("auth", auth)
}

/// The certificates by subject, end of validity and fingerprint.
fn tls_fields(tls: &TlsView) -> [(String, Value); 2] {
    let summaries =
        |details: &[CertificateDetails]| -> Vec<String> { details.iter().map(CertificateDetails::summary).collect() };
    [
        field("tls.ca_certificates", summaries(&tls.ca_details)),
        field("tls.client_certificate", summaries(&tls.client_details)),
    ]
}

/// A custom header. Of a secret one, only the existence is a field.
fn header_field(header: &CustomHeader) -> (String, Value) {
    let value = if header.is_secret() { json!("(secret)") } else { json!(header.value) };
    (format!("headers.{}", header.name), value)
}

/// The changed fields of an object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes(Vec<FieldChange>);

impl Changes {
    /// No field.
    pub fn none() -> Self {
        Self::default()
    }

    /// The values of a new object, without empty ones.
    pub fn created(after: &impl Audited) -> Self {
        Self::compare(Vec::new(), after.fields())
    }

    /// The last values of a deleted object, without empty ones.
    pub fn deleted(before: &impl Audited) -> Self {
        Self::compare(before.fields(), Vec::new())
    }

    /// The fields that differ.
    pub fn between<T: Audited>(before: &T, after: &T) -> Self {
        Self::compare(before.fields(), after.fields())
    }

    /// The fields that differ, in the order of `after`, then those that exist only in `before`.
    fn compare(mut before: Vec<(String, Value)>, after: Vec<(String, Value)>) -> Self {
        let mut changes = Vec::with_capacity(after.len());
        for (name, value) in after {
            let old = before.iter().position(|(other, _)| *other == name).map(|n| before.remove(n).1);
            changes.extend(changed(name, old.unwrap_or_default(), value));
        }
        changes.extend(before.into_iter().filter_map(|(name, old)| changed(name, old, Value::Null)));
        Self(changes)
    }

    /// Adds a field whose value is not a secret.
    #[must_use]
    pub fn field(mut self, name: &str, before: impl Serialize, after: impl Serialize) -> Self {
        let (before, after) = (serde_json::to_value(before), serde_json::to_value(after));
        self.0.extend(changed(name.to_owned(), before.unwrap_or_default(), after.unwrap_or_default()));
        self
    }

    /// Adds a secret that was set, replaced or removed. Its value is not kept.
    #[must_use]
    pub fn secret(mut self, name: impl Into<String>) -> Self {
        self.0.push(FieldChange { field: name.into(), before: Value::Null, after: Value::Null, secret: true });
        self
    }

    /// Adds a secret if it was changed.
    #[must_use]
    pub fn secret_if(self, is_changed: bool, name: impl Into<String>) -> Self {
        if is_changed { self.secret(name) } else { self }
    }

    /// Adds the secret headers whose stored values differ, and those that exist on one side only.
    #[must_use]
    pub fn secret_headers(self, before: &[CustomHeader], after: &[CustomHeader]) -> Self {
        let removed = before.iter().filter(|old| old.is_secret() && old.find(after).is_none());
        let set =
            after.iter().filter(|new| new.is_secret() && new.find(before).is_none_or(|old| old.value != new.value));
        set.chain(removed).fold(self, |changes, header| changes.secret(format!("headers.{}", header.name)))
    }

    /// With the fields of other changes.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The changed fields.
    pub fn fields(&self) -> &[FieldChange] {
        &self.0
    }
}

fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn changed(field: String, before: Value, after: Value) -> Option<FieldChange> {
    let differs = before != after && !(is_blank(&before) && is_blank(&after));
    differs.then(|| FieldChange { field, before: shortened(before), after: shortened(after), secret: false })
}

/// The value to log: long texts and large structures are cut, so that an entry stays small.
fn shortened(value: Value) -> Value {
    let text = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => return value,
        Value::String(text) if text.len() <= MAX_TEXT => return Value::String(text),
        Value::String(text) => text,
        Value::Array(_) | Value::Object(_) => match value.to_string() {
            text if text.len() <= MAX_TEXT => return value,
            text => text,
        },
    };
    let count = text.chars().count();
    if count <= MAX_TEXT {
        return Value::String(text);
    }
    let start: String = text.chars().take(MAX_TEXT).collect();
    Value::String(format!("{start}… ({count} characters)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorization::Role;
    use crate::retry::RetryPolicy;
    use crate::routing::DeliveryPaths;

    fn user(email: &str) -> User {
        User {
            username: "alice".into(),
            email: email.into(),
            role: Role::User,
            disabled: false,
            ssh_key: String::new(),
            created_at: DateTime::UNIX_EPOCH,
            has_password: true,
            role_provider: None,
        }
    }

    #[test]
    fn names_of_actions_are_unique_sorted_by_object_and_parse_back() {
        for action in AuditAction::ALL {
            assert_eq!(AuditAction::parse(action.as_str()), Some(*action));
            assert_eq!(serde_json::to_value(action).unwrap(), action.as_str());
            let (object, verb) = action.as_str().split_once('.').unwrap();
            assert!(!object.is_empty() && !verb.contains('.'), "{action:?}");
        }
        for kind in AuditTargetType::ALL {
            assert_eq!(AuditTargetType::parse(kind.as_str()), Some(*kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }

    #[test]
    fn only_fields_that_differ_are_changes() {
        let changes = Changes::between(&user("a@example.com"), &user("b@example.com"));
        let expected = FieldChange {
            field: "email".into(),
            before: "a@example.com".into(),
            after: "b@example.com".into(),
            secret: false,
        };
        assert_eq!(changes.fields(), [expected]);
        assert!(Changes::between(&user("a@example.com"), &user("a@example.com")).is_empty());
    }

    /// The fields of an object that changes of the audit log do not have, as they should be: a setting is never missing.
    fn unaudited<T: Audited + Serialize>(object: &T) -> Vec<String> {
        let audited: Vec<String> = object.fields().into_iter().map(|(name, _)| name).collect();
        let is_audited =
            |name: &str| audited.iter().any(|field| field == name || field.starts_with(&format!("{name}.")));
        let Value::Object(fields) = json!(object) else { panic!("not an object") };
        let mut names: Vec<_> = fields.into_iter().map(|(name, _)| name).filter(|name| !is_audited(name)).collect();
        names.sort();
        names
    }

    #[test]
    fn every_setting_is_audited() {
        assert_eq!(unaudited(&user("a@example.com")), ["created_at", "has_password", "username"]);
        let resource_type: ResourceType = serde_json::from_value(
            json!({"id": "gpu", "slug": "gpu", "name": "GPU", "color": "", "config_schema": {}, "resources": 1}),
        )
        .unwrap();
        assert_eq!(unaudited(&resource_type), ["id", "resources", "slug"]);
        let resource: Resource = serde_json::from_value(json!({
            "id": 1, "name": "node", "resource_type": "gpu", "location": "", "specs": "", "status": "available", "bookable": true
        }))
        .unwrap();
        assert_eq!(unaudited(&resource), ["bookable", "id"]);
        let webhook: Webhook = serde_json::from_value(json!({
            "id": 1, "name": "GPU", "endpoint_url": "https://a.example.com", "resource_type": null, "events": [],
            "auth": {"method": "none"}, "delivery_paths": DeliveryPaths::default(), "headers": [{"name": "X-Team", "value": "a"}],
            "retry": RetryPolicy::default(),
            "max_in_flight": 64, "rate_limit": null, "provisions": true, "enabled": true, "state": "enabled",
            "tls": {"ca_certificates": "", "client_certificate": "", "ca_details": [], "client_details": []}, "secret_hint": "file", "public_key": null,
            "previous_secret_until": null, "created_at": "2030-01-15T09:00:00Z", "updated_at": "2030-01-15T09:00:00Z",
            "summary": {"health": "unknown", "success_rate": null, "deliveries": 0, "last_delivery_at": null, "waiting": 0},
        }))
        .unwrap();
        let none = [
            "created_at",
            "enabled",
            "id",
            "listener",
            "previous_secret_until",
            "secret_changed_at",
            "secret_hint",
            "secret_use",
            "summary",
            "updated_at",
        ];
        assert_eq!(unaudited(&webhook), none);
    }

    #[test]
    fn new_object_has_its_values_without_empty_ones() {
        let created = Changes::created(&user("a@example.com"));
        let names: Vec<&str> = created.fields().iter().map(|change| change.field.as_str()).collect();
        assert_eq!(names, ["email", "role", "disabled"]);
        assert!(created.fields().iter().all(|change| change.before.is_null()));
        assert!(Changes::deleted(&user("a@example.com")).fields().iter().all(|change| change.after.is_null()));
    }

    #[test]
    fn secrets_have_no_values() {
        let secret = |value: &str| CustomHeader { name: "X-Key".into(), value: value.into(), secret: Some(true) };
        let plain = |value: &str| CustomHeader::new("X-Team", value);
        let changes = Changes::none()
            .secret("password")
            .secret_headers(&[secret("one"), plain("a")], &[secret("two"), plain("b")]);
        let text = serde_json::to_string(changes.fields()).unwrap();
        assert!(text.contains("headers.X-Key") && text.contains("password"), "{text}");
        assert!(!text.contains("one") && !text.contains("two") && !text.contains("X-Team"), "{text}");
        assert!(Changes::none().secret_headers(&[secret("one")], &[secret("one")]).is_empty());
        assert_eq!(Changes::none().secret_headers(&[secret("one")], &[]).fields().len(), 1, "a removed one");
        assert_eq!(header_field(&secret("one")).1, "(secret)");
        assert_eq!(header_field(&CustomHeader::new("Authorization", "Bearer abc")).1, "(secret)");
    }

    #[test]
    fn long_values_are_cut() {
        let long = "é".repeat(600);
        let changes = Changes::none().field("specs", "", &long).field("schema", Value::Null, vec![long.clone()]);
        for change in changes.fields() {
            let text = change.after.as_str().unwrap();
            assert!(text.contains("… (60") && text.chars().count() < 530, "{text}");
        }
    }
}
