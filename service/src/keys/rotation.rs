//! The rotation of the master key: encrypts every stored secret again with the current key, bound to its row.

use crate::Result;
use crate::context::Context;
use crate::db::entity::{
    alert_channel, authenticator_apps, idempotency_keys, sessions, setup_code, stored_keys, unbound_secrets, webhooks,
};
use crate::secrets::{Cipher, SecretFormat, SecretUse};
use domain::Problem;
use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait as _, EntityTrait, QueryFilter as _, QueryOrder as _, QuerySelect as _};

/// Maximum number of rows that are read at once.
const BATCH: u64 = 200;

/// The result of a rotation.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// Number of rows whose secrets were encrypted again.
    pub encrypted: u64,
    /// Number of rows whose secrets already were in the current form.
    pub current: u64,
    /// The rows with a secret that no known master key decrypts, such as "webhook 3". They are unchanged.
    pub unreadable: Vec<String>,
}

/// Encrypts the secrets of rows again.
struct Rotation<'a> {
    context: &'a Context,
    cipher: Cipher,
    rotated: Rotated,
}

/// A secret that no known master key decrypts.
struct Unreadable;

/// Encrypts every secret of the database again with the current master key, bound to its row. Then removes the mark by
/// which processes write secrets that releases before key rotation can read. Every other process must have the current
/// master key. Can be repeated, and interrupted.
///
/// # Errors
/// 503 if the database is unavailable.
pub(crate) async fn rotate(context: &Context, cipher: &Cipher) -> Result<Rotated, Problem> {
    let cipher = cipher.with_format(SecretFormat::Bound);
    let mut rotation = Rotation { context, cipher, rotated: Rotated::default() };
    rotation.run().await?;
    Ok(rotation.rotated)
}

