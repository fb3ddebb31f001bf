//! TLS settings of a webhook: a client certificate (mutual TLS), and authorities whose server certificates are trusted.
//!
//! The checks here need no cryptography, so that the form runs them too. The server also checks certificates and key.

use super::WebhookInput;
use crate::problem::Validator;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Maximum length of each PEM text in bytes.
pub const MAX_PEM: usize = 32 * 1_024;
/// Maximum number of authorities.
pub const MAX_AUTHORITIES: usize = 16;
/// Maximum number of certificates in the chain of a client certificate.
pub const MAX_CHAIN: usize = 8;

const CERTIFICATE: &str = "CERTIFICATE";
/// The labels of private keys without encryption.
const PRIVATE_KEYS: [&str; 3] = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];

/// TLS settings. They replace the stored ones as a whole: `{}` removes them.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct TlsInput {
    /// Certificates of authorities in PEM, at most 16, trusted for this webhook in addition to those of the system. `""` =
    /// none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ca_certificates: String,
    /// The client certificate in PEM, followed by its intermediate certificates, at most 8 in total. `""` = none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_certificate: String,
    /// The private key of the client certificate in PEM (PKCS#8, PKCS#1 or SEC1), not encrypted. RSA of at least 2,048 bits,
    /// ECDSA with P-256 or P-384, or Ed25519. In a PATCH, `""` keeps the stored key if it belongs to the certificate.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_key: String,
}

// A key that was entered in another field must not be printed either.
crate::redacted_debug!(TlsInput {} hides { ca_certificates, client_certificate, client_key });

impl TlsInput {
    /// Whether the settings contain nothing.
    pub fn is_empty(&self) -> bool {
        [&self.ca_certificates, &self.client_certificate, &self.client_key].iter().all(|text| text.trim().is_empty())
    }

    /// Checks the form of the texts. `has_key` is whether a key is stored, which an empty one keeps.
    pub(super) fn check(&self, has_key: bool, validator: &mut Validator) {
        check_certificates(&self.ca_certificates, "tls.ca_certificates", MAX_AUTHORITIES, validator);
        check_certificates(&self.client_certificate, "tls.client_certificate", MAX_CHAIN, validator);
        let has_certificate = !self.client_certificate.trim().is_empty();
        let is_key_empty = self.client_key.trim().is_empty();
        if !is_key_empty && let Err(message) = check_key(&self.client_key) {
            validator.error("tls.client_key", message);
        }
        match (has_certificate, is_key_empty) {
            (true, true) if !has_key => {
                validator.error("tls.client_key", "Enter the private key of the client certificate.");
            }
            (false, false) => validator
                .error("tls.client_certificate", "Enter the certificate of this private key, or remove the key."),
            _ => {}
        }
    }
}

/// TLS settings without the private key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TlsView {
    /// The certificates of the authorities in PEM; `""` = none.
    pub ca_certificates: String,
    /// The client certificate and its chain in PEM; `""` = none.
    pub client_certificate: String,
    /// The contents of `ca_certificates`.
    pub ca_details: Vec<CertificateDetails>,
    /// The contents of `client_certificate`, the client certificate first.
    pub client_details: Vec<CertificateDetails>,
}

/// The contents of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CertificateDetails {
    /// The subject, e.g. `O=Example, CN=berth`.
    pub subject: String,
    /// The issuer.
    pub issuer: String,
    /// Start of its validity.
    pub valid_from: DateTime<Utc>,
    /// End of its validity.
    pub expires_at: DateTime<Utc>,
    /// The SHA-256 fingerprint in lower-case hex.
    pub sha256: String,
}

impl CertificateDetails {
    /// The certificate in one line, e.g. for the audit log: subject, end of validity and fingerprint.
    pub fn summary(&self) -> String {
        format!("{}, expires {}, SHA-256 {}", self.subject, self.expires_at.format("%Y-%m-%d"), self.sha256)
    }
}

impl TlsView {
    /// The settings, with an empty key, which stands for the stored one.
    pub fn settings(&self) -> TlsInput {
        TlsInput {
            ca_certificates: self.ca_certificates.clone(),
            client_certificate: self.client_certificate.clone(),
            client_key: String::new(),
        }
    }

