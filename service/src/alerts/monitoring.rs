//! The monitoring of one webhook: settings, results, rules and mutes.

use super::rules::{StoredRules, changes as changed_rules, replace};
use super::{Alerts, ensure_monitor, millis};
use crate::Result;
use crate::audit_trail::{AuditedTransaction, Record, Target};
use crate::db::codec::time;
use crate::db::column::Text;
use crate::db::entity::{alert_states, outbox, webhook_monitors, webhooks};
use crate::outbox::WebhookConfig;
use crate::webhooks::change_of;
use chrono::Duration;
use domain::Problem;
use domain::alert::{AlertKind, AlertStatus, MuteInput};
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::authorization::{Action, Actor, authorize};
use domain::change::Change;
use domain::id::WebhookId;
use domain::webhook::{
    AuthView, AutomaticPause, MonitoringPatch, RecoverInput, ResumeInput, TokenStatus, Webhook, WebhookMonitoring,
    WebhookRule, WebhookState,
};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::OnConflict;
use sea_orm::{EntityTrait as _, PaginatorTrait as _, QueryFilter as _};
use std::collections::HashMap;

/// Longest mute.
const MAX_MUTE: Duration = Duration::days(30);

impl Alerts {
    /// The monitoring of a webhook, with the present values of its rules.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator, an auditor or an owner; 404, also for a webhook of another owner.
    #[tracing::instrument(skip_all, fields(webhook_id = id), err(level = "debug"))]
    pub async fn monitoring(&self, actor: &Actor, id: WebhookId) -> Result<WebhookMonitoring> {
        authorize(actor, Action::ReadOwned)?;
        let webhook = self.find_webhook(id).await?;
        authorize(actor, Action::ReadWebhook { resource_type: webhook.resource_type.as_deref() })?;
        self.view(&webhook).await
    }

    async fn view(&self, webhook: &webhooks::Model) -> Result<WebhookMonitoring> {
        let (db, now) = (&self.context.db.read, self.context.now());
        let monitor = self.monitor(webhook.id).await?;
        let monitors = HashMap::from([(webhook.id, monitor.clone())]);
        let measured = self.measure(db, &[webhook], &monitors, now).await?.remove(&webhook.id).unwrap_or_default();
        let stored = StoredRules::read(db).await?;
        let states =
            alert_states::Entity::find().filter(alert_states::COLUMN.webhook_id.eq(webhook.id)).all(db).await?;
        let rule = |kind: &AlertKind| {
            let (rule, own) = stored.effective(webhook.id, *kind);
            let state = states.iter().find(|state| state.kind == kind.as_str());
            WebhookRule {
                rule,
                own,
                status: state.map(|state| state.status.0).unwrap_or_default(),
                value: measured.value(*kind),
                since: state.map(|state| time(state.since)),
                muted_until: state.and_then(|state| state.muted_until).map(time).filter(|until| *until > now),
            }
        };
        let is_oauth = matches!(webhook.auth.0, AuthView::Oauth2 { .. });
        Ok(WebhookMonitoring {
            settings: monitor.settings(),
            health: monitor.health(),
            certificate: monitor.certificate().filter(|_| webhook.endpoint_url.starts_with("https:")),
            token: is_oauth.then(|| monitor.token()),
            pause: self.pause_of(webhook, &monitor).await?,
            rules: AlertKind::ALL.iter().map(rule).collect(),
        })
    }

    async fn pause_of(
        &self,
        webhook: &webhooks::Model,
        monitor: &webhook_monitors::Model,
    ) -> Result<Option<AutomaticPause>> {
        let Some(paused_at) = monitor.paused_at.filter(|_| webhook.state.0 == WebhookState::Paused) else {
            return Ok(None);
        };
        let failing_since = time(monitor.pause_failing_since.unwrap_or(paused_at));
        let queued = outbox::Entity::find()
            .filter(outbox::COLUMN.webhook_id.eq(webhook.id))
            .count(&self.context.db.read)
            .await?;
        Ok(Some(AutomaticPause {
            paused_at: time(paused_at),
            failing_since,
            recovered_at: monitor.recovered_at.map(time),
            queued,
            failed: self.deliveries.count_failed(webhook.id, failing_since).await?,
        }))
    }

