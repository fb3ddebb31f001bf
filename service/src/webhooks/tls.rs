//! TLS settings of webhooks: client certificates and own authorities.

use super::Webhooks;
use crate::db::entity::webhooks;
use crate::outbox::stored_tls;
use crate::secrets::{Cipher, SecretUse};
use delivery::{TlsSettings, certificate_details};
use domain::Problem;
use domain::problem::FieldError;
use domain::webhook::{TlsInput, TlsView};
use sea_orm::ActiveValue::Set;
use std::sync::Arc;

/// TLS settings to save or to use, with an entered or the stored key.
pub(super) struct NewTls {
    /// `None` removes the stored settings.
    pub(super) settings: Option<Arc<TlsSettings>>,
    /// The reasons why the settings cannot be used.
    pub(super) errors: Vec<FieldError>,
    /// Whether they differ from the stored ones.
    pub(super) is_change: bool,
    /// Whether the stored key is replaced, added or removed.
    pub(super) sets_key: bool,
}

/// The stored settings without the private key.
pub(super) fn view_of(model: &webhooks::Model) -> Option<TlsView> {
    let ca_certificates = model.ca_certificates.clone().unwrap_or_default();
    let client_certificate = model.client_certificate.clone().unwrap_or_default();
    if ca_certificates.is_empty() && client_certificate.is_empty() {
        return None;
    }
    Some(TlsView {
        ca_details: certificate_details(&ca_certificates),
        client_details: certificate_details(&client_certificate),
        ca_certificates,
        client_certificate,
    })
}

impl Webhooks {
    /// The settings of an input. An empty key stands for the stored one, if the certificate is not empty.
    ///
    /// # Errors
    /// If the stored key is needed and cannot be decrypted.
    pub(super) fn new_tls(&self, input: &TlsInput, stored: Option<&webhooks::Model>) -> Result<NewTls, Problem> {
        let column = |column: fn(&webhooks::Model) -> &Option<String>| {
            stored.and_then(|model| column(model).as_deref()).unwrap_or_default()
        };
        let stored_settings =
            TlsSettings::new(column(|model| &model.ca_certificates), column(|model| &model.client_certificate), "");
        let keeps_key = input.client_key.trim().is_empty() && !input.client_certificate.trim().is_empty();
        let kept = match stored.filter(|_| keeps_key) {
            Some(model) => stored_tls(model, &self.cipher)?,
            None => None,
        };
        let key = kept.as_ref().map_or(input.client_key.as_str(), |kept| kept.client_key());
        let settings = TlsSettings::new(&input.ca_certificates, &input.client_certificate, key);
        let errors = settings
            .as_ref()
            .map(|settings| settings.check(stored_settings.as_deref(), self.context.now()))
            .unwrap_or_default();
        let certificates = |settings: &Option<Arc<TlsSettings>>| {
            settings.as_ref().map(|tls| (tls.ca_certificates().to_owned(), tls.client_certificate().to_owned()))
        };
        let had_key = stored.is_some_and(|model| model.client_key.is_some());
        let has_key = settings.as_ref().is_some_and(|settings| !settings.client_key().is_empty());
        let sets_key = (has_key || had_key) && !(keeps_key && had_key);
        let is_change = sets_key || certificates(&settings) != certificates(&stored_settings);
        Ok(NewTls { settings, errors, is_change, sets_key })
    }
}

/// The columns of settings. The key is encrypted for the webhook `id`.
///
/// # Errors
/// If the key cannot be encrypted.
pub(super) fn columns(
    cipher: &Cipher,
    id: i64,
    settings: Option<&TlsSettings>,
) -> Result<webhooks::ActiveModel, Problem> {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let key = settings.map(TlsSettings::client_key).filter(|key| !key.is_empty());
    Ok(webhooks::ActiveModel {
        ca_certificates: Set(settings.and_then(|settings| text(settings.ca_certificates()))),
        client_certificate: Set(settings.and_then(|settings| text(settings.client_certificate()))),
        client_key: Set(key.map(|key| cipher.encrypt(SecretUse::WebhookClientKey(id), key)).transpose()?),
        ..Default::default()
    })
}
