//! Test events (docs/contract.md §1, "Test events"): sent at once, outside the queue, and recorded in the log.

use super::Webhooks;
use crate::Result;
use crate::audit_trail::{Record, Target};
use crate::db::codec::to_json;
use crate::db::column::Text;
use crate::db::entity::attempts::{self, StatusAfter};
use crate::db::entity::{deliveries, resource_types, resources, users};
use crate::outbox::WebhookConfig;
use chrono::{DateTime, Duration, Utc};
use delivery::{AttemptOutcome, DeliveryRequest};
use domain::Problem;
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::authorization::{Action, Actor, authorize};
use domain::change::Change;
use domain::delivery::{Attempt, DeliveryStatus, DeliverySummary, Outcome};
use domain::event::{AccessRequestBody, EventBody, EventType, ReservationBody};
use domain::id::{AccessRequestId, DeliveryId, EventId, ReservationId, ResourceId, WebhookId};
use domain::reservation::ReservationStatus;
use domain::resource::ConfigSchema;
use domain::webhook::TestInput;
use sea_orm::ActiveValue::Set;
use sea_orm::{EntityTrait as _, QueryFilter as _, QueryOrder as _};
use serde_json::{Map, Value};

/// A sample SSH public key; its private key was discarded.
const SAMPLE_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7pZLsoUSJmAfc4CAsqYFBZQCcdNI0JVXI9Qw5YbmLS test@berth";
const TITLE: &str = "Test event from Berth";
const PREVIOUS_TITLE: &str = "Test event from Berth, before the change";
const REASON: &str = "This is a test event from Berth.";

/// The resource of a test event.
struct SampleResource {
    type_slug: String,
    id: ResourceId,
    name: String,
    config: Map<String, Value>,
}

