//! Creating, reading, updating, deleting, pausing and resuming webhooks.

use super::secrets::{auth_secret, new_signing_secret, with_secret};
use super::tls::{self, NewTls};
use super::{Webhooks, change_of, read_action, write_action};
use crate::Result;
use crate::db::codec::time;
use crate::db::column::{JsonText, Text};
use crate::db::entity::{resource_types, resources, webhooks};
use crate::db::link::DatabaseTransaction;
use crate::outbox::WEBHOOK_DELETED;
use crate::ownership::visibility::webhooks_of;
use crate::pagination::{decode_number_cursor, page_of};
use chrono::{DateTime, Utc};
use domain::Problem;
use domain::audit::{AuditAction, Changes};
use domain::authorization::{Action, Actor, authorize};
use domain::change::WebhookChange;
use domain::endpoint::same_origin;
use domain::id::{ResourceId, WebhookId};
use domain::pagination::{Page, PageQuery};
use domain::payload::PayloadFormat;
use domain::problem::Validator;
use domain::resource::ConfigSchema;
use domain::routing::{DeliveryPaths, Layout};
use domain::webhook::{
    AuthInput, AuthView, CustomHeader, DeliveryMode, EventFilter, ResumeInput, StoredCredentials, Webhook,
    WebhookInput, WebhookPatch, WebhookState, WebhookSummary, WebhookWithSecret, check,
};
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    SelectExt as _,
};
use std::collections::BTreeSet;

/// Concurrency limit of a webhook without a setting.
const DEFAULT_MAX_IN_FLIGHT: u32 = 64;
/// Provisioning message of a reservation whose request was discarded.
const DISCARDED: &str = "The provisioning request was discarded by an administrator.";

/// Converts a row to a webhook without secrets.
pub(super) fn to_webhook(model: webhooks::Model, summary: WebhookSummary, now: DateTime<Utc>) -> Webhook {
    let state = model.state.0;
    let tls = tls::view_of(&model);
    let mut old_secrets_until: Vec<_> =
        model.old_secrets().into_iter().map(|old| time(old.until)).filter(|until| *until > now).collect();
    old_secrets_until.sort_unstable_by(|one, other| other.cmp(one));
    Webhook {
        id: model.id,
        name: model.name,
        endpoint_url: model.endpoint_url,
        resource_type: model.resource_type,
        events: model.events.0,
        auth: model.auth.0,
        delivery_paths: model.delivery_paths.0,
        headers: model.headers.0.iter().map(CustomHeader::masked).collect(),
        retry: model.retry.0,
        max_in_flight: model.max_in_flight.unsigned_abs(),
        rate_limit: model.rate_limit.map(i32::unsigned_abs),
        provisions: model.provisions,
        payload_format: model.payload_format.0,
        filter: model.filter.0,
        delivery_mode: model.delivery_mode.0,
        provision: model.provision.0,
        listener: None,
        tls,
        enabled: state == WebhookState::Enabled,
        state,
        secret_hint: model.secret_hint,
        public_key: model.public_key,
        previous_secret_until: old_secrets_until.first().copied(),
        previous_secrets_until: old_secrets_until,
        secret_use: None,
        secret_changed_at: Some(time(model.secret_rotated_at.unwrap_or(model.created_at))),
        created_at: time(model.created_at),
        updated_at: time(model.updated_at),
        summary,
    }
}

