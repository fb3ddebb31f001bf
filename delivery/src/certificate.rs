//! The certificates of the servers to which this process connected last.

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Maximum number of servers. Beyond it, the record starts again.
const MAX_SERVERS: usize = 1_000;

/// A certificate that a server presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenCertificate {
    /// End of its validity.
    pub expires_at: DateTime<Utc>,
    /// Time since the connection.
    pub age: Duration,
}

/// The end of the validity of each server's certificate. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Certificates {
    servers: Arc<Mutex<HashMap<Server, Record>>>,
}

/// Host name in lower case, and port.
type Server = (String, u16);

/// The end of the validity of a certificate, and the time of the connection.
#[derive(Clone, Copy)]
struct Record {
    expires_at: DateTime<Utc>,
    seen: Instant,
}

impl Certificates {
    /// Records the certificate of a new connection. One that cannot be parsed is ignored.
    pub(crate) fn record(&self, host: &str, port: u16, chain: Option<&[CertificateDer<'_>]>) {
        if let Some(expires_at) = chain.and_then(|chain| not_after(chain.first()?)) {
            self.insert(host, port, expires_at);
        }
    }

    /// Records an expired certificate, for which a handshake failed.
    pub(crate) fn record_failure(&self, host: &str, port: u16, error: &io::Error) {
        let error = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::InvalidCertificate(rustls::CertificateError::ExpiredContext { not_after, .. })) =
            error
            && let Some(expires_at) = i64::try_from(not_after.as_secs()).ok().and_then(at)
        {
            self.insert(host, port, expires_at);
        }
    }

    fn insert(&self, host: &str, port: u16, expires_at: DateTime<Utc>) {
        let mut servers = self.servers.lock();
        if servers.len() >= MAX_SERVERS {
            servers.clear();
        }
        servers.insert((host.to_ascii_lowercase(), port), Record { expires_at, seen: Instant::now() });
    }

    /// The certificate of a server.
    pub(crate) fn get(&self, host: &str, port: u16) -> Option<SeenCertificate> {
        let servers = self.servers.lock();
        let Record { expires_at, seen } = *servers.get(&(host.to_ascii_lowercase(), port))?;
        Some(SeenCertificate { expires_at, age: seen.elapsed() })
    }
}

/// The time of a Unix timestamp.
pub(crate) fn at(seconds: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(seconds, 0)
}

/// The end of the validity of a certificate.
pub(crate) fn not_after(certificate: &CertificateDer<'_>) -> Option<DateTime<Utc>> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    at(certificate.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_of_validity_is_read_from_the_first_certificate() {
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2030, 5, 17);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let certificates = Certificates::default();
        certificates.record("A.example", 443, Some(&[certificate.der().clone()]));
        let expires_at: DateTime<Utc> = "2030-05-17T00:00:00Z".parse().unwrap();
        assert_eq!(certificates.get("a.example", 443).unwrap().expires_at, expires_at);
        assert_eq!(certificates.get("a.example", 8443), None);
        certificates.record("a.example", 8443, Some(&[CertificateDer::from_slice(b"nonsense")]));
        certificates.record("a.example", 8443, None);
        assert_eq!(certificates.get("a.example", 8443), None);
    }
}