    /// A webhook that the actor may change.
    async fn writable(&self, actor: &Actor, id: WebhookId) -> Result<webhooks::Model> {
        authorize(actor, Action::WriteOwned)?;
        let webhook = self.find_webhook(id).await?;
        authorize(actor, Action::WriteWebhook { resource_type: webhook.resource_type.as_deref() })?;
        Ok(webhook)
    }

    /// Commits a change of the monitoring of a webhook, and announces it.
    async fn commit(
        &self,
        tx: AuditedTransaction,
        actor: &Actor,
        action: AuditAction,
        webhook: &webhooks::Model,
        changes: Changes,
    ) -> Result<()> {
        let target = Target::named(AuditTargetType::Webhook, webhook.id, &webhook.name);
        tx.commit(Record::new(actor, action, target).changes(changes)).await?;
        self.feed.publish(vec![Change::Webhook(change_of(webhook))]);
        Ok(())
    }

    /// Changes the health check, the automatic pause and the rules of a webhook.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator or an owner; 404, also for a webhook of another owner; 422 naming every
    /// invalid field.
    #[tracing::instrument(skip_all, fields(webhook_id = id), err(level = "debug"))]
    pub async fn set_monitoring(
        &self,
        actor: &Actor,
        id: WebhookId,
        patch: MonitoringPatch,
    ) -> Result<WebhookMonitoring> {
        let webhook = self.writable(actor, id).await?;
        let monitor = self.monitor(id).await?;
        let before = monitor.settings();
        let after = patch.apply(before.clone());
        after.check(&webhook.endpoint_url)?;
        patch.check_rules()?;
        let rules_before = StoredRules::read(&self.context.db.read).await?.own(id);
        let mut changes = Changes::between(&before, &after);
        let tx = self.context.begin_change().await?;
        ensure_monitor(&*tx, id).await?;
        let mut row = webhook_monitors::ActiveModel {
            health_path: Set(after.health_path.clone()),
            health_interval: Set(after.health_interval_seconds.into()),
            pause_after: Set(after.pause_after_minutes.map(i64::from)),
            resume_on_recovery: Set(after.resume_on_recovery),
            ..Default::default()
        };
        // A changed check starts at once, and results of another path are not kept.
        if before.health_path != after.health_path {
            row.next_check_at = Set(after.health_path.is_some().then(|| millis(self.context.now())));
            row.health_status = Set(Text(Default::default()));
            row.status_code = Set(None);
            row.duration_ms = Set(None);
            row.health_error = Set(None);
            row.checked_at = Set(None);
            row.health_since = Set(None);
            row.failed_checks = Set(0);
        }
        webhook_monitors::Entity::update_many()
            .set(row)
            .filter(webhook_monitors::COLUMN.webhook_id.eq(id))
            .exec(&tx)
            .await?;
        if let Some(rules) = &patch.rules {
            replace(&tx, id, rules).await?;
            changes = changes.and(changed_rules(&rules_before, rules));
        }
        self.commit(tx, actor, AuditAction::WebhookMonitoringUpdated, &webhook, changes).await?;
        self.health_wake.notify_one();
        self.view(&webhook).await
    }

    /// Runs the health check of a webhook now.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator or an owner; 404, also for a webhook of another owner; 409 without a health
    /// check.
    #[tracing::instrument(skip_all, fields(webhook_id = id), err(level = "debug"))]
    pub async fn check_health(&self, actor: &Actor, id: WebhookId) -> Result<WebhookMonitoring> {
        let webhook = self.writable(actor, id).await?;
        let monitor = self.monitor(id).await?;
        if monitor.health_path.is_none() {
            return Err(Problem::conflict("This webhook has no health check. Set its path first.").into());
        }
        self.run_check(&webhook, &monitor).await?;
        let health = self.monitor(id).await?.health();
        let changes = Changes::none().field("status", (), health.status).field("status_code", (), health.status_code);
        let tx = self.context.begin_change().await?;
        self.commit(tx, actor, AuditAction::WebhookHealthChecked, &webhook, changes).await?;
        self.view(&webhook).await
    }

