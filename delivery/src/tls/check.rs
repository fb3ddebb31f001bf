//! The check of TLS settings before they are saved. Texts that the crate `domain` rejects have other errors.

use super::details::details_of;
use super::{TlsSettings, certificates, private_key};
use chrono::{DateTime, Utc};
use domain::problem::FieldError;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};

const CA: &str = "tls.ca_certificates";
const CERTIFICATE: &str = "tls.client_certificate";
const KEY: &str = "tls.client_key";

impl TlsSettings {
    /// Checks that each certificate can be used, and that the private key belongs to the client certificate. `stored` are the
    /// stored settings: a client certificate that is already stored may have expired. `now` is the present time.
    pub fn check(&self, stored: Option<&Self>, now: DateTime<Utc>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut error = |field: &str, message: String| errors.push(FieldError { field: field.to_owned(), message });
        if let Err(message) = check_authorities(&self.ca_certificates) {
            error(CA, message);
        }
        if self.client_certificate.is_empty() {
            return errors;
        }
        let is_new = stored.is_none_or(|stored| stored.client_certificate != self.client_certificate);
        let chain = match check_chain(&self.client_certificate, now, is_new) {
            Ok(chain) => chain,
            Err(message) => {
                error(CERTIFICATE, message);
                return errors;
            }
        };
        if let Err((field, message)) = check_key(chain, &self.client_key) {
            error(field, message);
        }
        errors
    }
}

/// The certificates of a text, each with its number for messages.
fn numbered(pem: &str) -> Result<Vec<(String, CertificateDer<'static>)>, String> {
    let certificates = certificates(pem).map_err(|_| {
        "The text is not valid PEM. Copy it completely, from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----."
            .to_owned()
    })?;
    let is_one = certificates.len() == 1;
    let name = |n: usize| if is_one { "The certificate".to_owned() } else { format!("Certificate {}", n + 1) };
    Ok(certificates.into_iter().enumerate().map(|(n, certificate)| (name(n), certificate)).collect())
}

fn check_authorities(pem: &str) -> Result<(), String> {
    for (name, certificate) in numbered(pem)? {
        RootCertStore::empty().add(certificate).map_err(|error| {
            format!("{name} cannot be used as an authority ({error}). Enter the certificate of the authority that signed that of the receiver.")
        })?;
    }
    Ok(())
}

fn check_chain(pem: &str, now: DateTime<Utc>, is_new: bool) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut chain = Vec::new();
    for (name, certificate) in numbered(pem)? {
        let details = details_of(&certificate).ok_or_else(|| {
            format!("{name} is not a valid X.509 certificate. Copy it completely, or export it again.")
        })?;
        let time = |time: DateTime<Utc>| time.format("%Y-%m-%d %H:%M UTC");
        if is_new && details.expires_at <= now {
            return Err(format!(
                "{name} ({}) expired on {}. Get a new one from its authority.",
                details.subject,
                time(details.expires_at)
            ));
        }
        if is_new && details.valid_from > now {
            return Err(format!(
                "{name} ({}) is not valid before {}. Check its dates and the clock of this server.",
                details.subject,
                time(details.valid_from)
            ));
        }
        chain.push(certificate);
    }
    Ok(chain)
}

fn check_key(chain: Vec<CertificateDer<'static>>, pem: &str) -> Result<(), (&'static str, String)> {
    let parsed = private_key(pem).map_err(|_| {
        (KEY, "The private key is not valid PEM. Copy it completely, from -----BEGIN to -----END.".to_owned())
    })?;
    let provider = rustls::crypto::ring::default_provider();
    let key = provider.key_provider.load_private_key(parsed).map_err(|_| {
        (KEY, "This kind of private key is not supported. Use RSA of at least 2048 bits, ECDSA with P-256 or P-384, or Ed25519.".to_owned())
    })?;
    let belongs_to =
        |certificate: &CertificateDer<'static>| CertifiedKey::new(vec![certificate.clone()], key.clone()).keys_match();
    let Some((first, others)) = chain.split_first() else { return Ok(()) };
    match belongs_to(first) {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(()),
        Err(Error::InconsistentKeys(_)) if others.iter().any(|other| belongs_to(other).is_ok()) => Err((
            CERTIFICATE,
            "The private key belongs to a later certificate of this text. Put the client certificate first, then its intermediate certificates.".to_owned(),
        )),
        Err(Error::InconsistentKeys(_)) => Err((
            KEY,
            "The private key does not belong to the client certificate. Enter the key with which the certificate was requested.".to_owned(),
        )),
        Err(error) => Err((CERTIFICATE, unusable(&error))),
    }
}

