//! Certification of the receiver of a webhook (`domain::conformance`). The requests are test events that the delivery log
//! does not contain.

use super::{Webhooks, only_listener_sends, write_action};
use crate::Result;
use crate::audit_trail::{Record, Target};
use crate::outbox::WebhookConfig;
use delivery::{Certification, Sources, certify};
use domain::Problem;
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::authorization::{Action, Actor, authorize};
use domain::conformance::ConformanceReport;
use domain::id::{ReservationId, WebhookId};
use domain::signature_check::{SignatureCheckInput, SignatureReport, check_signature};
use std::time::Duration;

/// Time after which no further check starts. With the timeout of the last request, it bounds the time of a response.
const TIME_LIMIT: Duration = Duration::from_secs(60);

impl Webhooks {
    /// Certifies the receiver of a webhook and returns the report. A receiver that does not conform is no error.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator or an owner; 404, also for a webhook of another owner.
    #[tracing::instrument(skip_all, fields(webhook_id = id), err(level = "debug"))]
    pub async fn certify(&self, actor: &Actor, id: WebhookId) -> Result<ConformanceReport> {
        authorize(actor, Action::WriteOwned)?;
        let webhook = self.find(id).await?;
        authorize(actor, write_action(&webhook))?;
        let (endpoint_url, paths) = (webhook.endpoint_url.clone(), webhook.delivery_paths.0.clone());
        let config = WebhookConfig::decrypt(webhook, &self.cipher, &self.context.settings.public_url)?;
        if config.payload_format.uses_exact_url() {
            let detail = "The certification checks the formats of Berth, and this webhook has the classic one. Send test events instead.";
            return Err(Problem::conflict(detail).into());
        }
        if config.is_local {
            return Err(only_listener_sends().into());
        }
        let certification = Certification {
            endpoint_url,
            paths,
            target: config.target(self.context.now()),
            sample: self.sample(actor, config.resource_type.as_deref()).await?,
            format: config.payload_format,
            events: config.events.clone(),
            health_url: None,
            only: Vec::new(),
            time_limit: Some(TIME_LIMIT),
        };
        let urls = &self.context.status_urls;
        let sources = Sources {
            now: &|| self.context.now(),
            new_ulid: &mut || self.context.new_ulid(),
            status_url: &|id: &ReservationId, webhook: WebhookId| urls.url(id, webhook),
        };
        let report = certify(&self.sender, &certification, sources).await;
        let changes = Changes::none().field("passed", (), report.passed).field("warnings", (), report.warnings).field(
            "failed",
            (),
            report.failed,
        );
        let target = Target::named(AuditTargetType::Webhook, id, &config.name);
        let tx = self.context.begin_change().await?;
        tx.commit(Record::new(actor, AuditAction::WebhookCertified, target).changes(changes)).await?;
        Ok(report)
    }

    /// Checks the signatures of a request that a receiver got. Nothing is stored.
    ///
    /// # Errors
    /// 403 if the credential does not permit reading; 422 for an invalid secret.
    #[tracing::instrument(skip_all, err(level = "debug"))]
    pub async fn check_signature(&self, actor: &Actor, input: SignatureCheckInput) -> Result<SignatureReport> {
        authorize(actor, Action::ReadCatalogue)?;
        input.check()?;
        let SignatureCheckInput { body, headers, secret, previous_secrets } = &input;
        Ok(check_signature(body.as_bytes(), headers, secret, previous_secrets, self.context.now()))
    }
}