impl Webhooks {
    /// Sends a test event, records it in the log and returns the attempt. A failed attempt is no error.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator, 404.
    #[tracing::instrument(skip_all, fields(webhook_id = id), err(level = "debug"))]
    pub async fn send_test(&self, actor: &Actor, id: WebhookId, input: TestInput) -> Result<Attempt> {
        authorize(actor, Action::WriteWebhooks)?;
        let config = WebhookConfig::decrypt(self.find(id).await?, &self.cipher)?;
        let event_type = input.event_type.or(config.events.first().copied()).unwrap_or(EventType::ReservationCreated);
        let now = self.context.now();
        let urls = &self.context.status_urls;
        let event = self
            .test_event(actor, config.resource_type.as_deref(), event_type, now)
            .await?
            .for_webhook(id, |id, webhook| urls.url(id, webhook));
        let body = to_json(&event)?;
        let request = DeliveryRequest {
            target: config.target(now),
            url: config.url(event_type),
            delivery_id: DeliveryId::from_ulid(self.context.new_ulid()),
            event_id: event.event_id().clone(),
            event_type,
            attempt: 1,
            test: true,
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
        self.record_test(actor, &summary, event.ordering_key(), &body, outcome).await?;
        attempt.insert_body(&body);
        if config.provisions {
            attempt = attempt.with_effect(event_type);
        }
        self.feed.publish(vec![Change::Delivery(Box::new(summary))]);
        Ok(attempt)
    }

    /// Writes a test event and its attempt into the log.
    async fn record_test(
        &self,
        actor: &Actor,
        summary: &DeliverySummary,
        ordering_key: &str,
        body: &str,
        outcome: AttemptOutcome,
    ) -> Result<()> {
        let ended_at = summary.updated_at.timestamp_millis();
        let delivery = deliveries::ActiveModel {
            id: Set(summary.id.to_string()),
            event_id: Set(summary.event_id.to_string()),
            event_type: Set(Text(summary.event_type)),
            webhook_id: Set(summary.webhook_id),
            ordering_key: Set(ordering_key.to_owned()),
            reservation_id: Set(summary.reservation_id.clone()),
            body: Set(body.to_owned()),
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
        let resource = self.sample_resource(type_slug).await?;
        let user = users::Entity::find_by_id(actor.username.as_str()).one(&self.context.db.read).await?;
        let user = user.ok_or_else(|| Problem::not_found("user"))?;
        let event_id = EventId::from_ulid(self.context.new_ulid());
        let subject = format!("test-{}", self.context.new_ulid().to_string().to_ascii_lowercase());
        Ok(match event_type {
            EventType::AccessRequested => EventBody::AccessRequest(Box::new(AccessRequestBody {
                event_type,
                event_id,
                timestamp: now,
                webhook_id: 0,
                test: true,
                access_request_id: AccessRequestId(subject),
                user_id: user.username,
                user_email: user.email,
                resource_type: resource.type_slug,
                resource_id: resource.id,
                resource_name: resource.name,
                reason: REASON.into(),
                requested_at: now,
                user_ssh_key: SAMPLE_KEY.into(),
            })),
            _ => {
                let subject = ReservationId(subject);
                let body = self.reservation_body(event_type, event_id, subject, user, resource, now);
                EventBody::Reservation(Box::new(body))
            }
        })
    }

    fn reservation_body(
        &self,
        event_type: EventType,
        event_id: EventId,
        reservation_id: ReservationId,
        user: users::Model,
        resource: SampleResource,
        now: DateTime<Utc>,
    ) -> ReservationBody {
        let (status, start_time) = match event_type {
            EventType::ReservationCancelled => (ReservationStatus::Cancelled, now + Duration::hours(1)),
            EventType::ReservationExpired => (ReservationStatus::Expired, now - Duration::hours(8)),
            _ => (ReservationStatus::Active, now + Duration::hours(1)),
        };
        let cancelled = event_type == EventType::ReservationCancelled;
        let previous = || Map::from_iter([("title".to_owned(), Value::from(PREVIOUS_TITLE))]);
        ReservationBody {
            event_type,
            event_id,
            timestamp: now,
            webhook_id: 0,
            test: true,
            status_url: String::new(),
            reservation_id,
            user_email: user.email,
            resource_type: resource.type_slug,
            resource_id: resource.id,
            resource_name: resource.name,
            title: TITLE.into(),
            start_time,
            end_time: start_time + Duration::hours(8),
            user_ssh_key: SAMPLE_KEY.into(),
            additional_config: resource.config,
            status: status.as_str().to_owned(),
            previous: (event_type == EventType::ReservationUpdated).then(previous),
            cancelled_by: cancelled.then(|| user.username.clone()),
            reason: cancelled.then(|| REASON.to_owned()),
            user_id: user.username,
        }
    }

    /// The first resource of a type, or of the first type, with a sample configuration; a made-up one if none exists.
    async fn sample_resource(&self, type_slug: Option<&str>) -> Result<SampleResource> {
        let db = &self.context.db.read;
        let mut types = resource_types::Entity::find().order_by_asc(resource_types::COLUMN.slug);
        if let Some(slug) = type_slug {
            types = types.filter(resource_types::COLUMN.slug.eq(slug));
        }
        let Some(resource_type) = types.one(db).await? else {
            return Ok(SampleResource {
                type_slug: "sample".into(),
                id: 1,
                name: "Sample resource".into(),
                config: ConfigSchema::default().sample(),
            });
        };
        let resource = resources::Entity::find()
            .filter(resources::COLUMN.resource_type.eq(resource_type.slug.as_str()))
            .order_by_asc(resources::COLUMN.id)
            .one(db)
            .await?;
        let (id, name) = match resource {
            Some(resource) => (resource.id, resource.name),
            None => (1, "Sample resource".to_owned()),
        };
        let schema = ConfigSchema::parse(&resource_type.config_schema.0).unwrap_or_default();
        Ok(SampleResource { type_slug: resource_type.slug, id, name, config: schema.sample() })
    }
}
