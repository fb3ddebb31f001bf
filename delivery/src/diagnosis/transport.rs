//! Diagnoses of failures before a complete response: URL, token, DNS, connection, TLS, time limit.

use super::{Failure, Phase, diagnosis};
use crate::ssrf::{BlockedAddress, Unresolved};
use domain::delivery::{Diagnosis, DiagnosisCode};
use std::error::Error;
use std::time::Duration;

/// Diagnoses an exchange without a complete response.
pub(crate) fn of_failure(failure: &Failure, url: &str) -> Diagnosis {
    match failure {
        Failure::InvalidUrl => diagnosis(
            DiagnosisCode::DnsFailed,
            "The endpoint URL is not valid.",
            "Edit the webhook and correct the endpoint URL.",
        ),
        Failure::Client(message) => diagnosis(
            DiagnosisCode::TlsFailed,
            message.clone(),
            "Contact the operator of Berth: the server log contains the details.",
        ),
        Failure::BlockedAddress(blocked) => of_blocked_address(blocked),
        Failure::Token(message) => diagnosis(
            DiagnosisCode::TokenFailed,
            message.clone(),
            "Check the token URL, client id, client secret, scope and audience in the webhook's OAuth 2.0 settings.",
        ),
        Failure::TokenTransport(error) => {
            let cause = of_transport(error, "the token endpoint");
            if cause.code == DiagnosisCode::AddressNotAllowed {
                return cause;
            }
            diagnosis(
                DiagnosisCode::TokenFailed,
                format!("The OAuth token could not be fetched: {}", lower_first(&cause.message)),
                "Check the token URL, and that its server is reachable from Berth.",
            )
        }
        Failure::Transport(error) => of_transport(error, &host(url)),
        Failure::TimedOut { phase, limit } => of_timeout(*phase, *limit),
    }
}

fn of_timeout(phase: Phase, limit: Duration) -> Diagnosis {
    let (message, hint) = match phase {
        Phase::Token => (
            "The OAuth token endpoint did not respond",
            "Check the token URL and its server. The request was not sent without a token.",
        ),
        Phase::Connecting => (
            "No connection was established",
            "Check that the service is running, that host and port are correct, and that its firewall accepts connections from Berth.",
        ),
        Phase::Waiting => (
            "The request was sent, but no response came",
            "Respond within the limit: accept the work with 202 at once, then report progress to status_url.",
        ),
        Phase::Reading => (
            "The response started, but its body did not end",
            "Send the whole response within the limit: respond briefly and do the work afterwards.",
        ),
    };
    diagnosis(DiagnosisCode::TimedOut, format!("{message} within {} seconds.", limit.as_secs_f64()), hint)
}

fn of_blocked_address(blocked: &BlockedAddress) -> Diagnosis {
    diagnosis(
        DiagnosisCode::AddressNotAllowed,
        format!("{} is a {} address, which Berth does not call.", blocked.address, blocked.kind),
        format!(
            "Use a public address. If this address is intended, the operator of Berth can allow its network, for example BERTH_ALLOW_NETWORKS={}/{}.",
            blocked.address,
            if blocked.address.is_ipv4() { 32 } else { 128 }
        ),
    )
}

fn of_transport(error: &(dyn Error + 'static), host: &str) -> Diagnosis {
    if let Some(blocked) = find_source::<BlockedAddress>(error) {
        return of_blocked_address(blocked);
    }
    if let Some(unresolved) = find_source::<Unresolved>(error) {
        return diagnosis(
            DiagnosisCode::DnsFailed,
            format!("The host name {} does not resolve to an address.", unresolved.name),
            "Check the host name for typing errors, and that its DNS record exists and is public.",
        );
    }
    if let Some(tls) = find_source::<rustls::Error>(error) {
        return of_tls(tls, host);
    }
    if let Some(http) = find_source::<hyper::Error>(error)
        && (http.is_parse() || http.is_parse_status())
    {
        return diagnosis(
            DiagnosisCode::NotHttp,
            format!("{host} did not send an HTTP response."),
            "Check the port, and whether the URL should start with https:// instead of http:// (or the reverse).",
        );
    }
    find_source::<std::io::Error>(error).and_then(|io| of_io(io, host)).unwrap_or_else(|| {
        diagnosis(
            DiagnosisCode::ConnectionFailed,
            format!("The connection to {host} broke before the response was complete."),
            "See your service's log for a crash or restart at this time, and check proxies and load balancers in between.",
        )
    })
}

/// The diagnosis of an I/O error with a known cause.
fn of_io(error: &std::io::Error, host: &str) -> Option<Diagnosis> {
    use std::io::ErrorKind;
    let diagnosis = match error.kind() {
        ErrorKind::ConnectionRefused => diagnosis(
            DiagnosisCode::ConnectionRefused,
            format!("{host} refused the connection: nothing listens on that port."),
            "Start your service, and check the port in the endpoint URL. A service in a container must listen on 0.0.0.0 and publish its port.",
        ),
        ErrorKind::TimedOut => diagnosis(
            DiagnosisCode::ConnectionFailed,
            format!("The connection to {host} timed out."),
            "Check that the host is running, and that its firewall accepts connections from Berth.",
        ),
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => diagnosis(
            DiagnosisCode::ConnectionFailed,
            format!("There is no network route to {host}."),
            "Check the address, and the network between Berth and your service.",
        ),
        _ => return None,
    };
    Some(diagnosis)
}

fn of_tls(error: &rustls::Error, host: &str) -> Diagnosis {
    use rustls::CertificateError as C;
    let certificate = |message: String, hint: &str| diagnosis(DiagnosisCode::CertificateInvalid, message, hint);
    match error {
        rustls::Error::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => certificate(
            format!("The certificate of {host} has expired."),
            "Renew the certificate, then restart or reload your service.",
        ),
        rustls::Error::InvalidCertificate(C::NotValidYet | C::NotValidYetContext { .. }) => certificate(
            format!("The certificate of {host} is not valid yet."),
            "Check the certificate's dates and the clocks of both machines.",
        ),
        rustls::Error::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. }) => certificate(
            format!("The certificate of {host} is issued for another name."),
            "Use the host name of the certificate, or get a certificate for this name.",
        ),
        rustls::Error::InvalidCertificate(C::UnknownIssuer) => certificate(
            format!("The certificate of {host} is signed by an authority that Berth does not trust."),
            "Serve the whole chain with its intermediate certificates. The operator of Berth must install a self-signed or internal authority on its machine.",
        ),
        rustls::Error::InvalidCertificate(C::Revoked) => {
            certificate(format!("The certificate of {host} is revoked."), "Get a new certificate.")
        }
        rustls::Error::InvalidCertificate(_) => certificate(
            format!("The certificate of {host} is not valid."),
            "Check it with: openssl s_client -connect HOST:443 -servername HOST",
        ),
        rustls::Error::InvalidMessage(_) => diagnosis(
            DiagnosisCode::TlsFailed,
            format!("{host} does not use TLS on that port."),
            "Check the port, and whether the service accepts only http://.",
        ),
        _ => diagnosis(
            DiagnosisCode::TlsFailed,
            format!("The TLS handshake with {host} failed."),
            "Your service must offer TLS 1.2 or 1.3 with a common cipher suite.",
        ),
    }
}

/// Finds an error of type `T` in the chain of sources, also inside `io::Error`s, whose `source` skips the wrapped
/// error.
fn find_source<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        if let Some(inner) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref)
            && let Some(found) = find_source::<T>(inner)
        {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn host(url: &str) -> String {
    url::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_else(|| "the host".to_owned())
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().collect::<String>() + letters.as_str())
}