/// The columns of settings that are stored as entered, which excludes secrets and custom headers.
fn settings(input: WebhookInput) -> webhooks::ActiveModel {
    let mut events = input.events;
    events.sort_unstable();
    events.dedup();
    let limit = |limit: u32| i32::try_from(limit).unwrap_or(i32::MAX);
    webhooks::ActiveModel {
        name: Set(input.name.trim().to_owned()),
        endpoint_url: Set(input.endpoint_url),
        resource_type: Set(input.resource_type),
        events: Set(JsonText(events)),
        auth: Set(JsonText(input.auth.redacted())),
        delivery_paths: Set(JsonText(match input.payload_format {
            Some(format) if format.uses_exact_url() => DeliveryPaths { layout: Layout::Single, ..Default::default() },
            _ => input.delivery_paths.unwrap_or_default(),
        })),
        retry: Set(JsonText(input.retry.unwrap_or_default())),
        max_in_flight: Set(limit(input.max_in_flight.unwrap_or(DEFAULT_MAX_IN_FLIGHT))),
        rate_limit: Set(input.rate_limit.map(limit)),
        provisions: Set(input.provisions.unwrap_or(true)),
        payload_format: Set(Text(input.payload_format.unwrap_or_default())),
        filter: Set(JsonText(input.filter.unwrap_or_default())),
        delivery_mode: Set(Text(input.delivery_mode.unwrap_or_default())),
        provision: Set(Text(input.provision.unwrap_or_default())),
        ..Default::default()
    }
}

/// The settings of a webhook after a patch. Secrets that the patch does not contain are empty.
fn apply_patch(current: &webhooks::Model, patch: WebhookPatch) -> WebhookInput {
    let stored_auth = || match current.auth.0.clone() {
        AuthView::None => AuthInput::None,
        AuthView::ApiKey { header } => AuthInput::ApiKey { header, key: String::new() },
        AuthView::Oauth2 { token_url, client_id, scope, audience } => {
            AuthInput::Oauth2 { token_url, client_id, client_secret: String::new(), scope, audience }
        }
    };
    WebhookInput {
        name: patch.name.unwrap_or_else(|| current.name.clone()),
        endpoint_url: patch.endpoint_url.unwrap_or_else(|| current.endpoint_url.clone()),
        resource_type: patch.resource_type.unwrap_or_else(|| current.resource_type.clone()),
        events: patch.events.unwrap_or_else(|| current.events.0.clone()),
        auth: patch.auth.unwrap_or_else(stored_auth),
        delivery_paths: Some(patch.delivery_paths.unwrap_or_else(|| current.delivery_paths.0.clone())),
        secret: None,
        headers: patch.headers.unwrap_or_else(|| current.headers.0.iter().map(CustomHeader::masked).collect()),
        retry: Some(patch.retry.unwrap_or_else(|| current.retry.0.clone())),
        enabled: None,
        max_in_flight: Some(patch.max_in_flight.unwrap_or(current.max_in_flight.unsigned_abs())),
        rate_limit: patch.rate_limit.unwrap_or(current.rate_limit.map(i32::unsigned_abs)),
        ed25519: patch.ed25519,
        provisions: Some(patch.provisions.unwrap_or(current.provisions)),
        payload_format: Some(patch.payload_format.unwrap_or(current.payload_format.0)),
        filter: Some(patch.filter.unwrap_or_else(|| current.filter.0.clone())),
        delivery_mode: Some(current.delivery_mode.0),
        tls: patch.tls,
        provision: Some(patch.provision.unwrap_or(current.provision.0)),
    }
}

/// Whether a webhook has the secret of an authentication method that only a newer release knows.
fn has_unknown_auth(current: &webhooks::Model) -> bool {
    current.auth.0 == AuthView::None && current.auth_secret.is_some()
}

