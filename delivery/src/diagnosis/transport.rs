//! Diagnoses of failures before a complete response: URL, token, DNS, connection, time limit.

use super::{Failure, Phase, diagnosis, head, tls};
use crate::connector::ConnectError;
use crate::ssrf::BlockedAddress;
use crate::tls::TlsFeatures;
use domain::delivery::{Diagnosis, DiagnosisCode};
use std::error::Error;
use std::time::Duration;

/// Diagnoses an exchange without a complete response.
pub(crate) fn of_failure(failure: &Failure, url: &str, features: TlsFeatures) -> Diagnosis {
    of_failure_at(failure, &host(url), features)
}

fn of_failure_at(failure: &Failure, host: &str, features: TlsFeatures) -> Diagnosis {
    match failure {
        Failure::InvalidUrl => diagnosis(
            DiagnosisCode::DnsFailed,
            "The endpoint URL is not valid.",
            "Edit the webhook and correct the endpoint URL.",
        ),
        Failure::TlsSettings(reason) => diagnosis(
            DiagnosisCode::TlsFailed,
            format!("The TLS settings of the webhook cannot be used: {reason}. Nothing was sent."),
            "Edit the webhook, and enter its client certificate, private key and authorities again.",
        ),
        Failure::Transport { error, received } => of_transport(&**error, received, host, features),
        Failure::TimedOut { phase, limit } => of_timeout(*phase, *limit),
    }
}

/// Diagnoses a token request without a complete response.
pub(crate) fn of_token_failure(failure: &Failure, features: TlsFeatures) -> Diagnosis {
    match failure {
        Failure::TimedOut { phase: Phase::Connecting, limit } => diagnosis(
            DiagnosisCode::TimedOut,
            format!(
                "No connection to the OAuth token endpoint was established within {} seconds.",
                limit.as_secs_f64()
            ),
            "Check the token URL, and that the firewall of its server accepts connections from Berth. The request was not sent without a token.",
        ),
        Failure::TimedOut { limit, .. } => of_timeout(Phase::Token, *limit),
        failure => {
            let cause = of_failure_at(failure, "the token endpoint", features);
            if matches!(cause.code, DiagnosisCode::AddressNotAllowed | DiagnosisCode::HttpsRequired) {
                return cause;
            }
            let is_tls = matches!(cause.code, DiagnosisCode::TlsFailed | DiagnosisCode::CertificateInvalid);
            let hint = if is_tls {
                cause.hint.as_str()
            } else {
                "Check the token URL, and that its server is reachable from Berth."
            };
            diagnosis(
                DiagnosisCode::TokenFailed,
                format!("The OAuth token could not be fetched: {}", lower_first(&cause.message)),
                hint,
            )
        }
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
        Phase::Head => (
            "The response started, but its headers did not end",
            "Send the whole response within the limit. An empty line must follow the headers.",
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

fn of_transport(error: &(dyn Error + 'static), received: &[u8], host: &str, features: TlsFeatures) -> Diagnosis {
    match find_source::<ConnectError>(error) {
        Some(ConnectError::Blocked(blocked)) => return of_blocked_address(blocked),
        Some(ConnectError::HttpsRequired { host }) => {
            return diagnosis(
                DiagnosisCode::HttpsRequired,
                format!(
                    "The URL of {host} begins with http://, which Berth calls only in development. Nothing was sent."
                ),
                "Edit the webhook and enter an https:// URL. Berth does not send events and credentials without TLS.",
            );
        }
        Some(ConnectError::Unresolved { name }) => {
            return diagnosis(
                DiagnosisCode::DnsFailed,
                format!("The host name {name} does not resolve to an address."),
                "Check the host name for typing errors, and that its DNS record exists and is public.",
            );
        }
        Some(ConnectError::Tcp(error)) => {
            return of_io(error, host).unwrap_or_else(|| {
                diagnosis(
                    DiagnosisCode::ConnectionFailed,
                    format!("No connection to {host} was established: {error}."),
                    "Check that the host is running, and that its firewall accepts connections from Berth.",
                )
            });
        }
        Some(ConnectError::Tls(error)) => {
            return match find_source::<rustls::Error>(error) {
                Some(tls) => tls::of_tls(tls, host, features),
                None => tls::of_interrupted_handshake(host),
            };
        }
        None => {}
    }
    // With TLS 1.3 a server rejects a handshake after the client has finished it.
    if let Some(tls) = find_source::<rustls::Error>(error) {
        return tls::of_tls(tls, host, features);
    }
    let http = find_source::<hyper::Error>(error);
    if http.is_some_and(|http| http.is_parse() || http.is_parse_status()) {
        return head::of_malformed(received, host);
    }
    let io = find_source::<std::io::Error>(error);
    if io.is_some_and(|io| matches!(io.kind(), std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData)) {
        return diagnosis(
            DiagnosisCode::NotHttp,
            format!("{host} sent a body with an invalid chunk (Transfer-Encoding: chunked)."),
            "Correct the chunked encoding in your service or its proxy, or send Content-Length instead.",
        );
    }
    io.and_then(|io| of_io(io, host)).unwrap_or_else(|| {
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

/// The host of a URL, for messages.
fn host(url: &str) -> String {
    url::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_else(|| "the host".to_owned())
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().collect::<String>() + letters.as_str())
}
