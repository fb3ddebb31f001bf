//! The check of a webhook's settings before they are saved (`domain::draft_check`). The delivery log does not contain its
//! requests.

use super::secrets::new_signing_secret;
use super::tls::NewTls;
use super::{Webhooks, only_listener_sends, write_action};
use crate::Result;
use crate::audit_trail::{Record, Target};
use crate::db::entity::webhooks;
use crate::outbox::WebhookConfig;
use delivery::{Auth, Certification, Sources, check_draft};
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::authorization::{Action, Actor, authorize};
use domain::draft_check::{DraftCheckInput, DraftReport};
use domain::endpoint::same_origin;
use domain::id::{ReservationId, WebhookId};
use domain::routing::{DeliveryPaths, Layout};
use domain::webhook::{AuthInput, AuthView, CustomHeader, DeliveryMode, StoredCredentials, WebhookInput};
use std::sync::Arc;
use std::time::Duration;

/// Time after which no further request starts. With the timeout of the last request, it bounds the time of a response.
const TIME_LIMIT: Duration = Duration::from_secs(60);

impl Webhooks {
    /// Checks settings before they are saved: sends test events to their endpoint, and reports the checklist. Nothing is
    /// saved. A receiver that fails is no error. The settings of a stored webhook need a recent confirmation if they send
    /// its signatures or credentials to another server.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator or an owner, and without the confirmation; 404 for an unknown webhook, also
    /// for one of another owner; 422 naming every invalid field.
    #[tracing::instrument(skip_all, err(level = "debug"))]
    pub async fn check_draft(&self, actor: &Actor, input: DraftCheckInput) -> Result<DraftReport> {
        authorize(actor, Action::WriteOwned)?;
        let DraftCheckInput { webhook: draft, webhook_id } = input;
        let stored = match webhook_id {
            Some(id) => {
                let stored = self.find(id).await?;
                authorize(actor, write_action(&stored))?;
                Some(stored)
            }
            None => None,
        };
        authorize(actor, Action::SetWebhookFilter { resource_type: draft.resource_type.as_deref() })?;
        if draft.delivery_mode == Some(DeliveryMode::Local)
            || stored.as_ref().is_some_and(|stored| stored.delivery_mode.0 == DeliveryMode::Local)
        {
            return Err(only_listener_sends().into());
        }
        let tls = draft.tls.as_ref().map(|tls| self.new_tls(tls, stored.as_ref())).transpose()?;
        self.validate(&draft, stored.as_ref().map(credentials_of), tls.as_ref()).await?;
        // Other authorities decide which server receives the stored credentials.
        let changes_tls = tls.as_ref().is_some_and(|tls| tls.is_change);
        if stored.as_ref().is_some_and(|stored| changes_tls || !same_origin(&stored.endpoint_url, &draft.endpoint_url))
        {
            self.context.require_confirmation(actor).await?;
        }
        let target = Arc::new(self.draft_target(&draft, stored, tls)?);
        let name = draft.name.trim().to_owned();
        let format = draft.payload_format.unwrap_or_default();
        let paths = match format.uses_exact_url() {
            true => DeliveryPaths { layout: Layout::Single, ..Default::default() },
            false => draft.delivery_paths.unwrap_or_default(),
        };
        let certification = Certification {
            paths,
            endpoint_url: draft.endpoint_url,
            target,
            sample: self.sample(actor, draft.resource_type.as_deref()).await?,
            format,
            events: draft.events.into_iter().filter(|event| format.sends(*event)).collect(),
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
        let report = check_draft(&self.sender, &certification, sources).await;
        let changes = Changes::none()
            .field("endpoint_url", (), certification.endpoint_url.as_str())
            .field("failed", (), report.failed)
            .field("warnings", (), report.warnings);
        let id = webhook_id.map(|id| id.to_string()).unwrap_or_default();
        let tx = self.context.begin_change().await?;
        let target = Target::named(AuditTargetType::Webhook, id, name);
        tx.commit(Record::new(actor, AuditAction::WebhookChecked, target).changes(changes)).await?;
        Ok(report)
    }

    /// The credentials and secrets of a draft. Empty ones are those of the stored webhook.
    fn draft_target(
        &self,
        draft: &WebhookInput,
        stored: Option<webhooks::Model>,
        tls: Option<NewTls>,
    ) -> Result<delivery::Target> {
        let public_url = &self.context.settings.public_url;
        let stored = match stored {
            Some(model) => Some(WebhookConfig::decrypt(model, &self.cipher, public_url)?.target(self.context.now())),
            None => None,
        };
        let secrets = match (&draft.secret, &stored) {
            (None, Some(stored)) => stored.secrets.clone(),
            (entered, _) => vec![new_signing_secret(entered.as_deref(), &self.context.settings.url_policy)?],
        };
        let keys = match &stored {
            Some(stored) if draft.ed25519 != Some(false) => stored.keys.clone(),
            _ => Vec::new(),
        };
        let stored_headers = stored.as_ref().map(|stored| stored.headers.as_slice()).unwrap_or_default();
        let header = |header: &CustomHeader| {
            let kept = header.find(stored_headers).filter(|_| header.is_secret() && header.value.is_empty());
            CustomHeader { value: kept.unwrap_or(header).value.clone(), ..header.clone() }
        };
        Ok(delivery::Target {
            webhook_id: stored.as_ref().map(|stored| stored.webhook_id).unwrap_or_default(),
            auth: draft_auth(&draft.auth, stored.as_ref().map(|stored| &stored.auth)),
            secrets,
            keys,
            headers: draft.headers.iter().map(header).collect(),
            public_url: public_url.as_str().into(),
            tls: match tls {
                Some(tls) => tls.settings,
                None => stored.and_then(|stored| stored.tls.clone()),
            },
        })
    }
}

/// The credentials of a stored webhook that empty ones of a draft keep.
fn credentials_of(stored: &webhooks::Model) -> StoredCredentials<'_> {
    let auth = stored.auth_secret.as_ref().map_or(&AuthView::None, |_| &stored.auth.0);
    StoredCredentials {
        endpoint_url: &stored.endpoint_url,
        auth,
        headers: &stored.headers.0,
        has_client_key: stored.client_key.is_some(),
    }
}

/// The authentication of a draft. An empty secret is the stored one of the same method.
fn draft_auth(draft: &AuthInput, stored: Option<&Auth>) -> Auth {
    match draft.clone() {
        AuthInput::None => Auth::None,
        AuthInput::ApiKey { header, key } => match stored {
            Some(Auth::ApiKey { key: stored, .. }) if key.is_empty() => Auth::ApiKey { header, key: stored.clone() },
            _ => Auth::ApiKey { header, key },
        },
        AuthInput::Oauth2 { token_url, client_id, client_secret, scope, audience } => {
            let client_secret = match stored {
                Some(Auth::Oauth2 { client_secret: stored, .. }) if client_secret.is_empty() => stored.clone(),
                _ => client_secret,
            };
            Auth::Oauth2 { token_url, client_id, client_secret, scope, audience }
        }
    }
}
