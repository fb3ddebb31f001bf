//! Signing secrets, Ed25519 keys and credentials: creation, encryption and rotation.

use super::{Webhooks, change_of, write_action};
use crate::Result;
use crate::db::column::JsonText;
use crate::db::entity::webhooks;
use crate::secrets::SecretUse;
use chrono::Duration;
use domain::Problem;
use domain::audit::{AuditAction, Changes};
use domain::authorization::{Action, Actor, authorize};
use domain::change::WebhookChange;
use domain::endpoint::UrlPolicy;
use domain::id::WebhookId;
use domain::signature::{Secret, SigningKey};
use domain::webhook::{AuthInput, CustomHeader, RotateInput, Webhook, WebhookWithSecret, check_new_secret};
use sea_orm::ActiveValue::Set;

/// Overlap of a rotation in hours, if the request does not contain one.
const DEFAULT_OVERLAP: u32 = 24;
/// Longest overlap of a rotation in hours.
const MAX_OVERLAP: u32 = 168;
/// Maximum number of old secrets that sign at the same time. Each adds a signature to the headers of every request, and
/// receivers limit the size of headers.
const MAX_OLD_SECRETS: usize = 10;

/// The secret that an administrator entered, or a generated one.
///
/// # Errors
/// 422 for `secret`.
pub(super) fn new_signing_secret(entered: Option<&str>, policy: &UrlPolicy) -> Result<Secret, Problem> {
    match entered {
        Some(text) => check_new_secret(text, policy).map_err(|message| Problem::field("secret", message)),
        None => Ok(Secret::generate(crate::secrets::random())),
    }
}

/// The response that shows a new secret.
pub(super) fn with_secret(webhook: Webhook, secret: &Secret) -> WebhookWithSecret {
    let warning = secret.weakness().map(str::to_owned);
    WebhookWithSecret { webhook, secret: secret.expose().to_owned(), warning }
}

/// The secret of an authentication method.
pub(super) fn auth_secret(auth: &AuthInput) -> Option<&str> {
    match auth {
        AuthInput::None => None,
        AuthInput::ApiKey { key, .. } => Some(key),
        AuthInput::Oauth2 { client_secret, .. } => Some(client_secret),
    }
}

impl Webhooks {
    /// Replaces the signing secret, and the Ed25519 key if the webhook has one. The old ones also sign during the
    /// overlap; those of earlier rotations sign until their own end. An overlap of 0 revokes all old ones.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator or an owner, and without a recent confirmation; 404, also for a webhook of
    /// another owner; 409 if too many old secrets sign; 412 under another condition; 422 for the overlap or the secret.
    #[tracing::instrument(skip_all, fields(webhook_id = id), err(level = "debug"))]
    pub async fn rotate_secret(&self, actor: &Actor, id: WebhookId, input: RotateInput) -> Result<WebhookWithSecret> {
        authorize(actor, Action::WriteOwned)?;
        let overlap = input.overlap_hours.unwrap_or(DEFAULT_OVERLAP);
        if overlap > MAX_OVERLAP {
            return Err(Problem::field("overlap_hours", "Choose 0 to 168 hours.").into());
        }
        let secret = new_signing_secret(input.secret.as_deref(), &self.context.settings.url_policy)?;
        self.context.require_confirmation(actor).await?;
        let change = loop {
            if let Some(change) = self.try_rotate(actor, id, &secret, overlap).await? {
                break change;
            }
        };
        self.publish_change(change);
        Ok(with_secret(self.get(actor, id).await?, &secret))
    }

    /// Rotates once. Returns `None`, and changes nothing, after a concurrent change of the webhook.
    async fn try_rotate(
        &self,
        actor: &Actor,
        id: WebhookId,
        secret: &Secret,
        overlap: u32,
    ) -> Result<Option<WebhookChange>> {
        let current = self.find(id).await?;
        authorize(actor, write_action(&current))?;
        self.check_condition(&current)?;
        let has_key = current.signing_key.is_some();
        let (signing_key, public_key) = if has_key { self.new_signing_key(id)? } else { (None, None) };
        let now = self.context.now();
        let until = (overlap > 0).then(|| now + Duration::hours(overlap.into()));
        let mut earlier = if until.is_some() { current.old_secrets() } else { Vec::new() };
        earlier.retain(|old| old.until > now.timestamp_millis());
        if earlier.len() >= MAX_OLD_SECRETS {
            return Err(too_many_old_secrets().into());
        }
        let changes = webhooks::ActiveModel {
            secret: Set(self.encrypt_secret(id, secret)?),
            secret_hint: Set(secret.hint()),
            previous_secret: Set(until.map(|_| current.secret.clone())),
            previous_signing_key: Set(current.signing_key.clone().filter(|_| until.is_some())),
            previous_secret_until: Set(until.map(|until| until.timestamp_millis())),
            earlier_secrets: Set(JsonText(earlier)),
            secret_rotated_at: Set(Some(now.timestamp_millis())),
            signing_key: Set(signing_key),
            public_key: Set(public_key),
            ..Default::default()
        };
        let secrets = Changes::none().secret("secret").secret_if(has_key, "signing_key");
        let saved =
            self.save_if_unchanged(actor, AuditAction::WebhookSecretRotated, &current, changes, secrets).await?;
        Ok(saved.then(|| change_of(&current)))
    }

