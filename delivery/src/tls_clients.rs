//! The HTTP clients of TLS settings: one set for each, so that a connection that one client certificate has authenticated never
//! carries the requests of another webhook.

use crate::client::Http;
use crate::tls::TlsSettings;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Maximum number of settings whose clients are kept. Beyond it, those used least recently are dropped.
const MAX_SETTINGS: usize = 256;
/// Time after which unused clients are dropped, so that replaced keys do not stay in memory.
const UNUSED_AFTER: Duration = Duration::from_secs(3_600);

/// The HTTP clients of one set of settings, and the time of their last use.
struct Entry {
    http: Arc<Http>,
    used: Instant,
}

/// The HTTP clients of TLS settings.
#[derive(Default)]
pub(crate) struct TlsClients {
    entries: Mutex<HashMap<Arc<TlsSettings>, Entry>>,
}

impl TlsClients {
    /// The clients of some settings, derived from those without settings.
    ///
    /// # Errors
    /// A sentence if the settings cannot be used.
    pub(crate) fn get(&self, settings: &Arc<TlsSettings>, base: &Http) -> Result<Arc<Http>, String> {
        self.get_at(settings, base, Instant::now())
    }

    fn get_at(&self, settings: &Arc<TlsSettings>, base: &Http, now: Instant) -> Result<Arc<Http>, String> {
        if let Some(entry) = self.entries.lock().get_mut(settings) {
            entry.used = now;
            return Ok(entry.http.clone());
        }
        // Without the lock: parsing keys takes up to a millisecond.
        let http = Arc::new(base.with_settings(settings)?);
        let mut entries = self.entries.lock();
        entries.retain(|_, entry| now.saturating_duration_since(entry.used) < UNUSED_AFTER);
        if entries.len() >= MAX_SETTINGS
            && let Some(oldest) = entries.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone())
        {
            entries.remove(&oldest);
        }
        // A concurrent call may have inserted the same settings; its connections are kept.
        let entry = entries.entry(settings.clone()).or_insert(Entry { http, used: now });
        Ok(entry.http.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::Connector;
    use domain::endpoint::UrlPolicy;
    use http::HeaderValue;

    fn settings() -> Arc<TlsSettings> {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
        TlsSettings::new("", &certificate.pem(), &key.serialize_pem()).unwrap()
    }

    #[test]
    fn clients_are_shared_by_equal_settings_and_dropped_when_unused() {
        let connector = Connector::new(UrlPolicy::default(), rustls::RootCertStore::empty()).unwrap();
        let base = Http::new(connector, HeaderValue::from_static("test"), Duration::from_secs(1));
        let clients = TlsClients::default();
        let (one, other) = (settings(), settings());
        let start = Instant::now();
        let first = clients.get_at(&one, &base, start).unwrap();
        let copy = TlsSettings::new("", one.client_certificate(), one.client_key()).unwrap();
        assert!(Arc::ptr_eq(&first, &clients.get_at(&copy, &base, start).unwrap()));
        assert!(!Arc::ptr_eq(&first, &clients.get_at(&other, &base, start).unwrap()));
        let later = start + UNUSED_AFTER;
        clients.get_at(&settings(), &base, later).unwrap();
        assert_eq!(clients.entries.lock().len(), 1);
        let mut newest = settings();
        for n in 0..=MAX_SETTINGS as u64 {
            newest = settings();
            clients.get_at(&newest, &base, later + Duration::from_millis(n)).unwrap();
        }
        let entries = clients.entries.lock();
        assert_eq!(entries.len(), MAX_SETTINGS);
        assert!(entries.contains_key(&newest));
    }
}