    /// The client certificate, without its chain.
    pub fn client(&self) -> Option<&CertificateDetails> {
        self.client_details.first()
    }
}

/// Checks that TLS settings fit the other settings of a webhook.
pub(super) fn check(input: &WebhookInput, has_key: bool, is_local: bool, validator: &mut Validator) {
    let Some(tls) = &input.tls else { return };
    if is_local && !tls.is_empty() {
        validator.error("tls", "A local webhook has no TLS settings: its listener sends the requests.");
    } else {
        tls.check(has_key, validator);
    }
}

/// The labels of the PEM blocks of a text, e.g. `CERTIFICATE`.
fn labels(text: &str) -> impl Iterator<Item = &str> {
    text.split("-----BEGIN ").skip(1).filter_map(|rest| rest.split("-----").next())
}

fn is_private_key(label: &str) -> bool {
    label.ends_with("PRIVATE KEY")
}

fn check_certificates(text: &str, field: &str, max: usize, validator: &mut Validator) {
    if text.trim().is_empty() {
        return;
    }
    let count = labels(text).filter(|label| *label == CERTIFICATE).count();
    let other = labels(text).find(|label| *label != CERTIFICATE);
    let message = if labels(text).any(is_private_key) {
        match field {
            "tls.client_certificate" => {
                "This text contains a private key, and certificates are visible. Move the key to its own field, and keep only the certificates."
            }
            _ => "This text contains a private key, which an authority's certificate does not need. Remove it.",
        }
        .to_owned()
    } else if text.len() > MAX_PEM {
        format!("The text is longer than {} KiB. Remove certificates that are not needed.", MAX_PEM / 1_024)
    } else if count > max {
        format!("There are {count} certificates. Enter at most {max}.")
    } else if count > 0 {
        return;
    } else {
        match other {
            Some(label) if label.ends_with("CERTIFICATE REQUEST") => {
                "This is a certificate request (CSR). Enter the certificate that the authority issued for it."
                    .to_owned()
            }
            Some("PKCS7") => {
                "This is a PKCS#7 bundle. Convert it: openssl pkcs7 -in FILE -print_certs -out certificates.pem"
                    .to_owned()
            }
            Some("TRUSTED CERTIFICATE") => {
                "This is OpenSSL's form “TRUSTED CERTIFICATE”. Convert it: openssl x509 -in FILE -out certificate.pem"
                    .to_owned()
            }
            Some(label) => format!("This is no certificate but “{label}”. {PASTE_CERTIFICATE}"),
            None => PASTE_CERTIFICATE.to_owned(),
        }
    };
    validator.error(field, message);
}

const PASTE_CERTIFICATE: &str = "Enter a certificate in PEM, which begins with -----BEGIN CERTIFICATE-----. Convert a binary one: openssl x509 -inform DER -in FILE";

/// Checks the form of a private key.
fn check_key(text: &str) -> Result<(), String> {
    if text.len() > MAX_PEM {
        return Err("This text is too long for a private key. Enter only the key.".to_owned());
    }
    if labels(text).any(|label| label == "ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err("The private key is encrypted with a passphrase. Decrypt it: openssl pkey -in FILE -out key.pem. Berth encrypts the stored key.".to_owned());
    }
    let keys = labels(text).filter(|label| PRIVATE_KEYS.contains(label)).count();
    match keys {
        _ if labels(text).any(|label| label == CERTIFICATE) => {
            Err("This text contains a certificate. Move it to the client certificate, and enter only the key here."
                .to_owned())
        }
        1 => Ok(()),
        2.. => Err("There is more than one private key. Enter only that of the client certificate.".to_owned()),
        _ => Err(match labels(text).next() {
            Some("OPENSSH PRIVATE KEY") => {
                "This is a key in OpenSSH's form. Convert it: ssh-keygen -p -m PKCS8 -f FILE".to_owned()
            }
            Some(label) if label.ends_with("PUBLIC KEY") => {
                "This is a public key. Enter the private key of the client certificate.".to_owned()
            }
            _ => "Enter a private key in PEM, which begins with -----BEGIN PRIVATE KEY-----.".to_owned(),
        }),
    }
}

