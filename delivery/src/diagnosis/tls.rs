//! Diagnoses of TLS failures: certificates and handshakes.

use super::diagnosis;
use crate::tls::TlsFeatures;
use domain::delivery::{Diagnosis, DiagnosisCode};
use rustls::{AlertDescription as Alert, CertificateError as Certificate, Error};

/// Diagnoses an error of the TLS library.
pub(super) fn of_tls(error: &Error, host: &str, features: TlsFeatures) -> Diagnosis {
    match error {
        Error::InvalidCertificate(certificate) => of_certificate(certificate, host, features),
        Error::InvalidMessage(_) => diagnosis(
            DiagnosisCode::TlsFailed,
            format!("{host} does not use TLS on that port."),
            "Check the port, and whether the service accepts only http://.",
        ),
        Error::AlertReceived(Alert::HandshakeFailure) => diagnosis(
            DiagnosisCode::TlsFailed,
            format!("{host} ended the TLS handshake (alert handshake_failure)."),
            match features.has_certificate {
                true => {
                    "Check the log of the server or its proxy: it may not accept the client certificate, or it has no cipher suite in common with TLS 1.2 and 1.3."
                }
                false => {
                    "Check the log of the server or its proxy. If it requires a client certificate, enter one in the TLS settings of the webhook. Otherwise, it must offer TLS 1.2 or 1.3 with a common cipher suite."
                }
            },
        ),
        Error::AlertReceived(alert) if is_about_client_certificate(*alert) => {
            of_client_certificate(*alert, host, features.has_certificate)
        }
        Error::AlertReceived(Alert::UnrecognisedName) => diagnosis(
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

/// Whether a server sends an alert only because of the certificate of the client.
fn is_about_client_certificate(alert: Alert) -> bool {
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
    )
}

/// Diagnoses a server that requires a client certificate, or rejects that of the webhook.
fn of_client_certificate(alert: Alert, host: &str, has_certificate: bool) -> Diagnosis {
    if !has_certificate {
        return diagnosis(
            DiagnosisCode::TlsFailed,
            format!("{host} requires a client certificate (mutual TLS), and the webhook has none."),
            "Enter a client certificate and its private key in the TLS settings of the webhook (API: tls.client_certificate, tls.client_key; berth conform: --client-cert, --client-key).",
        );
    }
    let (reason, hint) = match alert {
        Alert::CertificateRequired | Alert::NoCertificate => (
            "does not accept the kind of key of the client certificate, so none was presented",
            "Get a client certificate with another kind of key, e.g. ECDSA with P-256 or RSA, or allow its signature algorithm in the server.",
        ),
        Alert::UnknownCA => (
            "does not trust the authority that issued the client certificate (alert unknown_ca)",
            "Add the issuing authority to the trusted client authorities of the server, e.g. ssl_client_certificate in nginx, or enter a certificate that a trusted one issued. Intermediate certificates follow the client certificate in its field.",
        ),
        Alert::CertificateExpired => (
            "rejects the client certificate because it has expired (alert certificate_expired)",
            "Enter a new certificate in the TLS settings of the webhook, and check the clocks of both machines.",
        ),
        Alert::CertificateRevoked => (
            "rejects the client certificate because it is revoked (alert certificate_revoked)",
            "Enter a new certificate in the TLS settings of the webhook.",
        ),
        Alert::AccessDenied => (
            "accepts the client certificate, but denies access (alert access_denied)",
            "Permit the subject of the certificate in the server, or enter another certificate.",
        ),
        _ => (
            "rejects the client certificate",
            "Check its issuer, its dates, and that it is for clients (extended key usage clientAuth). The log of the server or its proxy has the reason.",
        ),
    };
    let detail = match alert {
        Alert::BadCertificate => " (alert bad_certificate)",
        Alert::UnsupportedCertificate => " (alert unsupported_certificate)",
        Alert::CertificateUnknown => " (alert certificate_unknown)",
        _ => "",
    };
    diagnosis(DiagnosisCode::TlsFailed, format!("{host} {reason}{detail}."), hint)
}

fn of_certificate(error: &Certificate, host: &str, features: TlsFeatures) -> Diagnosis {
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
            match features.has_authorities {
                true => {
                    "None of the webhook's own authorities (Custom CA) signed it either. Compare them with the issuer of the certificate, and serve the whole chain with its intermediate certificates."
                }
                false => {
                    "Serve the whole chain with its intermediate certificates. Trust a self-signed certificate or an internal authority in the TLS settings of the webhook (Custom CA), or install it on the machine of Berth."
                }
            },
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
