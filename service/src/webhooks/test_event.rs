//! Test events (docs/contract.md §1, "Test events"): sent at once, outside the queue, and recorded in the log.

use super::{Webhooks, only_listener_sends, write_action};
use crate::Result;
use crate::audit_trail::{Record, Target};
use crate::db::column::Text;
use crate::db::entity::attempts::{self, StatusAfter};
use crate::db::entity::{deliveries, resource_types, resources, users};
use crate::outbox::WebhookConfig;
use chrono::{DateTime, Utc};
use delivery::{AttemptOutcome, DeliveryRequest};
use domain::Problem;
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::authorization::{Action, Actor, authorize};
use domain::change::Change;
use domain::delivery::{Attempt, DeliveryStatus, DeliverySummary, Outcome};
use domain::event::{EventBody, EventType, ResourceDetails};
use domain::id::{DeliveryId, EventId, WebhookId};
use domain::payload::PayloadFormat;
use domain::resource::ConfigSchema;
use domain::sample::{Sample, sample_subject};
use domain::test_payload::with_payload;
use domain::webhook::TestInput;
use sea_orm::ActiveValue::Set;
use sea_orm::{EntityTrait as _, QueryFilter as _, QueryOrder as _};

/// A test event that was sent.
struct SentTest<'a> {
    summary: &'a DeliverySummary,
    ordering_key: &'a str,
    format: PayloadFormat,
    body: &'a str,
}

impl Webhooks {
    /// Sends a test event, records it in the log and returns the attempt. A failed attempt is no error.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator or an owner; 404, also for a webhook of another owner; 422 naming each field
    /// of the payload that the schema of the event does not allow.
    #[tracing::instrument(skip_all, fields(webhook_id = id), err(level = "debug"))]
    pub async fn send_test(&self, actor: &Actor, id: WebhookId, input: TestInput) -> Result<Attempt> {
        authorize(actor, Action::WriteOwned)?;
        let webhook = self.find(id).await?;
        authorize(actor, write_action(&webhook))?;
        let config = WebhookConfig::decrypt(webhook, &self.cipher, &self.context.settings.public_url)?;
        if config.is_local {
            return Err(only_listener_sends().into());
        }
        let event_type = input
            .event_type
            .or(config.events.iter().copied().find(|event| config.payload_format.sends(*event)))
            .unwrap_or(EventType::ReservationCreated);
        if !config.payload_format.sends(event_type) {
            let message = "The payload format of this webhook does not have this event.";
            return Err(Problem::field("event_type", message).into());
        }
        let now = self.context.now();
        let urls = &self.context.status_urls;
        let event = self.test_event(actor, config.resource_type.as_deref(), event_type, now).await?;
        let event = match &input.payload {
            Some(payload) => with_payload(event, payload)?,
            None => event,
        };
        let event = event.for_webhook(id, |id, webhook| urls.url(id, webhook));
        let format = config.payload_format;
        let body = format.body(&event, &self.context.settings.public_url).map_err(|_| Problem::internal())?;
        let request = DeliveryRequest {
            target: config.target(now),
            url: config.url(event_type, config.payload_format),
            delivery_id: DeliveryId::from_ulid(self.context.new_ulid()),
            event_id: event.event_id().clone(),
            event_type,
            attempt: 1,
            test: true,
            format,
            body: bytes::Bytes::from(body.clone().into_bytes()),
        };
        let outcome = self.sender.attempt(&request, now).await;
        let mut attempt = outcome.to_attempt(request.delivery_id.clone()).ok_or_else(Problem::internal)?;
        let succeeded = attempt.outcome == Outcome::Succeeded;
        let summary = DeliverySummary {
            id: request.delivery_id,
            event_id: request.event_id,
            event_type,
            webhook_id: id,
            webhook_name: config.name.clone(),
            resource_type: config.resource_type.clone(),
            reservation_id: matches!(event, EventBody::Reservation(_)).then(|| event.ordering_key().to_owned()),
            status: if succeeded { DeliveryStatus::Succeeded } else { DeliveryStatus::Failed },
            test: true,
            attempts: 1,
            max_attempts: 1,
            status_code: attempt.status_code,
            duration_ms: Some(attempt.duration_ms),
            problem: (!succeeded).then(|| attempt.diagnosis.message.clone()),
            next_attempt_at: None,
            created_at: now,
            updated_at: self.context.now(),
            redelivery_of: None,
        };
        let sent = SentTest { summary: &summary, ordering_key: event.ordering_key(), format, body: &body };
        self.record_test(actor, &sent, outcome).await?;
        attempt.insert_body(&body);
        if config.provisions {
            attempt = attempt.with_effect(event_type);
        }
        self.feed.publish(vec![Change::Delivery(Box::new(summary))]);
        Ok(attempt)
    }

    /// The body of a test event in the form `berth`, for a user who edits it.
    ///
    /// # Errors
    /// As [`Self::send_test`].
    #[tracing::instrument(skip_all, fields(webhook_id = id), err(level = "debug"))]
    pub async fn sample_payload(&self, actor: &Actor, id: WebhookId, event_type: EventType) -> Result<EventBody> {
        authorize(actor, Action::WriteOwned)?;
        let webhook = self.find(id).await?;
        authorize(actor, write_action(&webhook))?;
        let urls = &self.context.status_urls;
        let event = self.test_event(actor, webhook.resource_type.as_deref(), event_type, self.context.now()).await?;
        Ok(event.for_webhook(id, |id, webhook| urls.url(id, webhook)))
    }