    /// Revokes the previous signing secrets, and their Ed25519 keys, before the end of their overlap. Only the current secret
    /// signs afterwards.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator or an owner, and without a recent confirmation; 404, also for a webhook of
    /// another owner; 409 if no previous secret signs; 412 under another condition.
    #[tracing::instrument(skip_all, fields(webhook_id = id), err(level = "debug"))]
    pub async fn revoke_previous_secrets(&self, actor: &Actor, id: WebhookId) -> Result<Webhook> {
        authorize(actor, Action::WriteOwned)?;
        loop {
            let current = self.find(id).await?;
            authorize(actor, write_action(&current))?;
            self.check_condition(&current)?;
            let now = self.context.now().timestamp_millis();
            if current.old_secrets().iter().all(|old| old.until <= now) {
                return Err(
                    Problem::conflict("No previous secret signs requests, so there is nothing to revoke.").into()
                );
            }
            self.context.require_confirmation(actor).await?;
            let changes = webhooks::ActiveModel {
                previous_secret: Set(None),
                previous_signing_key: Set(None),
                previous_secret_until: Set(None),
                earlier_secrets: Set(JsonText(Vec::new())),
                ..Default::default()
            };
            let secrets = Changes::none().secret("previous_secret");
            if self.save_if_unchanged(actor, AuditAction::WebhookSecretsRevoked, &current, changes, secrets).await? {
                self.publish_change(change_of(&current));
                return self.get(actor, id).await;
            }
        }
    }

    /// Encrypts a signing secret for storage.
    pub(super) fn encrypt_secret(&self, id: WebhookId, secret: &Secret) -> Result<String, Problem> {
        self.cipher.encrypt(SecretUse::WebhookSecret(id), secret.expose())
    }

    /// Encrypts the secret of an authentication method for storage.
    pub(super) fn encrypt_auth(&self, id: WebhookId, auth: &AuthInput) -> Result<Option<String>, Problem> {
        auth_secret(auth).map(|secret| self.cipher.encrypt(SecretUse::WebhookAuth(id), secret)).transpose()
    }

    /// Encrypts the secret values of custom headers for storage. An empty one keeps the stored value of the same name,
    /// which may be in clear text if an earlier release stored it.
    pub(super) fn encrypt_headers(
        &self,
        id: WebhookId,
        headers: &[CustomHeader],
        stored: &[CustomHeader],
    ) -> Result<Vec<CustomHeader>, Problem> {
        let encrypt = |header: &CustomHeader| -> Result<CustomHeader, Problem> {
            if !header.is_secret() {
                return Ok(header.clone());
            }
            let kept = header.find(stored).filter(|stored| header.value.is_empty() && stored.is_secret());
            let of = SecretUse::WebhookHeader(id, &header.name);
            let value = match kept {
                Some(kept) if kept.secret == Some(true) => kept.value.clone(),
                Some(kept) => self.cipher.encrypt(of, &kept.value)?,
                None => self.cipher.encrypt(of, &header.value)?,
            };
            Ok(CustomHeader { name: header.name.clone(), value, secret: Some(true) })
        };
        headers.iter().map(encrypt).collect()
    }

    /// Generates an Ed25519 key. Returns the encrypted private key and the public key.
    pub(super) fn new_signing_key(&self, id: WebhookId) -> Result<(Option<String>, Option<String>), Problem> {
        let key = SigningKey::from_seed(crate::secrets::random());
        Ok((Some(self.cipher.encrypt(SecretUse::WebhookSigningKey(id), &key.expose())?), Some(key.public())))
    }
}

fn too_many_old_secrets() -> Problem {
    Problem::conflict(format!(
        "{MAX_OLD_SECRETS} old secrets still sign requests. Wait until the overlap of one has ended, or revoke all of \
         them with an overlap of 0 hours."
    ))
}
