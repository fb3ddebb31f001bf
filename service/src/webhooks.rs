//! Webhooks: registering, testing, rotating, pausing, measuring.

pub(crate) mod health;

use crate::Service;
use crate::db::attempts::{AttemptRow, OnConflict, insert_attempts};
use crate::db::bulk::BulkValues;
use crate::db::codec::{get, json, time, to_json};
use crate::db::queue_cancel::Queued;
use crate::error::db_problem;
use crate::outbox::WEBHOOK_DELETED;
use crate::pagination::page_of;
use crate::pagination::{self as cursor};
use crate::provisioning;
use crate::reservations::changes_of;
use chrono::{DateTime, Duration, Utc};
use domain::Problem;
use domain::authorization::{Action, Actor, authorize};
use domain::change::{Change, WebhookChange};
use domain::delivery::{Attempt, DeliveryStatus, DeliverySummary, Outcome};
use domain::event::{AccessRequestBody, EventBody, EventType};
use domain::id::{AccessRequestId, DeliveryId, EventId, ReservationId, WebhookId};
use domain::pagination::{Page, PageQuery};
use domain::problem::Validator;
use domain::provisioning::Provisioning;
use domain::reservation::{Reservation, ReservationStatus};
use domain::resource::ConfigSchema;
use domain::signature::{Secret, SigningKey};
use domain::webhook::*;
use sea_orm::{ConnectionTrait, QueryResult, TransactionTrait as _, Value};
use serde_json::json;
use std::collections::HashMap;

/// Requests at once where the administrator does not say.
const DEFAULT_IN_FLIGHT: u32 = 64;
/// Attempts that a summary's percentile looks at, the latest ones.
const SAMPLE: i64 = 5_000;
/// A key of nobody, for test events.
const SAMPLE_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7pZLsoUSJmAfc4CAsqYFBZQCcdNI0JVXI9Qw5YbmLS test@berth";

/// An unchanging part of a webhook's row; the summary is added for many at once.
fn webhook(row: &QueryResult, now: DateTime<Utc>) -> Result<(Webhook, bool), Problem> {
    let state = WebhookState::parse(&get::<String>(row, "state")?).unwrap_or(WebhookState::Paused);
    let webhook = Webhook {
        id: get(row, "id")?,
        name: get(row, "name")?,
        endpoint_url: get(row, "endpoint_url")?,
        resource_type: get(row, "resource_type")?,
        events: json(&get::<String>(row, "events")?)?,
        auth: json(&get::<String>(row, "auth")?)?,
        delivery_paths: json(&get::<String>(row, "delivery_paths")?)?,
        headers: json(&get::<String>(row, "headers")?)?,
        retry: json(&get::<String>(row, "retry")?)?,
        max_in_flight: get::<i32>(row, "max_in_flight")? as u32,
        rate_limit: get::<Option<i32>>(row, "rate_limit")?.map(|rate| rate as u32),
        provisions: get(row, "provisions")?,
        enabled: state == WebhookState::Enabled,
        state,
        secret_hint: get(row, "secret_hint")?,
        public_key: get(row, "public_key")?,
        previous_secret_until: get::<Option<i64>>(row, "previous_secret_until")?.map(time).filter(|until| *until > now),
        created_at: time(get(row, "created_at")?),
        updated_at: time(get(row, "updated_at")?),
        summary: WebhookSummary {
            health: WebhookHealth::Unknown,
            deliveries: 0,
            success_rate: None,
            p95_ms: None,
            last_delivery_at: None,
            last_status: None,
            waiting: 0,
        },
    };
    Ok((webhook, get::<Option<i64>>(row, "failing_since")?.is_some()))
}

fn hint(secret: &Secret) -> String {
    let letters: Vec<char> = secret.expose().chars().collect();
    // Of a short one less: what is shown must not help to guess the rest.
    letters[letters.len() - (letters.len() / 4).min(4)..].iter().collect()
}

/// The value at a quantile of sorted values (nearest rank).
fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let rank = (sorted.len() as f64 * q).ceil() as usize;
    sorted.get(rank.saturating_sub(1).min(sorted.len().saturating_sub(1))).copied()
}

/// What of an [`AuthInput`] is secret.
fn auth_secret(auth: &AuthInput) -> Option<&str> {
    match auth {
        AuthInput::None => None,
        AuthInput::ApiKey { key, .. } => Some(key),
        AuthInput::Oauth2 { client_secret, .. } => Some(client_secret),
    }
}

impl Service {
    fn seal_auth(&self, auth: &AuthInput) -> Result<Option<String>, Problem> {
        auth_secret(auth).map(|secret| self.inner.cipher.encrypt("webhook-auth", secret)).transpose()
    }