impl Webhooks {
    /// Creates a webhook. Only this response and that of a rotation contain the secret.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator or an owner; 422 naming every invalid field, e.g. `resource_type` if an owner
    /// does not own the type.
    #[tracing::instrument(skip_all, err(level = "debug"))]
    pub async fn create(&self, actor: &Actor, input: WebhookInput) -> Result<WebhookWithSecret> {
        authorize(actor, Action::WriteOwned)?;
        authorize(actor, Action::SetWebhookFilter { resource_type: input.resource_type.as_deref() })?;
        let tls = input.tls.as_ref().map(|tls| self.new_tls(tls, None)).transpose()?;
        self.validate(&input, None, tls.as_ref()).await?;
        if let Some(filter) = &input.filter {
            self.check_filter(filter, input.resource_type.as_deref()).await?;
        }
        let secret = new_signing_secret(input.secret.as_deref(), &self.context.settings.url_policy)?;
        let state = if input.enabled.unwrap_or(true) { WebhookState::Enabled } else { WebhookState::Paused };
        let now = self.context.now().timestamp_millis();
        let model = webhooks::ActiveModel {
            state: Set(Text(state)),
            headers: Set(JsonText(Vec::new())),
            secret: Set(String::new()),
            secret_hint: Set(secret.hint()),
            revision: Set(1),
            created_at: Set(now),
            updated_at: Set(now),
            ..settings(input.clone())
        };
        let tx = self.context.begin_change().await?;
        // Secrets are bound to the id, which the insert generates.
        let id = webhooks::Entity::insert(model).exec(&tx).await?.last_insert_id;
        let (signing_key, public_key) = match input.ed25519 {
            Some(true) => self.new_signing_key(id)?,
            _ => (None, None),
        };
        let secrets = webhooks::ActiveModel {
            auth_secret: Set(self.encrypt_auth(id, &input.auth)?),
            headers: Set(JsonText(self.encrypt_headers(id, &input.headers, &[])?)),
            secret: Set(self.encrypt_secret(id, &secret)?),
            signing_key: Set(signing_key),
            public_key: Set(public_key),
            ..tls::columns(&self.cipher, id, tls.as_ref().and_then(|tls| tls.settings.as_deref()))?
        };
        webhooks::Entity::update_many().set(secrets).filter(webhooks::COLUMN.id.eq(id)).exec(&tx).await?;
        let changed = Changes::none()
            .secret("secret")
            .secret_if(input.ed25519 == Some(true), "signing_key")
            .secret_if(auth_secret(&input.auth).is_some(), "auth.secret")
            .secret_if(tls.is_some_and(|tls| tls.sets_key), "tls.client_key");
        self.commit(tx, actor, AuditAction::WebhookCreated, None, id, changed).await?;
        let resource_type = input.resource_type;
        self.publish_change(WebhookChange { id, deleted: false, resource_type, previous_resource_type: None });
        Ok(with_secret(self.get(actor, id).await?, &secret))
    }

    /// Lists webhooks by id, with the summary of the last 24 hours: all of them, or those of owned resource types.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator, an auditor or an owner; 422 for an invalid page.
    #[tracing::instrument(skip_all, err(level = "debug"))]
    pub async fn list(&self, actor: &Actor, page: &PageQuery) -> Result<Page<Webhook>> {
        authorize(actor, Action::ReadOwned)?;
        let limit = page.limit()?;
        let after = decode_number_cursor(page.cursor.as_deref())?.unwrap_or(0);
        let models = webhooks::Entity::find()
            .filter(webhooks::COLUMN.deleted_at.is_null())
            .filter(webhooks::COLUMN.id.gt(after))
            .filter(webhooks_of(actor))
            .order_by_asc(webhooks::COLUMN.id)
            .limit(limit + 1)
            .all(&self.context.db.read)
            .await?;
        let page = page_of(models, limit, |model| model.id.to_string());
        Ok(Page { items: self.with_summaries(page.items).await?, next_cursor: page.next_cursor })
    }

    /// Reads one webhook, with the summary of the last 24 hours.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator or an owner; 404, also for a webhook of another owner.
    #[tracing::instrument(skip_all, fields(webhook_id = id), err(level = "debug"))]
    pub async fn get(&self, actor: &Actor, id: WebhookId) -> Result<Webhook> {
        Ok(self.get_revision(actor, id).await?.0)
    }