fn unusable(error: &Error) -> String {
    if let Error::InvalidCertificate(CertificateError::Other(other)) = error
        && let Some(webpki::Error::UnsupportedCertVersion) = other.0.downcast_ref()
    {
        return "The certificate has X.509 version 1. Issue it as version 3, with extensions, e.g. openssl x509 -req -extfile FILE with the line extendedKeyUsage=clientAuth.".to_owned();
    }
    format!("The certificate cannot be used: {error}. Export it again, or get another one from its authority.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    const NOW: &str = "2026-06-01T00:00:00Z";

    fn pair(change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["berth".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        change(&mut params);
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn errors(ca: &str, certificate: &str, key: &str) -> Vec<(String, String)> {
        let settings = TlsSettings::new(ca, certificate, key).unwrap();
        let errors = settings.check(None, NOW.parse().unwrap());
        errors.into_iter().map(|error| (error.field, error.message)).collect()
    }

    fn only_error(ca: &str, certificate: &str, key: &str, field: &str, expected: &str) {
        let errors = errors(ca, certificate, key);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].0 == field && errors[0].1.contains(expected), "{errors:?}");
    }

    #[test]
    fn certificate_and_key_that_belong_together_are_accepted() {
        let (certificate, key) = pair(|_| {});
        let (authority, _) = pair(|params| params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
        assert_eq!(errors(&authority, &format!("{certificate}{authority}"), &key), []);
        assert_eq!(errors(&authority, "", ""), []);
    }

    #[test]
    fn errors_name_field_and_remedy() {
        let (certificate, key) = pair(|_| {});
        let (other, other_key) = pair(|_| {});
        only_error("", &certificate, &other_key, KEY, "does not belong");
        only_error("", &format!("{other}{certificate}"), &key, CERTIFICATE, "first");
        let broken = certificate.replace("MII", "%%%");
        only_error("", &broken, &key, CERTIFICATE, "not valid PEM");
        only_error(&broken, "", "", CA, "not valid PEM");
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        only_error("", nonsense, &key, CERTIFICATE, "not a valid X.509");
        only_error(nonsense, "", "", CA, "cannot be used as an authority");
        let empty_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        only_error("", &certificate, empty_key, KEY, "not supported");
        only_error(
            "",
            &certificate,
            "-----BEGIN PRIVATE KEY-----\n%%\n-----END PRIVATE KEY-----",
            KEY,
            "not valid PEM",
        );
    }

    #[test]
    fn new_certificate_must_be_valid_now() {
        let expired = |params: &mut CertificateParams| params.not_after = rcgen::date_time_ymd(2026, 5, 1);
        let (certificate, key) = pair(expired);
        only_error("", &certificate, &key, CERTIFICATE, "expired on 2026-05-01 00:00 UTC");
        let stored = TlsSettings::new("", &certificate, &key).unwrap();
        let (authority, _) = pair(|_| {});
        let changed = TlsSettings::new(&authority, &certificate, &key).unwrap();
        assert_eq!(changed.check(Some(&stored), NOW.parse().unwrap()), []);
        let (certificate, key) = pair(|params| params.not_before = rcgen::date_time_ymd(2026, 7, 1));
        only_error("", &certificate, &key, CERTIFICATE, "not valid before 2026-07-01");
    }

    #[test]
    fn private_key_is_not_printed() {
        let (certificate, key) = pair(|_| {});
        let shown = format!("{:?}", TlsSettings::new("", &certificate, &key).unwrap());
        assert!(!shown.contains("PRIVATE KEY") && shown.contains('…'), "{shown}");
    }
}
