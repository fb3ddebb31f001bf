//! HTTP clients: TLS trust, SSRF-checked resolution, timing.

use crate::SenderConfig;
use crate::ssrf::SsrfResolver;
use crate::timing::{TimedConnections, TimedSessions};
use std::sync::Arc;
use std::time::Duration;

/// The TLS configuration of all clients: TLS 1.2 and 1.3, Mozilla's roots and those installed on the machine.
///
/// # Errors
/// A sentence for the operator when TLS cannot be configured.
pub fn tls_config() -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    // An internal authority is trusted after the operator has installed it on the machine.
    for certificate in rustls_native_certs::load_native_certs().certs {
        let _ = roots.add(certificate);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be configured: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.resumption = rustls::client::Resumption::store(Arc::new(TimedSessions::new()));
    Ok(tls)
}

/// Builds a client. It follows no redirects, uses no proxy, and resolves names through the SSRF check.
///
/// # Errors
/// A sentence for the operator when the client cannot be built.
pub(crate) fn build_client(
    config: &SenderConfig,
    policy: &Arc<domain::endpoint::UrlPolicy>,
    tls: &rustls::ClientConfig,
) -> Result<reqwest::Client, String> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .dns_resolver(SsrfResolver { policy: policy.clone() })
        .connector_layer(TimedConnections)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent(&config.user_agent)
        .pool_max_idle_per_host(4_096)
        .pool_idle_timeout(Duration::from_secs(60))
        .tcp_nodelay(true)
        .build()
        .map_err(|error| format!("The HTTP client cannot be built: {error}"))
}