    /// Reads one webhook with its revision, which each change of its settings, secrets or state increments.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn get_revision(&self, actor: &Actor, id: WebhookId) -> Result<(Webhook, i64)> {
        authorize(actor, Action::ReadOwned)?;
        let model = self.find(id).await?;
        authorize(actor, read_action(&model))?;
        let revision = model.revision;
        let webhook = self.with_summaries(vec![model]).await?.pop();
        Ok((webhook.ok_or_else(Problem::internal)?, revision))
    }

    /// Changes settings. A change of credentials, or of the server that receives requests, needs a recent confirmation.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator or an owner, and without the confirmation; 404, also for a webhook of another
    /// owner; 412 under another condition ([`Self::if_match`]); 422 naming every invalid field.
    #[tracing::instrument(skip_all, fields(webhook_id = id), err(level = "debug"))]
    pub async fn update(&self, actor: &Actor, id: WebhookId, patch: WebhookPatch) -> Result<Webhook> {
        authorize(actor, Action::WriteOwned)?;
        // Optimistic concurrency: after a concurrent change, the patch is applied to the new settings.
        let change = loop {
            if let Some(change) = self.try_update(actor, id, patch.clone()).await? {
                break change;
            }
        };
        self.publish_change(change);
        self.get(actor, id).await
    }

    /// Applies a patch once. Returns `None`, and changes nothing, after a concurrent change of the webhook.
    async fn try_update(&self, actor: &Actor, id: WebhookId, patch: WebhookPatch) -> Result<Option<WebhookChange>> {
        let current = self.find(id).await?;
        authorize(actor, write_action(&current))?;
        self.check_condition(&current)?;
        let state = match (patch.enabled, current.state.0) {
            (Some(true), _) => WebhookState::Enabled,
            (Some(false), WebhookState::Enabled) => WebhookState::Paused,
            (_, state) => state,
        };
        let (signing_key, public_key) = match patch.ed25519 {
            Some(true) if current.public_key.is_none() => self.new_signing_key(id)?,
            Some(false) => (None, None),
            _ => (current.signing_key.clone(), current.public_key.clone()),
        };
        let (sets_state, sets_events) = (patch.enabled.is_some(), patch.events.is_some());
        let (sets_auth, sets_paths) = (patch.auth.is_some(), patch.delivery_paths.is_some());
        let (sets_format, sets_filter) = (patch.payload_format.is_some(), patch.filter.is_some());
        let sets_provision = patch.provision.is_some();
        let input = apply_patch(&current, patch);
        authorize(actor, Action::SetWebhookFilter { resource_type: input.resource_type.as_deref() })?;
        let change = WebhookChange {
            resource_type: input.resource_type.clone(),
            previous_resource_type: current.resource_type.clone(),
            ..change_of(&current)
        };
        // An empty secret keeps the stored one if both have the same method: an API key is not a client secret.
        let same_method = std::mem::discriminant(&input.auth.redacted()) == std::mem::discriminant(&current.auth.0);
        let keeps_secret = auth_secret(&input.auth) == Some("") && same_method && current.auth_secret.is_some();
        let stored_auth = current.auth_secret.as_ref().map_or(&AuthView::None, |_| &current.auth.0);
        let stored = StoredCredentials {
            endpoint_url: &current.endpoint_url,
            auth: stored_auth,
            headers: &current.headers.0,
            has_client_key: current.client_key.is_some(),
        };
        let tls = input.tls.as_ref().map(|tls| self.new_tls(tls, Some(&current))).transpose()?;
        self.validate(&input, Some(stored), tls.as_ref()).await?;
        // A stored filter can name resources that were deleted since, and is kept.
        let is_other_type = input.resource_type != current.resource_type;
        if let Some(filter) = input.filter.as_ref().filter(|filter| is_other_type || **filter != current.filter.0) {
            self.check_filter(filter, input.resource_type.as_deref()).await?;
        }
        // The secret of a method that only a newer release knows is kept, but not for another server.
        if !sets_auth && has_unknown_auth(&current) && !same_origin(&current.endpoint_url, &input.endpoint_url) {
            let message = "The endpoint URL has another scheme, host or port. Set the authentication again.";
            return Err(Problem::field("auth", message).into());
        }
        let uses_exact_url = input.payload_format.is_some_and(PayloadFormat::uses_exact_url);
        let headers = self.encrypt_headers(id, &input.headers, &current.headers.0)?;
        let auth_secret = if keeps_secret { current.auth_secret.clone() } else { self.encrypt_auth(id, &input.auth)? };
        let has_auth_secret = auth_secret.is_some() || current.auth_secret.is_some();
        let sets_signing_key = signing_key != current.signing_key;
        let sets_auth_secret = sets_auth && !keeps_secret && has_auth_secret;
        // Berth never calls the endpoint of a local webhook.
        let changes_destination = (current.delivery_mode.0 == DeliveryMode::Http
            && !same_origin(&current.endpoint_url, &input.endpoint_url))
            || (sets_auth && input.auth.redacted() != current.auth.0);
        // Own authorities decide which server receives the requests.
        let changes_tls = tls.as_ref().is_some_and(|tls| tls.is_change);
        let sets_secret = sets_auth_secret || sets_signing_key || sets_secret_header(&headers, &current);
        if sets_secret || changes_destination || changes_tls {
            self.context.require_confirmation(actor).await?;
        }
        let mut changes = webhooks::ActiveModel {
            state: Set(Text(state)),
            auth_secret: Set(auth_secret),
            headers: Set(JsonText(headers)),
            signing_key: Set(signing_key),
            public_key: Set(public_key),
            ..settings(input)
        };
        // A newer release may have stored values that this one does not know. They are kept until they are set.
        changes.delivery_mode = NotSet;
        if !sets_state {
            changes.state = NotSet;
        }
        if !sets_events {
            changes.events = NotSet;
        }
        if !(sets_paths || sets_format && uses_exact_url) {
            changes.delivery_paths = NotSet;
        }
        if !sets_format {
            changes.payload_format = NotSet;
        }
        if !sets_filter {
            changes.filter = NotSet;
        }
        if !sets_provision {
            changes.provision = NotSet;
        }
        if !sets_auth {
            changes.auth = NotSet;
            changes.auth_secret = NotSet;
        }
        let sets_client_key = tls.as_ref().is_some_and(|tls| tls.sets_key);
        if let Some(tls) = tls.filter(|tls| tls.is_change) {
            let columns = tls::columns(&self.cipher, id, tls.settings.as_deref())?;
            changes.ca_certificates = columns.ca_certificates;
            changes.client_certificate = columns.client_certificate;
            changes.client_key = columns.client_key;
        }
        let secrets = Changes::none()
            .secret_if(sets_auth_secret, "auth.secret")
            .secret_if(sets_signing_key, "signing_key")
            .secret_if(sets_client_key, "tls.client_key");
        let saved = self.save_if_unchanged(actor, AuditAction::WebhookUpdated, &current, changes, secrets).await?;
        Ok(saved.then_some(change))
    }

    /// Deletes a webhook with its secrets, and cancels its queued deliveries. Its log is kept.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator or an owner; 404, also for a webhook of another owner.
    #[tracing::instrument(skip_all, fields(webhook_id = id), err(level = "debug"))]
    pub async fn delete(&self, actor: &Actor, id: WebhookId) -> Result<()> {
        authorize(actor, Action::WriteOwned)?;
        let now = self.context.now().timestamp_millis();
        let tx = self.context.begin_change().await?;
        let before = lock_in(&tx, actor, id).await?;
        self.check_condition(&before)?;
        let changes = webhooks::ActiveModel {
            deleted_at: Set(Some(now)),
            state: Set(Text(WebhookState::Paused)),
            secret: Set(String::new()),
            auth_secret: Set(None),
            headers: Set(JsonText(Vec::new())),
            previous_secret: Set(None),
            earlier_secrets: Set(JsonText(Vec::new())),
            signing_key: Set(None),
            public_key: Set(None),
            previous_signing_key: Set(None),
            ca_certificates: Set(None),
            client_certificate: Set(None),
            client_key: Set(None),
            ..Default::default()
        };
        update_if(&tx, id, webhooks::COLUMN.deleted_at.is_null(), changes).await?;
        // Requests in flight are not cancelled: their results are recorded.
        let cancelled = self.cancel_queued(&tx, id, WEBHOOK_DELETED).await?;
        self.commit(tx, actor, AuditAction::WebhookDeleted, Some(&before), id, Changes::none()).await?;
        self.feed.publish(cancelled);
        self.deliveries.announce_cancelled(id, now).await;
        self.publish_change(WebhookChange { deleted: true, ..change_of(&before) });
        Ok(())
    }

    /// Pauses a webhook. Its events are queued.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator or an owner; 404, also for a webhook of another owner.
    #[tracing::instrument(skip_all, fields(webhook_id = id), err(level = "debug"))]
    pub async fn pause(&self, actor: &Actor, id: WebhookId) -> Result<Webhook> {
        authorize(actor, Action::WriteOwned)?;
        let tx = self.context.begin_change().await?;
        let before = lock_in(&tx, actor, id).await?;
        let changes = webhooks::ActiveModel {
            state: Set(Text(WebhookState::Paused)),
            updated_at: Set(self.context.now().timestamp_millis()),
            ..Default::default()
        };
        let enabled = webhooks::COLUMN.state.eq(Text(WebhookState::Enabled));
        update_if(&tx, id, enabled, changes).await?;
        self.commit(tx, actor, AuditAction::WebhookPaused, Some(&before), id, Changes::none()).await?;
        self.publish_change(change_of(&before));
        self.get(actor, id).await
    }

    /// Resumes a webhook, and delivers or discards its queued events.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator or an owner; 404, also for a webhook of another owner.
    #[tracing::instrument(skip_all, fields(webhook_id = id), err(level = "debug"))]
    pub async fn resume(&self, actor: &Actor, id: WebhookId, input: ResumeInput) -> Result<Webhook> {
        authorize(actor, Action::WriteOwned)?;
        let now = self.context.now().timestamp_millis();
        let tx = self.context.begin_change().await?;
        let before = lock_in(&tx, actor, id).await?;
        let changes = webhooks::ActiveModel {
            state: Set(Text(WebhookState::Enabled)),
            failing_since: Set(None),
            updated_at: Set(now),
            ..Default::default()
        };
        update_if(&tx, id, webhooks::COLUMN.deleted_at.is_null(), changes).await?;
        let mut cancelled = Vec::new();
        if input.drop_pending {
            cancelled = self.cancel_queued(&tx, id, DISCARDED).await?;
        }
        let dropped = Changes::none().field("drop_pending", (), input.drop_pending);
        self.commit(tx, actor, AuditAction::WebhookResumed, Some(&before), id, dropped).await?;
        if input.drop_pending {
            self.feed.publish(cancelled);
            self.deliveries.announce_cancelled(id, now).await;
        }
        self.publish_change(change_of(&before));
        self.get(actor, id).await
    }

    /// Checks settings. `stored` is the changed webhook, whose credentials empty ones keep, and `tls` the TLS settings of the
    /// input.
    pub(super) async fn validate(
        &self,
        input: &WebhookInput,
        stored: Option<StoredCredentials<'_>>,
        tls: Option<&NewTls>,
    ) -> Result<()> {
        let mut validator = Validator::new();
        if let Err(problem) = check(input, &self.context.settings.url_policy, stored) {
            for error in problem.errors {
                validator.error(error.field, error.message);
            }
        }
        // A text in the wrong form has one error.
        if let Some(tls) = tls
            && !validator.errors().iter().any(|error| error.field.starts_with("tls"))
        {
            for error in &tls.errors {
                validator.error(error.field.as_str(), error.message.as_str());
            }
        }
        if let Some(slug) = &input.resource_type
            && (domain::validation::slug(slug).is_err() || !self.type_exists(slug).await?)
        {
            let message = format!("There is no resource type {slug}. Choose an existing one, or none for all.");
            validator.error("resource_type", message);
        }
        Ok(validator.finish()?)
    }

    /// Checks that the resources and configuration fields of a new filter exist, because a filter with a misspelt name would
    /// exclude every event.
    async fn check_filter(&self, filter: &EventFilter, resource_type: Option<&str>) -> Result<()> {
        let db = &self.context.db.read;
        let mut validator = Validator::new();
        if !filter.resource_ids.is_empty() {
            let mut known = resources::Entity::find()
                .select_only()
                .column(resources::Column::Id)
                .filter(resources::COLUMN.id.is_in(filter.resource_ids.iter().copied()));
            if let Some(slug) = resource_type {
                known = known.filter(resources::COLUMN.resource_type.eq(slug));
            }
            let known: Vec<ResourceId> = known.into_tuple().all(db).await?;
            if let Some(unknown) = filter.resource_ids.iter().find(|id| !known.contains(id)) {
                let of_type = resource_type.map(|slug| format!(" of the type {slug}")).unwrap_or_default();
                let message = format!("There is no resource {unknown}{of_type}. Use ids of GET /api/v1/resources.");
                validator.error("filter.resource_ids", message);
            }
        }
        if !filter.fields.is_empty() {
            let mut types = resource_types::Entity::find();
            if let Some(slug) = resource_type {
                types = types.filter(resource_types::COLUMN.slug.eq(slug));
            }
            let schemas = types.all(db).await?.into_iter().map(|row| ConfigSchema::parse(&row.config_schema.0));
            let fields: BTreeSet<String> =
                schemas.filter_map(Result::ok).flat_map(|schema| schema.fields).map(|field| field.name).collect();
            for (n, condition) in filter.fields.iter().enumerate() {
                if !fields.contains(&condition.field) {
                    let known = fields.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                    let message = if known.is_empty() {
                        "No such resource type has configuration fields. Remove the condition.".to_owned()
                    } else {
                        format!("There is no configuration field {}. Use one of: {known}.", condition.field)
                    };
                    validator.error(format!("filter.fields.{n}.field"), message);
                }
            }
        }
        Ok(validator.finish()?)
    }

    async fn type_exists(&self, slug: &str) -> Result<bool> {
        Ok(resource_types::Entity::find_by_id(slug).exists(&self.context.db.read).await?)
    }
}

