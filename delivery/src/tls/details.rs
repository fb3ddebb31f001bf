//! The contents of certificates.

use super::certificates;
use crate::certificate::{at, not_after};
use chrono::{DateTime, Utc};
use domain::webhook::CertificateDetails;
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use x509_parser::x509::X509Name;

/// Maximum number of characters of a name.
const MAX_NAME: usize = 300;

/// The contents of the certificates of a PEM text, without those that cannot be parsed.
pub fn certificate_details(pem: &str) -> Vec<CertificateDetails> {
    certificates(pem).unwrap_or_default().iter().filter_map(details_of).collect()
}

/// The end of the validity of a client certificate, the first one of a PEM text. `None` if it cannot be parsed.
pub fn client_certificate_expiry(pem: &str) -> Option<DateTime<Utc>> {
    not_after(certificates(pem).ok()?.first()?)
}

/// The contents of a certificate; `None` if it cannot be parsed.
pub(super) fn details_of(certificate: &CertificateDer<'_>) -> Option<CertificateDetails> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let mut sha256 = String::with_capacity(64);
    for byte in Sha256::digest(certificate) {
        let _ = write!(sha256, "{byte:02x}");
    }
    Some(CertificateDetails {
        subject: name(parsed.subject()),
        issuer: name(parsed.issuer()),
        valid_from: at(parsed.validity().not_before.timestamp())?,
        expires_at: at(parsed.validity().not_after.timestamp())?,
        sha256,
    })
}

/// A name for display, which can be empty in a certificate.
fn name(name: &X509Name<'_>) -> String {
    let text: String = name.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_NAME).collect();
    if text.is_empty() { "(no name)".to_owned() } else { text }
}