impl Rotation<'_> {
    async fn run(&mut self) -> Result<()> {
        unbound_secrets::Entity::delete_by_id(unbound_secrets::ID).exec(&self.context.db.write).await?;
        self.webhooks().await?;
        self.responses().await?;
        self.alert_channel().await?;
        self.setup_code().await?;
        self.id_tokens().await?;
        self.authenticator_apps().await?;
        self.stored_keys().await
    }

    /// A text in the current form; `None` if it already was.
    fn renew(&self, of: SecretUse<'_>, encrypted: &str) -> Result<Option<String>, Unreadable> {
        if self.cipher.is_current(encrypted) {
            return Ok(None);
        }
        let text = self.cipher.try_decrypt(of, encrypted).ok_or(Unreadable)?;
        self.cipher.encrypt(of, &text).map(Some).map_err(|_| Unreadable)
    }

    /// Replaces a text by its current form. Returns whether it changed.
    fn renew_in_place(&self, of: SecretUse<'_>, encrypted: &mut String) -> Result<bool, Unreadable> {
        let renewed = self.renew(of, encrypted)?;
        let changed = renewed.is_some();
        if let Some(renewed) = renewed {
            *encrypted = renewed;
        }
        Ok(changed)
    }

    async fn webhooks(&mut self) -> Result<()> {
        let mut last = 0;
        loop {
            let page = webhooks::Entity::find()
                .filter(webhooks::COLUMN.id.gt(last))
                .order_by_asc(webhooks::COLUMN.id)
                .limit(BATCH)
                .all(&self.context.db.read)
                .await?;
            let Some(end) = page.last() else { return Ok(()) };
            last = end.id;
            for webhook in page {
                self.webhook(webhook).await?;
            }
        }
    }

    /// Encrypts the secrets of one webhook again. After a concurrent change, it reads the webhook again.
    async fn webhook(&mut self, mut model: webhooks::Model) -> Result<()> {
        loop {
            let (id, revision) = (model.id, model.revision);
            let changed = match self.renew_webhook(&mut model) {
                Ok(changed) => changed,
                Err(Unreadable) => {
                    self.rotated.unreadable.push(format!("webhook {id}"));
                    return Ok(());
                }
            };
            if !changed {
                self.rotated.current += 1;
                return Ok(());
            }
            // A new revision, so that a concurrent change does not write the old texts again.
            let changes = webhooks::ActiveModel {
                revision: Set(revision + 1),
                secret: Set(model.secret),
                previous_secret: Set(model.previous_secret),
                earlier_secrets: Set(model.earlier_secrets),
                signing_key: Set(model.signing_key),
                previous_signing_key: Set(model.previous_signing_key),
                auth_secret: Set(model.auth_secret),
                client_key: Set(model.client_key),
                headers: Set(model.headers),
                ..Default::default()
            };
            let saved = webhooks::Entity::update_many()
                .set(changes)
                .filter(webhooks::COLUMN.id.eq(id))
                .filter(webhooks::COLUMN.revision.eq(revision))
                .exec(&self.context.db.write)
                .await?;
            if saved.rows_affected == 1 {
                self.rotated.encrypted += 1;
                return Ok(());
            }
            match webhooks::Entity::find_by_id(id).one(&self.context.db.read).await? {
                Some(current) => model = current,
                None => return Ok(()),
            }
        }
    }

    /// Renews the texts of a webhook. Returns whether one changed.
    fn renew_webhook(&self, model: &mut webhooks::Model) -> Result<bool, Unreadable> {
        let id = model.id;
        let mut changed = false;
        // A deleted webhook has no secret.
        let secrets = [Some(&mut model.secret).filter(|secret| !secret.is_empty()), model.previous_secret.as_mut()];
        for secret in secrets.into_iter().flatten() {
            changed |= self.renew_in_place(SecretUse::WebhookSecret(id), secret)?;
        }
        for key in [model.signing_key.as_mut(), model.previous_signing_key.as_mut()].into_iter().flatten() {
            changed |= self.renew_in_place(SecretUse::WebhookSigningKey(id), key)?;
        }
        for old in &mut model.earlier_secrets.0 {
            changed |= self.renew_in_place(SecretUse::WebhookSecret(id), &mut old.secret)?;
            if let Some(key) = &mut old.signing_key {
                changed |= self.renew_in_place(SecretUse::WebhookSigningKey(id), key)?;
            }
        }
        if let Some(secret) = &mut model.auth_secret {
            changed |= self.renew_in_place(SecretUse::WebhookAuth(id), secret)?;
        }
        if let Some(key) = &mut model.client_key {
            changed |= self.renew_in_place(SecretUse::WebhookClientKey(id), key)?;
        }
        for header in model.headers.0.iter_mut().filter(|header| header.secret == Some(true)) {
            changed |= self.renew_in_place(SecretUse::WebhookHeader(id, &header.name), &mut header.value)?;
        }
        Ok(changed)
    }

    /// The stored responses of idempotency keys. They expire within a day, but until then a repeat needs them.
    async fn responses(&mut self) -> Result<()> {
        let rows = idempotency_keys::Entity::find()
            .filter(idempotency_keys::COLUMN.body.is_not_null())
            .filter(idempotency_keys::Column::Body.not_like(format!("{}%", self.cipher.bound_prefix())));
        // Each pass reads the rows that are left; those that cannot be read are skipped.
        let mut skipped = 0;
        loop {
            let page = rows
                .clone()
                .order_by_asc(idempotency_keys::COLUMN.username)
                .order_by_asc(idempotency_keys::COLUMN.key)
                .offset(skipped)
                .limit(BATCH)
                .all(&self.context.db.read)
                .await?;
            if page.is_empty() {
                return Ok(());
            }
            for row in page {
                let of = SecretUse::Idempotency { username: &row.username, key: &row.key };
                let body = row.body.as_deref().unwrap_or_default();
                let renewed = self.renew(of, body);
                let Some(renewed) = self.count(renewed, || format!("a stored response for {}", row.username)) else {
                    skipped += 1;
                    continue;
                };
                let changes = idempotency_keys::ActiveModel { body: Set(Some(renewed)), ..Default::default() };
                idempotency_keys::Entity::update_many()
                    .set(changes)
                    .filter(idempotency_keys::COLUMN.username.eq(row.username.as_str()))
                    .filter(idempotency_keys::COLUMN.key.eq(row.key.as_str()))
                    .filter(idempotency_keys::COLUMN.body.eq(body))
                    .exec(&self.context.db.write)
                    .await?;
            }
        }
    }

    /// The URL and the signing secret of the operations webhook.
    async fn alert_channel(&mut self) -> Result<()> {
        let Some(row) = alert_channel::Entity::find_by_id(alert_channel::ID).one(&self.context.db.read).await? else {
            return Ok(());
        };
        let mut renewed = row.clone();
        let url = self.renew_in_place(SecretUse::AlertChannelUrl, &mut renewed.url);
        let secret = self.renew_in_place(SecretUse::AlertChannelSecret, &mut renewed.secret);
        match (url, secret) {
            (Ok(false), Ok(false)) => self.rotated.current += 1,
            (Ok(_), Ok(_)) => {
                let changes = alert_channel::ActiveModel {
                    url: Set(renewed.url),
                    secret: Set(renewed.secret),
                    ..Default::default()
                };
                // A concurrent change has written texts in the current form.
                let update = alert_channel::Entity::update_many()
                    .set(changes)
                    .filter(alert_channel::COLUMN.url.eq(row.url))
                    .filter(alert_channel::COLUMN.secret.eq(row.secret));
                update.exec(&self.context.db.write).await?;
                self.rotated.encrypted += 1;
            }
            _ => self.rotated.unreadable.push("the operations webhook".to_owned()),
        }
        Ok(())
    }

    async fn setup_code(&mut self) -> Result<()> {
        let Some(row) = setup_code::Entity::find_by_id(setup_code::ID).one(&self.context.db.read).await? else {
            return Ok(());
        };
        let renewed = self.renew(SecretUse::SetupCode, &row.code);
        if let Some(code) = self.count(renewed, || "the set-up code".into()) {
            let changes = setup_code::ActiveModel { code: Set(code), ..Default::default() };
            let update = setup_code::Entity::update_many().set(changes).filter(setup_code::COLUMN.code.eq(row.code));
            update.exec(&self.context.db.write).await?;
        }
        Ok(())
    }

    /// The ID tokens of sessions that an identity provider has opened.
    async fn id_tokens(&mut self) -> Result<()> {
        let mut last = String::new();
        loop {
            let page = sessions::Entity::find()
                .filter(sessions::COLUMN.id_token.is_not_null())
                .filter(sessions::COLUMN.token_hash.gt(last.as_str()))
                .order_by_asc(sessions::COLUMN.token_hash)
                .limit(BATCH)
                .all(&self.context.db.read)
                .await?;
            let Some(end) = page.last() else { return Ok(()) };
            last.clone_from(&end.token_hash);
            for session in page {
                let renewed = self
                    .renew(SecretUse::IdToken(&session.token_hash), session.id_token.as_deref().unwrap_or_default());
                let Some(renewed) = self.count(renewed, || format!("a session of {}", session.username)) else {
                    continue;
                };
                let changes = sessions::ActiveModel { id_token: Set(Some(renewed)), ..Default::default() };
                sessions::Entity::update_many()
                    .set(changes)
                    .filter(sessions::COLUMN.token_hash.eq(session.token_hash.as_str()))
                    .exec(&self.context.db.write)
                    .await?;
            }
        }
    }

    /// The keys of authenticator apps. Challenges are not renewed, because they expire within minutes.
    async fn authenticator_apps(&mut self) -> Result<()> {
        let mut last = String::new();
        loop {
            let page = authenticator_apps::Entity::find()
                .filter(authenticator_apps::COLUMN.username.gt(last.as_str()))
                .order_by_asc(authenticator_apps::COLUMN.username)
                .limit(BATCH)
                .all(&self.context.db.read)
                .await?;
            let Some(end) = page.last() else { return Ok(()) };
            last.clone_from(&end.username);
            for app in page {
                let renewed = self.renew(SecretUse::AuthenticatorApp(&app.username), &app.secret);
                let Some(secret) = self.count(renewed, || format!("the authenticator app of {}", app.username)) else {
                    continue;
                };
                let changes = authenticator_apps::ActiveModel { secret: Set(secret), ..Default::default() };
                authenticator_apps::Entity::update_many()
                    .set(changes)
                    .filter(authenticator_apps::COLUMN.username.eq(app.username.as_str()))
                    .filter(authenticator_apps::COLUMN.secret.eq(app.secret))
                    .exec(&self.context.db.write)
                    .await?;
            }
        }
    }

    async fn stored_keys(&mut self) -> Result<()> {
        for row in stored_keys::Entity::find().all(&self.context.db.read).await? {
            let renewed = self.renew(SecretUse::StoredKey(&row.purpose), &row.encrypted);
            if let Some(encrypted) = self.count(renewed, || format!("the key \"{}\"", row.purpose)) {
                let changes = stored_keys::ActiveModel { encrypted: Set(encrypted), ..Default::default() };
                stored_keys::Entity::update_many()
                    .set(changes)
                    .filter(stored_keys::COLUMN.purpose.eq(row.purpose.as_str()))
                    .filter(stored_keys::COLUMN.encrypted.eq(row.encrypted))
                    .exec(&self.context.db.write)
                    .await?;
            }
        }
        Ok(())
    }

    /// Counts a renewed text, and returns it if it has to be saved.
    fn count(&mut self, renewed: Result<Option<String>, Unreadable>, name: impl FnOnce() -> String) -> Option<String> {
        match renewed {
            Ok(Some(renewed)) => {
                self.rotated.encrypted += 1;
                Some(renewed)
            }
            Ok(None) => {
                self.rotated.current += 1;
                None
            }
            Err(Unreadable) => {
                self.rotated.unreadable.push(name());
                None
            }
        }
    }
}