    /// Writes a test event and its attempt into the log.
    async fn record_test(&self, actor: &Actor, sent: &SentTest<'_>, outcome: AttemptOutcome) -> Result<()> {
        let SentTest { summary, ordering_key, format, body } = *sent;
        let ended_at = summary.updated_at.timestamp_millis();
        let delivery = deliveries::ActiveModel {
            id: Set(summary.id.to_string()),
            event_id: Set(summary.event_id.to_string()),
            event_type: Set(Text(summary.event_type)),
            webhook_id: Set(summary.webhook_id),
            ordering_key: Set(ordering_key.to_owned()),
            reservation_id: Set(summary.reservation_id.clone()),
            body: Set(body.to_owned()),
            payload_format: Set((format != PayloadFormat::default()).then_some(Text(format))),
            status: Set(Text(summary.status)),
            test: Set(true),
            attempts: Set(1),
            max_attempts: Set(1),
            status_code: Set(summary.status_code.map(i32::from)),
            duration_ms: Set(summary.duration_ms),
            problem: Set(summary.problem.clone()),
            created_at: Set(summary.created_at.timestamp_millis()),
            updated_at: Set(ended_at),
            ended_at: Set(Some(ended_at)),
            failed_at: Set((summary.status == DeliveryStatus::Failed).then_some(ended_at)),
            ..Default::default()
        };
        let tx = self.context.begin_change().await?;
        let seq = deliveries::Entity::insert(delivery).exec(&tx).await?.last_insert_id;
        let attempt = attempts::ActiveModel {
            delivery_seq: Set(seq),
            attempt: Set(1),
            webhook_id: Set(summary.webhook_id),
            started_at: Set(outcome.started_at.timestamp_millis()),
            outcome: Set(Text(outcome.outcome)),
            status_code: Set(outcome.status_code.map(i32::from)),
            duration_ms: Set(outcome.timings.total_ms),
            delivery_status: Set(Text(StatusAfter::Test)),
            record: Set(outcome.transcript.into_text()),
        };
        attempts::Entity::insert(attempt).exec_without_returning(&tx).await?;
        let changes = Changes::none()
            .field("event_type", (), summary.event_type)
            .field("delivery", (), summary.id.as_str())
            .field("status", (), summary.status);
        let target = Target::named(AuditTargetType::Webhook, summary.webhook_id, &summary.webhook_name);
        tx.commit(Record::new(actor, AuditAction::WebhookTested, target).changes(changes)).await?;
        Ok(())
    }

    /// Creates a valid event that is marked as a test. `type_slug` is the webhook's only resource type, if any.
    async fn test_event(
        &self,
        actor: &Actor,
        type_slug: Option<&str>,
        event_type: EventType,
        now: DateTime<Utc>,
    ) -> Result<EventBody> {
        let event_id = EventId::from_ulid(self.context.new_ulid());
        let subject = sample_subject(self.context.new_ulid());
        Ok(self.sample(actor, type_slug).await?.event(event_type, event_id, subject, now))
    }

    /// The sample of events to a webhook: the actor, and a resource that the webhook serves.
    pub(super) async fn sample(&self, actor: &Actor, type_slug: Option<&str>) -> Result<Sample> {
        let user = users::Entity::find_by_id(actor.username.as_str()).one(&self.context.db.read).await?;
        let user = user.ok_or_else(|| Problem::not_found("user"))?;
        let sample = self.sample_resource(type_slug).await?;
        Ok(Sample { user_id: user.username, user_email: user.email, ..sample })
    }

    /// The first resource of a type, or of the first type, with a sample configuration; a made-up one if none exists.
    async fn sample_resource(&self, type_slug: Option<&str>) -> Result<Sample> {
        let db = &self.context.db.read;
        let mut types = resource_types::Entity::find().order_by_asc(resource_types::COLUMN.slug);
        if let Some(slug) = type_slug {
            types = types.filter(resource_types::COLUMN.slug.eq(slug));
        }
        let Some(resource_type) = types.one(db).await? else {
            let config = ConfigSchema::default().sample();
            return Ok(Sample { resource_type: "sample".into(), config, ..Sample::default() });
        };
        let resource = resources::Entity::find()
            .filter(resources::COLUMN.resource_type.eq(resource_type.slug.as_str()))
            .order_by_asc(resources::COLUMN.id)
            .one(db)
            .await?;
        let schema = ConfigSchema::parse(&resource_type.config_schema.0).unwrap_or_default();
        let details = ResourceDetails { type_name: resource_type.name, ..ResourceDetails::default() };
        let sample =
            Sample { resource_type: resource_type.slug, config: schema.sample(), details, ..Sample::default() };
        Ok(match resource {
            Some(resource) => Sample {
                resource_id: resource.id,
                resource_name: resource.name,
                details: ResourceDetails { specs: resource.specs, location: resource.location, ..sample.details },
                ..sample
            },
            None => sample,
        })
    }
}