    /// A new Ed25519 key as it is stored: sealed, and its public half.
    fn new_signing_key(&self) -> Result<(Option<String>, Option<String>), Problem> {
        let key = SigningKey::from_seed(crate::secrets::random());
        Ok((Some(self.inner.cipher.encrypt("webhook-signing-key", &key.expose())?), Some(key.public())))
    }

    fn webhook_changed(&self, id: WebhookId, deleted: bool) {
        self.announce(vec![Change::Webhook(WebhookChange { id, deleted })]);
        self.wake_dispatchers(id.into());
    }

    async fn type_exists(&self, slug: &str) -> Result<bool, Problem> {
        Ok(!self.rows("SELECT 1 AS one FROM resource_types WHERE slug = $1", [slug.into()]).await?.is_empty())
    }

    async fn check_webhook(&self, input: &WebhookInput, needs_secrets: bool) -> Result<(), Problem> {
        let mut validator = Validator::new();
        if let Err(problem) = check(input, &self.inner.context.settings.url_policy, needs_secrets) {
            for error in problem.errors {
                validator.error(error.field, error.message);
            }
        }
        if let Some(slug) = &input.resource_type
            && (domain::validation::slug(slug).is_err() || !self.type_exists(slug).await?)
        {
            validator.error(
                "resource_type",
                format!("There is no resource type {slug}. Choose an existing one, or none for all."),
            );
        }
        validator.finish()
    }

    /// Registers a webhook; the answer holds the secret, this once.
    ///
    /// # Errors
    /// 403 for others than administrators, 422 naming every field at fault.
    pub async fn create_webhook(&self, actor: &Actor, input: WebhookInput) -> Result<WebhookWithSecret, Problem> {
        authorize(actor, Action::WriteWebhooks)?;
        self.check_webhook(&input, true).await?;
        let secret = match &input.secret {
            Some(text) => Secret::parse(text).map_err(|message| Problem::field("secret", message))?,
            None => Secret::generate(crate::secrets::random()),
        };
        let now = self.now().timestamp_millis();
        let (signing_key, public_key) =
            if input.ed25519 == Some(true) { self.new_signing_key()? } else { (None, None) };
        let state = if input.enabled.unwrap_or(true) { WebhookState::Enabled } else { WebhookState::Paused };
        let mut events = input.events.clone();
        events.sort_unstable();
        events.dedup();
        let values: Vec<Value> = vec![
            input.name.trim().into(),
            input.endpoint_url.as_str().into(),
            input.resource_type.clone().into(),
            to_json(&events)?.into(),
            to_json(&input.auth.redacted())?.into(),
            self.seal_auth(&input.auth)?.into(),
            to_json(&input.delivery_paths.clone().unwrap_or_default())?.into(),
            to_json(&input.headers)?.into(),
            to_json(&input.retry.clone().unwrap_or_default())?.into(),
            (input.max_in_flight.unwrap_or(DEFAULT_IN_FLIGHT) as i32).into(),
            input.rate_limit.map(|rate| rate as i32).into(),
            state.as_str().into(),
            self.inner.cipher.encrypt("webhook-secret", secret.expose())?.into(),
            hint(&secret).into(),
            now.into(),
            signing_key.into(),
            public_key.into(),
            input.provisions.unwrap_or(true).into(),
        ];
        let sql = "INSERT INTO webhooks (name, endpoint_url, resource_type, events, auth, auth_secret, delivery_paths, headers, retry, max_in_flight, rate_limit, state, secret, secret_hint, revision, created_at, updated_at, signing_key, public_key, provisions) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 1, $15, $15, $16, $17, $18) RETURNING id";
        let row = self
            .inner
            .context
            .db
            .write
            .query_one_raw(self.sql(sql, values))
            .await
            .map_err(db_problem)?
            .ok_or_else(Problem::internal)?;
        let id: WebhookId = get(&row, "id")?;
        self.webhook_changed(id, false);
        Ok(WebhookWithSecret { webhook: self.get_webhook(actor, id).await?, secret: secret.expose().to_owned() })
    }