/// Whether a secret header is new or has a new value. A kept one has the stored, encrypted value.
fn sets_secret_header(headers: &[CustomHeader], current: &webhooks::Model) -> bool {
    headers.iter().any(|header| header.secret == Some(true) && !current.headers.0.contains(header))
}

/// Reads a webhook that is not deleted and that the actor may change, and locks it until the end of the transaction, so that
/// the logged change is the one that is made.
async fn lock_in(tx: &DatabaseTransaction, actor: &Actor, id: WebhookId) -> Result<webhooks::Model> {
    let webhook =
        webhooks::Entity::find_by_id(id).filter(webhooks::COLUMN.deleted_at.is_null()).lock_exclusive().one(tx).await?;
    let webhook = webhook.ok_or_else(|| Problem::not_found("webhook"))?;
    authorize(actor, write_action(&webhook))?;
    Ok(webhook)
}

/// Updates one webhook and increments its revision, if a condition holds.
async fn update_if(
    connection: &impl ConnectionTrait,
    id: WebhookId,
    condition: Expr,
    changes: webhooks::ActiveModel,
) -> Result<()> {
    webhooks::Entity::update_many()
        .set(changes)
        .col_expr(webhooks::Column::Revision, Expr::col(webhooks::Column::Revision).add(1))
        .filter(webhooks::COLUMN.id.eq(id))
        .filter(condition)
        .exec(connection)
        .await?;
    Ok(())
}