    /// Requests a new OAuth token for a webhook, and shows the result. A failure is no error.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator or an owner; 404, also for a webhook of another owner; 409 without OAuth.
    #[tracing::instrument(skip_all, fields(webhook_id = id), err(level = "debug"))]
    pub async fn fetch_token(&self, actor: &Actor, id: WebhookId) -> Result<TokenStatus> {
        let webhook = self.writable(actor, id).await?;
        let public_url = &self.context.settings.public_url;
        let now = self.context.now();
        let target = WebhookConfig::decrypt(webhook.clone(), &self.cipher, public_url)?.target(now);
        let Some(result) = self.sender.fetch_token(&target, now).await else {
            return Err(Problem::conflict("This webhook does not authenticate with OAuth 2.0.").into());
        };
        let status = self.sender.token_status(&target).unwrap_or_default();
        ensure_monitor(&self.context.db.write, id).await?;
        self.store_token(id, &status).await?;
        let changes = Changes::none().field("issued", (), result.is_ok());
        let tx = self.context.begin_change().await?;
        self.commit(tx, actor, AuditAction::WebhookTokenFetched, &webhook, changes).await?;
        Ok(status)
    }

    /// Stops the notices about a webhook until a time, or sends them again.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator or an owner; 404, also for a webhook of another owner; 422 for a time in the
    /// past or beyond 30 days.
    #[tracing::instrument(skip_all, fields(webhook_id = id), err(level = "debug"))]
    pub async fn mute(&self, actor: &Actor, id: WebhookId, input: MuteInput) -> Result<WebhookMonitoring> {
        let webhook = self.writable(actor, id).await?;
        let now = self.context.now();
        if input.until.is_some_and(|until| until <= now || until > now + MAX_MUTE) {
            return Err(Problem::field("until", "Choose a time within the next 30 days.").into());
        }
        let kinds = input.kind.as_ref().map_or(AlertKind::ALL, std::slice::from_ref);
        let row = |kind: &AlertKind| alert_states::ActiveModel {
            webhook_id: Set(id),
            kind: Set(kind.as_str().to_owned()),
            status: Set(Text(AlertStatus::Ok)),
            since: Set(millis(now)),
            alert_id: Set(None),
            muted_until: Set(input.until.map(millis)),
            revision: Set(1),
        };
        let conflict = OnConflict::columns([alert_states::Column::WebhookId, alert_states::Column::Kind])
            .update_column(alert_states::Column::MutedUntil)
            .to_owned();
        let tx = self.context.begin_change().await?;
        alert_states::Entity::insert_many(kinds.iter().map(row))
            .on_conflict(conflict)
            .exec_without_returning(&tx)
            .await?;
        let kind = input.kind.map_or("all", AlertKind::as_str);
        let changes = Changes::none().field("kind", (), kind).field("muted_until", (), input.until);
        self.commit(tx, actor, AuditAction::WebhookAlertsMuted, &webhook, changes).await?;
        self.view(&webhook).await
    }

    /// Resumes a webhook that Berth paused, and redelivers what failed since the start of the failure. Redelivery needs a
    /// recent confirmation.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator or an owner, and without the confirmation; 404, also for a webhook of another
    /// owner; 409 if Berth has not paused it.
    #[tracing::instrument(skip_all, fields(webhook_id = id), err(level = "debug"))]
    pub async fn recover(&self, actor: &Actor, id: WebhookId, input: RecoverInput) -> Result<Webhook> {
        let webhook = self.writable(actor, id).await?;
        let monitor = self.monitor(id).await?;
        let Some(pause) = self.pause_of(&webhook, &monitor).await? else {
            return Err(Problem::conflict("Berth has not paused this webhook. Resume it instead.").into());
        };
        // First, so that an interrupted recovery is repeated: what was redelivered is skipped.
        if input.redeliver_failed.unwrap_or(true) && pause.failed > 0 {
            self.context.require_confirmation(actor).await?;
            self.deliveries.redeliver_failed(actor.into(), id, pause.failing_since).await?;
        }
        self.webhooks.resume(actor, id, ResumeInput::default()).await
    }
}