    /// By id, oldest first, with 24 h summaries.
    ///
    /// # Errors
    /// 403 for others than administrators, 422 for a bad page.
    pub async fn list_webhooks(&self, actor: &Actor, page: &PageQuery) -> Result<Page<Webhook>, Problem> {
        authorize(actor, Action::ReadWebhooks)?;
        let limit = page.limit()?;
        let after = cursor::decode_number_cursor(page.cursor.as_deref())?.unwrap_or(0);
        let sql = "SELECT * FROM webhooks WHERE deleted_at IS NULL AND id > $1 ORDER BY id LIMIT $2";
        let rows = self.rows(sql, [after.into(), (limit as i64 + 1).into()]).await?;
        let now = self.now();
        let webhooks = rows.iter().map(|row| webhook(row, now)).collect::<Result<Vec<_>, _>>()?;
        let mut page = page_of(webhooks, limit, |(webhook, _)| webhook.id.to_string());
        self.summarise(&mut page.items, now).await?;
        Ok(Page { items: page.items.into_iter().map(|(webhook, _)| webhook).collect(), next_cursor: page.next_cursor })
    }

    /// Fills the summaries in.
    async fn summarise(&self, webhooks: &mut [(Webhook, bool)], now: DateTime<Utc>) -> Result<(), Problem> {
        let since = (now - Duration::hours(24)).timestamp_millis();
        let latest = "SELECT a.delivery_status, a.duration_ms, a.started_at, a.outcome FROM attempts a WHERE a.webhook_id = {id} AND a.started_at >= $2 AND a.delivery_status <> 'test' ORDER BY a.started_at DESC LIMIT {sample}"
            .replace("{sample}", &SAMPLE.to_string());
        let mut rows = Vec::new();
        if self.is_postgres() {
            let ids: Vec<_> = webhooks.iter().map(|(webhook, _)| json!({"id": webhook.id})).collect();
            let sql = format!(
                "SELECT r.id, s.succeeded, s.failed, s.p95, s.last_at, s.last_status FROM json_to_recordset($1::json) AS r(id bigint) CROSS JOIN LATERAL (
                   SELECT COUNT(*) FILTER (WHERE delivery_status = 'succeeded') AS succeeded, COUNT(*) FILTER (WHERE delivery_status = 'failed') AS failed,
                   percentile_disc(0.95) WITHIN GROUP (ORDER BY duration_ms) AS p95, MAX(started_at) AS last_at,
                   (array_agg(delivery_status ORDER BY started_at DESC))[1] AS last_status FROM ({}) q) s",
                latest.replace("{id}", "r.id")
            );
            // The sample is the end of an index. Where the database expects little of a day, it would rather collect all of
            // it and sort, and it is mistaken as often as the table grows faster than it counts it.
            let tx = self.inner.context.db.read.begin().await.map_err(db_problem)?;
            tx.execute_unprepared("SET LOCAL enable_bitmapscan = off").await.map_err(db_problem)?;
            let values = [to_json(&ids)?.into(), since.into()];
            rows = tx.query_all_raw(self.sql(sql, values)).await.map_err(db_problem)?;
            tx.commit().await.map_err(db_problem)?;
        } else {
            // Embedded: a query costs no round trip.
            let sql = format!(
                "WITH q AS MATERIALIZED ({}), n AS (SELECT COUNT(*) AS n FROM q) SELECT $1 AS id, (SELECT COUNT(*) FROM q WHERE delivery_status = 'succeeded') AS succeeded, (SELECT COUNT(*) FROM q WHERE delivery_status = 'failed') AS failed, (SELECT duration_ms FROM q ORDER BY duration_ms LIMIT 1 OFFSET (SELECT MAX(0, (n * 95 + 99) / 100 - 1) FROM n)) AS p95, (SELECT MAX(started_at) FROM q) AS last_at, (SELECT delivery_status FROM q ORDER BY started_at DESC LIMIT 1) AS last_status",
                latest.replace("{id}", "$1")
            );
            for (webhook, _) in webhooks.iter() {
                rows.extend(self.rows(sql.clone(), [webhook.id.into(), since.into()]).await?);
            }
        }
        let mut waiting: HashMap<WebhookId, i64> = HashMap::new();
        // A page has fewer than a statement may get.
        let (source, values) =
            self.bulk_source(BulkValues::default().int_column("id", webhooks.iter().map(|(webhook, _)| webhook.id)));
        let sql = format!(
            "SELECT r.id, (SELECT COUNT(*) FROM outbox o WHERE o.webhook_id = r.id) AS n FROM {source} WHERE r.id IS NOT NULL"
        );
        for row in self.rows(sql, values).await? {
            waiting.insert(get(&row, "id")?, get(&row, "n")?);
        }
        let mut summaries = HashMap::new();
        for row in &rows {
            summaries.insert(get::<i64>(row, "id")?, row);
        }
        for (webhook, failing) in webhooks {
            let summary = &mut webhook.summary;
            summary.waiting = waiting.get(&webhook.id).copied().unwrap_or_default() as u64;
            let Some(row) = summaries.get(&webhook.id) else { continue };
            let succeeded = get::<i64>(row, "succeeded")? as u64;
            let failed = get::<i64>(row, "failed")? as u64;
            summary.deliveries = succeeded + failed;
            summary.success_rate = (summary.deliveries > 0).then(|| succeeded as f64 / summary.deliveries as f64);
            summary.p95_ms = get(row, "p95")?;
            summary.last_delivery_at = get::<Option<i64>>(row, "last_at")?.map(time);
            summary.last_status = get::<Option<String>>(row, "last_status")?.and_then(|s| DeliveryStatus::parse(&s));
            summary.health = match (summary.success_rate, summary.last_status) {
                _ if *failing => WebhookHealth::Failing,
                (Some(rate), _) if rate < 0.5 => WebhookHealth::Failing,
                (Some(rate), _) if rate < 0.99 => WebhookHealth::Degraded,
                (_, Some(DeliveryStatus::Retrying)) => WebhookHealth::Degraded,
                (Some(_), _) => WebhookHealth::Healthy,
                _ => WebhookHealth::Unknown,
            };
        }
        Ok(())
    }

    /// One webhook.
    ///
    /// # Errors
    /// 403 for others than administrators, 404.
    pub async fn get_webhook(&self, actor: &Actor, id: WebhookId) -> Result<Webhook, Problem> {
        authorize(actor, Action::ReadWebhooks)?;
        let row = self.webhook_row(id).await?;
        let now = self.now();
        let mut one = [webhook(&row, now)?];
        self.summarise(&mut one, now).await?;
        let [(webhook, _)] = one;
        Ok(webhook)
    }

    async fn webhook_row(&self, id: WebhookId) -> Result<QueryResult, Problem> {
        let rows = self.rows("SELECT * FROM webhooks WHERE id = $1 AND deleted_at IS NULL", [id.into()]).await?;
        rows.into_iter().next().ok_or_else(|| Problem::not_found("webhook"))
    }

    /// Changes settings.
    ///
    /// # Errors
    /// 403 for others than administrators, 404, 422 naming every field at fault.
    pub async fn patch_webhook(&self, actor: &Actor, id: WebhookId, patch: WebhookPatch) -> Result<Webhook, Problem> {
        authorize(actor, Action::WriteWebhooks)?;
        // A pause, a rotation or another change may come in between: then the patch is laid on what they left.
        while !self.try_patch(id, patch.clone()).await? {}
        self.webhook_changed(id, false);
        self.get_webhook(actor, id).await
    }

    /// Lays a patch on the row as it is; false, and nothing changed, when the row changed meanwhile.
    async fn try_patch(&self, id: WebhookId, patch: WebhookPatch) -> Result<bool, Problem> {
        let row = self.webhook_row(id).await?;
        let (before, _) = webhook(&row, self.now())?;
        let kept: Option<String> = get(&row, "auth_secret")?;
        // A stored secret stays only while the method does: an API key is no client secret.
        let same_method = |auth: &AuthInput| {
            std::mem::discriminant(&auth.redacted()) == std::mem::discriminant(&before.auth) && kept.is_some()
        };
        let unchanged = || match &before.auth {
            AuthView::None => AuthInput::None,
            AuthView::ApiKey { header } => AuthInput::ApiKey { header: header.clone(), key: String::new() },
            AuthView::Oauth2 { token_url, client_id, scope, audience } => AuthInput::Oauth2 {
                token_url: token_url.clone(),
                client_id: client_id.clone(),
                client_secret: String::new(),
                scope: scope.clone(),
                audience: audience.clone(),
            },
        };
        let auth = patch.auth.clone().unwrap_or_else(unchanged);
        let input = WebhookInput {
            name: patch.name.unwrap_or(before.name),
            endpoint_url: patch.endpoint_url.unwrap_or(before.endpoint_url),
            resource_type: patch.resource_type.unwrap_or(before.resource_type),
            events: patch.events.unwrap_or(before.events),
            auth,
            delivery_paths: Some(patch.delivery_paths.unwrap_or(before.delivery_paths)),
            secret: None,
            headers: patch.headers.unwrap_or(before.headers),
            retry: Some(patch.retry.unwrap_or(before.retry)),
            enabled: None,
            max_in_flight: Some(patch.max_in_flight.unwrap_or(before.max_in_flight)),
            rate_limit: patch.rate_limit.unwrap_or(before.rate_limit),
            ed25519: patch.ed25519,
            provisions: Some(patch.provisions.unwrap_or(before.provisions)),
        };
        let keeps = auth_secret(&input.auth) == Some("") && same_method(&input.auth);
        self.check_webhook(&input, !keeps).await?;
        let sealed = if keeps { kept } else { self.seal_auth(&input.auth)? };
        let state = match (patch.enabled, before.state) {
            (Some(true), _) => WebhookState::Enabled,
            (Some(false), WebhookState::Enabled) => WebhookState::Paused,
            (_, state) => state,
        };
        let (signing_key, public_key) = match patch.ed25519 {
            Some(true) if before.public_key.is_none() => self.new_signing_key()?,
            Some(false) => (None, None),
            _ => (get(&row, "signing_key")?, before.public_key),
        };
        let mut events = input.events;
        events.sort_unstable();
        events.dedup();
        let values: Vec<Value> = vec![
            input.name.trim().into(),
            input.endpoint_url.into(),
            input.resource_type.into(),
            to_json(&events)?.into(),
            to_json(&input.auth.redacted())?.into(),
            sealed.into(),
            to_json(&input.delivery_paths.unwrap_or_default())?.into(),
            to_json(&input.headers)?.into(),
            to_json(&input.retry.unwrap_or_default())?.into(),
            (input.max_in_flight.unwrap_or(DEFAULT_IN_FLIGHT) as i32).into(),
            input.rate_limit.map(|rate| rate as i32).into(),
            state.as_str().into(),
            self.now().timestamp_millis().into(),
            id.into(),
            signing_key.into(),
            public_key.into(),
            get::<i64>(&row, "revision")?.into(),
            input.provisions.unwrap_or(true).into(),
        ];
        let sql = "UPDATE webhooks SET name = $1, endpoint_url = $2, resource_type = $3, events = $4, auth = $5, auth_secret = $6, delivery_paths = $7, headers = $8, retry = $9, max_in_flight = $10, rate_limit = $11, state = $12, revision = revision + 1, updated_at = $13, signing_key = $15, public_key = $16, provisions = $18 WHERE id = $14 AND revision = $17";
        let done = self.inner.context.db.write.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        Ok(done.rows_affected() == 1)
    }

    /// Deletes; its unfinished deliveries are cancelled.
    ///
    /// # Errors
    /// 403 for others than administrators, 404.
    pub async fn delete_webhook(&self, actor: &Actor, id: WebhookId) -> Result<(), Problem> {
        authorize(actor, Action::WriteWebhooks)?;
        self.webhook_row(id).await?;
        let now = self.now().timestamp_millis();
        let tx = self.write_tx().await?;
        let sql = "UPDATE webhooks SET deleted_at = $1, state = 'paused', revision = revision + 1, secret = '', auth_secret = NULL, previous_secret = NULL, signing_key = NULL, public_key = NULL, previous_signing_key = NULL WHERE id = $2 AND deleted_at IS NULL";
        tx.execute_raw(self.sql(sql, [now.into(), id.into()])).await.map_err(db_problem)?;
        // A request under way runs to its end.
        let changes = self.cancel_queued(&tx, id, WEBHOOK_DELETED).await?;
        tx.commit().await.map_err(db_problem)?;
        self.announce(changes);
        self.announce_cancelled(id, now).await;
        self.webhook_changed(id, true);
        Ok(())
    }

    /// Cancels a webhook's queued deliveries. Returns the changes to announce after the commit.
    async fn cancel_queued(
        &self,
        tx: &sea_orm::DatabaseTransaction,
        id: WebhookId,
        reason: &str,
    ) -> crate::Result<Vec<Change>> {
        let context = &self.inner.context;
        let changed = provisioning::cancel_queued(context, tx, Queued::OfWebhook(id), reason).await?;
        changes_of(&context.db, &self.inner.feed, tx, &changed).await
    }

    /// Pauses: events are kept.
    ///
    /// # Errors
    /// 403 for others than administrators, 404.
    pub async fn pause_webhook(&self, actor: &Actor, id: WebhookId) -> Result<Webhook, Problem> {
        authorize(actor, Action::WriteWebhooks)?;
        self.webhook_row(id).await?;
        let sql = "UPDATE webhooks SET state = 'paused', revision = revision + 1, updated_at = $1 WHERE id = $2 AND state = 'enabled'";
        let values = [self.now().timestamp_millis().into(), id.into()];
        self.inner.context.db.write.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        self.webhook_changed(id, false);
        self.get_webhook(actor, id).await
    }

    /// Resumes, delivering or dropping what waited.
    ///
    /// # Errors
    /// 403 for others than administrators, 404.
    pub async fn resume_webhook(&self, actor: &Actor, id: WebhookId, input: ResumeInput) -> Result<Webhook, Problem> {
        authorize(actor, Action::WriteWebhooks)?;
        self.webhook_row(id).await?;
        let now = self.now().timestamp_millis();
        let tx = self.write_tx().await?;
        let sql = "UPDATE webhooks SET state = 'enabled', failing_since = NULL, revision = revision + 1, updated_at = $1 WHERE id = $2 AND deleted_at IS NULL";
        tx.execute_raw(self.sql(sql, [now.into(), id.into()])).await.map_err(db_problem)?;
        let mut changes = Vec::new();
        if input.drop_pending {
            let reason = "The service was not told: an administrator dropped what waited for it.";
            changes = self.cancel_queued(&tx, id, reason).await?;
        }
        tx.commit().await.map_err(db_problem)?;
        if input.drop_pending {
            self.announce(changes);
            self.announce_cancelled(id, now).await;
        }
        self.webhook_changed(id, false);
        self.get_webhook(actor, id).await
    }

    /// A new secret, and a new Ed25519 key where the webhook has one; the old ones sign too during the overlap.
    ///
    /// # Errors
    /// 403 for others than administrators, 404, 422 for the overlap or a pasted secret.
    pub async fn rotate_secret(
        &self,
        actor: &Actor,
        id: WebhookId,
        input: RotateInput,
    ) -> Result<WebhookWithSecret, Problem> {
        authorize(actor, Action::WriteWebhooks)?;
        let overlap = input.overlap_hours.unwrap_or(24);
        if overlap > 168 {
            return Err(Problem::field("overlap_hours", "Choose 0 to 168 hours."));
        }
        let secret = match &input.secret {
            Some(text) => Secret::parse(text).map_err(|message| Problem::field("secret", message))?,
            None => Secret::generate(crate::secrets::random()),
        };
        self.webhook_row(id).await?;
        let (signing_key, public_key) = self.new_signing_key()?;
        let now = self.now();
        let until = (overlap > 0).then(|| (now + Duration::hours(i64::from(overlap))).timestamp_millis());
        let sql = "UPDATE webhooks SET previous_secret = CASE WHEN CAST($1 AS BIGINT) IS NULL THEN NULL ELSE secret END, previous_signing_key = CASE WHEN CAST($1 AS BIGINT) IS NULL THEN NULL ELSE signing_key END, previous_secret_until = $1, secret = $2, secret_hint = $3, revision = revision + 1, updated_at = $4, signing_key = CASE WHEN signing_key IS NULL THEN NULL ELSE $6 END, public_key = CASE WHEN signing_key IS NULL THEN NULL ELSE $7 END WHERE id = $5";
        let values: Vec<Value> = vec![
            until.into(),
            self.inner.cipher.encrypt("webhook-secret", secret.expose())?.into(),
            hint(&secret).into(),
            now.timestamp_millis().into(),
            id.into(),
            signing_key.into(),
            public_key.into(),
        ];
        self.inner.context.db.write.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        self.webhook_changed(id, false);
        Ok(WebhookWithSecret { webhook: self.get_webhook(actor, id).await?, secret: secret.expose().to_owned() })
    }

    /// Sends a test event at once, outside the queue, and records it in the log.
    ///
    /// # Errors
    /// 403 for others than administrators, 404. A receiver's failure is no error: it is the answer.
    pub async fn test_webhook(&self, actor: &Actor, id: WebhookId, input: TestInput) -> Result<Attempt, Problem> {
        authorize(actor, Action::WriteWebhooks)?;
        let row = self.webhook_row(id).await?;
        let model = <crate::db::entity::webhooks::Model as sea_orm::FromQueryResult>::from_query_result(&row, "");
        let config = crate::outbox::WebhookConfig::decrypt(model.map_err(db_problem)?, &self.inner.cipher)?;
        let event_type = input.event_type.or(config.events.first().copied()).unwrap_or(EventType::ReservationCreated);
        let now = self.now();
        let body = self.test_body(actor, &config.resource_type, event_type, now).await?.for_webhook(id);
        let body_text = to_json(&body)?;
        let delivery_id = DeliveryId::from_ulid(self.new_ulid());
        let job = delivery::DeliveryRequest {
            target: config.target(now),
            url: config.url(event_type),
            delivery_id: delivery_id.clone(),
            event_id: body.event_id().clone(),
            event_type,
            attempt: 1,
            test: true,
            body: bytes::Bytes::from(body_text.clone().into_bytes()),
        };
        let attempted = self.inner.sender.attempt(&job, now).await;
        let mut attempt = attempted.to_attempt(delivery_id.clone()).ok_or_else(Problem::internal)?;
        let ended = self.now();
        let status =
            if attempt.outcome == Outcome::Succeeded { DeliveryStatus::Succeeded } else { DeliveryStatus::Failed };
        let problem = (status == DeliveryStatus::Failed).then(|| attempt.diagnosis.message.clone());
        let reservation_id = matches!(body, EventBody::Reservation(_)).then(|| body.ordering_key().to_owned());
        let tx = self.write_tx().await?;
        let values: Vec<Value> = vec![
            delivery_id.as_str().into(),
            body.event_id().as_str().into(),
            event_type.as_str().into(),
            id.into(),
            body.ordering_key().into(),
            reservation_id.clone().into(),
            body_text.as_str().into(),
            status.as_str().into(),
            true.into(),
            attempt.status_code.map(i32::from).into(),
            attempt.duration_ms.into(),
            problem.clone().into(),
            now.timestamp_millis().into(),
            ended.timestamp_millis().into(),
            (status == DeliveryStatus::Failed).then_some(ended.timestamp_millis()).into(),
        ];
        let sql = "INSERT INTO deliveries (id, event_id, event_type, webhook_id, ordering_key, reservation_id, body, status, test, attempts, max_attempts, status_code, duration_ms, problem, created_at, updated_at, ended_at, failed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1, 1, $10, $11, $12, $13, $14, $14, $15) RETURNING seq";
        let row = tx.query_one_raw(self.sql(sql, values)).await.map_err(db_problem)?.ok_or_else(Problem::internal)?;
        let record = attempted.transcript.clone();
        let row = AttemptRow::new(get(&row, "seq")?, id, "test", &attempted, record);
        insert_attempts(&self.inner.context.db, &tx, vec![row], OnConflict::Keep).await?;
        tx.commit().await.map_err(db_problem)?;
        attempt.request.body = body_text;
        self.announce(vec![Change::Delivery(Box::new(DeliverySummary {
            id: delivery_id,
            event_id: body.event_id().clone(),
            event_type,
            webhook_id: id,
            webhook_name: config.name,
            reservation_id,
            status,
            test: true,
            attempts: 1,
            max_attempts: 1,
            status_code: attempt.status_code,
            duration_ms: Some(attempt.duration_ms),
            problem,
            next_attempt_at: None,
            created_at: now,
            updated_at: ended,
            redelivery_of: None,
        }))]);
        Ok(attempt)
    }

    /// A valid body that says it is a test (docs/contract.md §1 "Test events").
    async fn test_body(
        &self,
        actor: &Actor,
        slug: &Option<String>,
        event_type: EventType,
        now: DateTime<Utc>,
    ) -> Result<EventBody, Problem> {
        let sql = "SELECT t.slug, t.config_schema, (SELECT MIN(r.id) FROM resources r WHERE r.resource_type = t.slug) AS resource_id, (SELECT r.name FROM resources r WHERE r.resource_type = t.slug ORDER BY r.id LIMIT 1) AS resource_name FROM resource_types t WHERE t.slug = $1 OR $1 = '' ORDER BY t.slug LIMIT 1";
        let rows = self.rows(sql, [slug.as_deref().unwrap_or_default().into()]).await?;
        let (slug, schema, resource_id, resource_name) = match rows.first() {
            Some(row) => {
                let schema: serde_json::Value = json(&get::<String>(row, "config_schema")?)?;
                (
                    get::<String>(row, "slug")?,
                    ConfigSchema::parse(&schema).unwrap_or_default(),
                    get::<Option<i64>>(row, "resource_id")?,
                    get::<Option<String>>(row, "resource_name")?,
                )
            }
            None => ("sample".to_owned(), ConfigSchema::default(), None, None),
        };
        let user = self.accounts().user_cached(&actor.username).await?;
        let ulid = self.new_ulid();
        let resource_id = resource_id.unwrap_or(1);
        let resource_name = resource_name.unwrap_or_else(|| "Sample resource".to_owned());
        if event_type == EventType::AccessRequested {
            return Ok(EventBody::AccessRequest(Box::new(AccessRequestBody {
                event_type,
                event_id: EventId::from_ulid(self.new_ulid()),
                timestamp: now,
                webhook_id: 0,
                test: true,
                access_request_id: AccessRequestId(format!("test-{}", ulid.to_string().to_ascii_lowercase())),
                user_id: user.username,
                user_email: user.email,
                resource_type: slug,
                resource_id,
                resource_name,
                reason: "This is a test event from Berth.".into(),
                requested_at: now,
                user_ssh_key: SAMPLE_KEY.into(),
            })));
        }
        let status = match event_type {
            EventType::ReservationCancelled => ReservationStatus::Cancelled,
            EventType::ReservationExpired => ReservationStatus::Expired,
            _ => ReservationStatus::Active,
        };
        let start = if event_type == EventType::ReservationExpired {
            now - Duration::hours(8)
        } else {
            now + Duration::hours(1)
        };
        let reservation = Reservation {
            id: ReservationId(format!("test-{}", ulid.to_string().to_ascii_lowercase())),
            user_id: user.username.clone(),
            resource_id,
            resource_name,
            resource_type: slug,
            title: "Test event from Berth".into(),
            start_time: start,
            end_time: start + Duration::hours(8),
            user_ssh_key: SAMPLE_KEY.into(),
            additional_config: schema.sample(),
            status,
            cancelled_by: None,
            cancel_reason: String::new(),
            provisioning: Provisioning::waiting(now),
            created_at: now,
            updated_at: now,
        };
        let mut body = self.reservation_event(event_type, &reservation, &user.email, now);
        body.test = true;
        match event_type {
            EventType::ReservationUpdated => {
                let mut previous = serde_json::Map::new();
                previous.insert("title".into(), "Test event from Berth, before the change".into());
                body.previous = Some(previous);
            }
            EventType::ReservationCancelled => {
                body.cancelled_by = Some(user.username);
                body.reason = Some("This is a test event from Berth.".into());
            }
            _ => {}
        }
        Ok(EventBody::Reservation(Box::new(body)))
    }

    /// Counts, error rate, percentiles and series. Counts are exact; percentiles are of the latest 20,000 attempts.
    ///
    /// # Errors
    /// 403 for others than administrators, 404.
    pub async fn webhook_stats(
        &self,
        actor: &Actor,
        id: WebhookId,
        window: StatsWindow,
    ) -> Result<WebhookStats, Problem> {
        authorize(actor, Action::ReadWebhooks)?;
        self.webhook_row(id).await?;
        let now = self.now();
        let step = window.step() * 1_000;
        let points = (window.seconds() / window.step()) as usize;
        // Whole steps, the present one last.
        let end = (now.timestamp_millis() / step + 1) * step;
        let begin = end - points as i64 * step;
        let mut stats = WebhookStats {
            window,
            succeeded: 0,
            failed: 0,
            attempts: 0,
            error_rate: None,
            p50_ms: None,
            p95_ms: None,
            p99_ms: None,
            series: (0..points as i64)
                .map(|n| StatsPoint { at: time(begin + n * step), succeeded: 0, failed: 0, p95_ms: None })
                .collect(),
        };
        let sql = "SELECT (started_at - $2) / $3 AS point, delivery_status, COUNT(*) AS n FROM attempts WHERE webhook_id = $1 AND started_at >= $2 AND delivery_status <> 'test' GROUP BY 1, 2";
        for row in self.rows(sql, [id.into(), begin.into(), step.into()]).await? {
            let n = get::<i64>(&row, "n")? as u64;
            stats.attempts += n;
            let Some(point) = stats.series.get_mut(get::<i64>(&row, "point")? as usize) else { continue };
            match get::<String>(&row, "delivery_status")?.as_str() {
                "succeeded" => {
                    stats.succeeded += n;
                    point.succeeded += n;
                }
                "failed" => {
                    stats.failed += n;
                    point.failed += n;
                }
                _ => {}
            }
        }
        let sql = "SELECT started_at, duration_ms FROM attempts WHERE webhook_id = $1 AND started_at >= $2 AND delivery_status <> 'test' ORDER BY started_at DESC LIMIT 20000";
        let mut all = Vec::new();
        let mut by_point: HashMap<usize, Vec<f64>> = HashMap::new();
        for row in self.rows(sql, [id.into(), begin.into()]).await? {
            let duration: f64 = get(&row, "duration_ms")?;
            all.push(duration);
            by_point.entry(((get::<i64>(&row, "started_at")? - begin) / step) as usize).or_default().push(duration);
        }
        all.sort_by(f64::total_cmp);
        stats.p50_ms = quantile(&all, 0.50);
        stats.p95_ms = quantile(&all, 0.95);
        stats.p99_ms = quantile(&all, 0.99);
        for (point, mut durations) in by_point {
            durations.sort_by(f64::total_cmp);
            if let Some(point) = stats.series.get_mut(point) {
                point.p95_ms = quantile(&durations, 0.95);
            }
        }
        let ended = stats.succeeded + stats.failed;
        stats.error_rate = (ended > 0).then(|| stats.failed as f64 / ended as f64);
        Ok(stats)
    }
}
