//! Diagnoses of TLS failures: certificates and handshakes.

use super::diagnosis;
use domain::delivery::{Diagnosis, DiagnosisCode};
use rustls::{AlertDescription, CertificateError as Certificate, Error};

/// Diagnoses an error of the TLS library.
pub(super) fn of_tls(error: &Error, host: &str) -> Diagnosis {
    match error {
        Error::InvalidCertificate(certificate) => of_certificate(certificate, host),
        Error::InvalidMessage(_) => diagnosis(
            DiagnosisCode::TlsFailed,
            format!("{host} does not use TLS on that port."),
            "Check the port, and whether the service accepts only http://.",
        ),
        Error::AlertReceived(AlertDescription::CertificateRequired) => diagnosis(
            DiagnosisCode::TlsFailed,
            format!("{host} requires a client certificate, which Berth does not have."),
            "Turn off client certificates (mutual TLS) for this URL, and verify the signature of the requests instead.",
        ),
        Error::AlertReceived(AlertDescription::UnrecognisedName) => diagnosis(
            DiagnosisCode::TlsFailed,
            format!("{host} does not serve this host name over TLS (alert unrecognized_name)."),
            "Check the host name, and the host names for which the server or its proxy is configured.",
        ),
        _ => diagnosis(
            DiagnosisCode::TlsFailed,
            format!("The TLS handshake with {host} failed: {error}."),
            "Your service must offer TLS 1.2 or 1.3 with a common cipher suite.",
        ),
    }
}

/// Diagnoses a connection that closed during the handshake.
pub(super) fn of_interrupted_handshake(host: &str) -> Diagnosis {
    diagnosis(
        DiagnosisCode::TlsFailed,
        format!("{host} closed the connection during the TLS handshake."),
        "Check that the port uses TLS and that the server has a certificate for this host name. See the log of the server or its proxy.",
    )
}

fn of_certificate(error: &Certificate, host: &str) -> Diagnosis {
    let certificate = |message: String, hint: &str| diagnosis(DiagnosisCode::CertificateInvalid, message, hint);
    match error {
        Certificate::Expired | Certificate::ExpiredContext { .. } => certificate(
            format!("The certificate of {host} has expired."),
            "Renew the certificate, then restart or reload your service.",
        ),
        Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => certificate(
            format!("The certificate of {host} is not valid yet."),
            "Check the certificate's dates and the clocks of both machines.",
        ),
        Certificate::NotValidForNameContext { presented, .. } if presented.is_empty() => certificate(
            format!("The certificate of {host} has no subject alternative name (SAN)."),
            "Issue it with its host name as a SAN, e.g. openssl req -x509 -addext subjectAltName=DNS:HOST. The common name (CN) is not used.",
        ),
        Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => certificate(
            format!("The certificate of {host} is issued for another name{}.", presented_names(error)),
            "Use the host name of the certificate, or get a certificate for this name.",
        ),
        Certificate::UnknownIssuer => certificate(
            format!("The certificate of {host} is signed by an authority that Berth does not trust."),
            "Serve the whole chain with its intermediate certificates. The operator of Berth must install a self-signed or internal authority on its machine.",
        ),
        Certificate::Revoked => certificate(format!("The certificate of {host} is revoked."), "Get a new certificate."),
        Certificate::InvalidPurpose | Certificate::InvalidPurposeContext { .. } => certificate(
            format!("The certificate of {host} is not for servers."),
            "Issue it with the extended key usage serverAuth.",
        ),
        Certificate::Other(other) => of_webpki(other.0.downcast_ref(), host),
        _ => certificate(format!("The certificate of {host} is not valid: {error}."), INSPECT),
    }
}

/// The remedy for rare errors.
const INSPECT: &str = "Check it with: openssl s_client -connect HOST:443 -servername HOST";

/// Diagnoses an error that only the certificate verifier knows.
fn of_webpki(error: Option<&webpki::Error>, host: &str) -> Diagnosis {
    let (message, hint) = match error {
        Some(webpki::Error::CaUsedAsEndEntity) => (
            format!("The certificate of {host} is that of an authority (CA:TRUE), which cannot identify a server."),
            "Issue a server certificate with basicConstraints=CA:FALSE. A self-signed one: openssl req -x509 -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:HOST. Trusting the authority does not help.",
        ),
        Some(webpki::Error::EndEntityUsedAsCa) => (
            format!("The certificate of {host} is signed by a certificate that is not an authority (CA:FALSE)."),
            "Issue the signing certificate with basicConstraints=CA:TRUE, or let an authority sign the server's certificate.",
        ),
        Some(webpki::Error::UnsupportedCertVersion) => (
            format!("The certificate of {host} has X.509 version 1."),
            "Issue it as version 3: with extensions, at least its host name as a subject alternative name (SAN).",
        ),
        Some(error) => (format!("The certificate of {host} is not valid: {error}."), INSPECT),
        None => (format!("The certificate of {host} is not valid."), INSPECT),
    };
    diagnosis(DiagnosisCode::CertificateInvalid, message, hint)
}

/// The first names of a certificate, in parentheses. The verifier presents them as `DnsName("a.example")`.
fn presented_names(error: &Certificate) -> String {
    let Certificate::NotValidForNameContext { presented, .. } = error else { return String::new() };
    let names: Vec<&str> = presented.iter().take(3).map(|name| name.split('"').nth(1).unwrap_or(name)).collect();
    let more = if presented.len() > names.len() { ", …" } else { "" };
    format!(" ({}{more})", names.join(", "))
}
