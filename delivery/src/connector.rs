//! The connector of the HTTP client: name resolution, SSRF check, connection attempts and TLS.

use crate::certificate::Certificates;
use crate::connection::Connection;
use crate::happy_eyeballs::connect_any;
use crate::ssrf::{self, BlockedAddress};
use crate::timing;
use crate::tls::{TlsSettings, tls_config_with};
use domain::endpoint::UrlPolicy;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{fmt, io};
use tokio_rustls::TlsConnector;

/// The reason why no connection was established.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// Every address of the host is blocked.
    Blocked(BlockedAddress),
    /// The URL is not `https://`, which the policy requires.
    HttpsRequired {
        /// The host name.
        host: String,
    },
    /// The host name has no address.
    Unresolved {
        /// The host name.
        name: String,
    },
    /// No address accepted.
    Tcp(io::Error),
    /// The TLS handshake failed.
    Tls(io::Error),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blocked(blocked) => blocked.fmt(f),
            Self::HttpsRequired { host } => write!(f, "{host} is not called with https"),
            Self::Unresolved { name } => write!(f, "{name} does not resolve"),
            Self::Tcp(error) => write!(f, "connecting failed: {error}"),
            Self::Tls(error) => write!(f, "the TLS handshake failed: {error}"),
        }
    }
}

impl std::error::Error for ConnectError {}

/// Connects to hosts that the policy allows. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connector {
    policy: Arc<UrlPolicy>,
    tls: TlsConnector,
    /// The trusted authorities without those of a webhook.
    roots: Arc<rustls::RootCertStore>,
    pub(crate) certificates: Certificates,
    /// The addresses of every host name in tests, which can change between two connections.
    #[cfg(test)]
    pub(crate) fixed_addresses: Option<Arc<parking_lot::Mutex<Vec<SocketAddr>>>>,
}

impl Connector {
    /// A connector that trusts these authorities.
    ///
    /// # Errors
    /// A sentence for the operator when TLS cannot be configured.
    pub(crate) fn new(policy: UrlPolicy, roots: rustls::RootCertStore) -> Result<Self, String> {
        let roots = Arc::new(roots);
        Ok(Self {
            policy: Arc::new(policy),
            tls: Arc::new(tls_config_with(roots.clone())?).into(),
            roots,
            certificates: Certificates::default(),
            #[cfg(test)]
            fixed_addresses: None,
        })
    }

    /// The same connector with the TLS settings of a webhook.
    ///
    /// # Errors
    /// A sentence if the settings cannot be used.
    pub(crate) fn with_settings(&self, settings: &TlsSettings) -> Result<Self, String> {
        Ok(Self { tls: Arc::new(settings.client_config(&self.roots)?).into(), ..self.clone() })
    }

    /// The same connector, which makes a full handshake for each connection: every step is timed, and the server presents its
    /// current certificate.
    pub(crate) fn without_resumption(&self) -> Self {
        let mut tls = rustls::ClientConfig::clone(self.tls.config());
        tls.resumption = rustls::client::Resumption::disabled();
        Self { tls: Arc::new(tls).into(), ..self.clone() }
    }

    async fn connect(&self, uri: &Uri) -> Result<Connection, ConnectError> {
        timing::mark_connect_started();
        let is_https = uri.scheme() == Some(&http::uri::Scheme::HTTPS);
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        // Registration checks this too. A webhook can be older than the setting, or come from another instance.
        if !is_https && !self.policy.allow_http {
            return Err(ConnectError::HttpsRequired { host: host.to_owned() });
        }
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let addresses = ssrf::allowed(self.resolve(host, port).await?, &self.policy).map_err(ConnectError::Blocked)?;
        let stream = connect_any(addresses).await.map_err(ConnectError::Tcp)?;
        let connection = if is_https {
            timing::mark_tls_started();
            let name = ServerName::try_from(host.to_owned())
                .map_err(|_| ConnectError::Unresolved { name: host.to_owned() })?;
            let stream = self.tls.connect(name, stream).await.map_err(|error| {
                self.certificates.record_failure(host, port, &error);
                ConnectError::Tls(error)
            })?;
            let session = stream.get_ref().1;
            // A resumed session has the certificate of an earlier connection.
            if session.handshake_kind() != Some(rustls::HandshakeKind::Resumed) {
                self.certificates.record(host, port, session.peer_certificates());
            }
            Connection::new(stream)
        } else {
            Connection::new(stream)
        };
        timing::mark_connected();
        Ok(connection)
    }

    /// The addresses of a host: its own if it is an address, otherwise those that the system's resolver finds.
    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        #[cfg(test)]
        if let Some(addresses) = &self.fixed_addresses {
            return Ok(addresses.lock().clone());
        }
        let started = std::time::Instant::now();
        let found = tokio::net::lookup_host((host, port)).await;
        timing::mark_dns(started.elapsed());
        let found: Vec<SocketAddr> = found.map(Iterator::collect).unwrap_or_default();
        if found.is_empty() {
            return Err(ConnectError::Unresolved { name: host.to_owned() });
        }
        Ok(found)
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Connection>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect(&uri).await.map(TokioIo::new) })
    }
}