/// The certificates of a text in a canonical form: lines of 64 characters, and nothing besides them. Two texts with the same
/// certificates are equal in this form.
pub fn normalized_certificates(text: &str) -> String {
    let mut normalized = String::with_capacity(text.len());
    for block in text.split("-----BEGIN CERTIFICATE-----").skip(1) {
        let body: Vec<char> =
            block.split("-----END").next().unwrap_or_default().chars().filter(|c| !c.is_whitespace()).collect();
        normalized.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in body.chunks(64) {
            normalized.extend(line);
            normalized.push('\n');
        }
        normalized.push_str("-----END CERTIFICATE-----\n");
    }
    normalized
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(label: &str) -> String {
        format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n")
    }

    fn error(tls: &TlsInput, has_key: bool, field: &str) -> String {
        let mut validator = Validator::new();
        tls.check(has_key, &mut validator);
        let problem = validator.finish().unwrap_err();
        problem.message_for(field).unwrap_or_else(|| panic!("{field}: {problem:?}")).to_owned()
    }

    #[test]
    fn misplaced_texts_name_their_remedy() {
        let certificate = |text: String| TlsInput { client_certificate: text, ..TlsInput::default() };
        let key = |text: String| TlsInput { client_key: text, ..certificate(pem("CERTIFICATE")) };
        for (text, expected) in [
            (pem("CERTIFICATE") + &pem("PRIVATE KEY"), "Move the key"),
            (pem("ENCRYPTED PRIVATE KEY"), "private key"),
            (pem("CERTIFICATE REQUEST"), "certificate request"),
            (pem("PKCS7"), "openssl pkcs7"),
            (pem("PUBLIC KEY"), "“PUBLIC KEY”"),
            ("MIIB".to_owned(), "BEGIN CERTIFICATE"),
            (pem("CERTIFICATE").repeat(9), "at most 8"),
            (" ".repeat(MAX_PEM) + &pem("CERTIFICATE"), "32 KiB"),
        ] {
            assert!(error(&certificate(text), true, "tls.client_certificate").contains(expected), "{expected}");
        }
        for (text, expected) in [
            (pem("CERTIFICATE"), "contains a certificate"),
            (pem("ENCRYPTED PRIVATE KEY"), "openssl pkey"),
            (pem("RSA PRIVATE KEY").replace("AAAA", "Proc-Type: 4,ENCRYPTED\n\nAAAA"), "openssl pkey"),
            (pem("OPENSSH PRIVATE KEY"), "ssh-keygen"),
            (pem("PUBLIC KEY"), "public key"),
            (pem("PRIVATE KEY").repeat(2), "more than one"),
            ("secret".to_owned(), "BEGIN PRIVATE KEY"),
        ] {
            assert!(error(&key(text), true, "tls.client_key").contains(expected), "{expected}");
        }
        assert!(error(&key(String::new()), false, "tls.client_key").contains("Enter the private key"));
        let alone = TlsInput { client_key: pem("EC PRIVATE KEY"), ..TlsInput::default() };
        assert!(error(&alone, true, "tls.client_certificate").contains("remove the key"));
    }

    #[test]
    fn complete_settings_are_accepted() {
        let tls = TlsInput {
            ca_certificates: pem("CERTIFICATE").repeat(2),
            client_certificate: pem("CERTIFICATE"),
            client_key: pem("EC PARAMETERS") + &pem("EC PRIVATE KEY"),
        };
        let mut validator = Validator::new();
        tls.check(false, &mut validator);
        TlsInput { client_key: String::new(), ..tls }.check(true, &mut validator);
        TlsInput::default().check(false, &mut validator);
        validator.finish().unwrap();
    }

    #[test]
    fn certificates_are_equal_in_canonical_form() {
        let long = "A".repeat(100);
        let one = format!("Bag Attributes\n-----BEGIN CERTIFICATE-----\r\n{long}\r\n-----END CERTIFICATE-----");
        let other =
            format!("-----BEGIN CERTIFICATE-----\n{}\n{}\n-----END CERTIFICATE-----\n\n", &long[..64], &long[64..]);
        assert_eq!(normalized_certificates(&one), normalized_certificates(&other));
        assert_eq!(normalized_certificates(&(one + &other)).matches("BEGIN CERTIFICATE").count(), 2);
        assert_eq!(normalized_certificates("nothing"), "");
    }
}
