//! Rules for URLs that Berth may call (docs/contract.md §5).

mod address;

pub use address::classify;

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr};

/// Maximum length of a URL in characters.
pub const MAX_URL: usize = 2_048;

/// The URLs and networks that the operator allows.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct UrlPolicy {
    /// Whether `http://` is accepted (development).
    pub allow_http: bool,
    /// Private networks that webhooks may call.
    pub allow_networks: Vec<Network>,
}

/// An IP network in CIDR notation, e.g. `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Network(IpNet);

impl Network {
    /// Whether the network contains `address`. An IPv4 network also contains the IPv4-mapped IPv6 form.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address) || self.0.contains(&address.to_canonical())
    }

    /// Parses `address/prefix`, or a single address.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        network
            .map(Self)
            .ok_or_else(|| format!("\"{text}\" is not a network. Write it like 10.0.0.0/8, fd00::/8 or 127.0.0.1."))
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl UrlPolicy {
    /// Whether Berth may connect to `address` (docs/contract.md §5).
    ///
    /// # Errors
    /// The kind of the address (`"loopback"`, `"private"`, `"link-local"` …), for the message.
    pub fn may_reach(&self, address: IpAddr) -> Result<(), &'static str> {
        match classify(address) {
            None => Ok(()),
            Some(_) if self.allow_networks.iter().any(|network| network.contains(address)) => Ok(()),
            Some(kind) => Err(kind),
        }
    }
}

/// Checks an endpoint or token URL at registration: https (or allowed http), a host, no user info, no fragment, and at
/// most [`MAX_URL`] characters. The host must not be a blocked address; `localhost` is loopback. White space around the
/// URL is an error.
///
/// # Errors
/// A message for the field.
pub fn check_url(url: &str, policy: &UrlPolicy) -> Result<(), String> {
    if url.is_empty() {
        return Err("Enter a URL, for example https://your-service.com/api/webhook.".into());
    }
    if url.chars().count() > MAX_URL {
        return Err("A URL has at most 2048 characters.".into());
    }
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("Remove spaces, line breaks and control characters from the URL.".into());
    }
    let parsed = url::Url::parse(url).map_err(|_| {
        if url.is_ascii() {
            "This is not a valid URL. Enter the full URL, for example https://your-service.com/api/webhook.".to_owned()
        } else {
            "Enter an international host name in its ASCII form, for example https://xn--bcher-kva.example.".to_owned()
        }
    })?;
    match parsed.scheme() {
        "https" => {}
        "http" if policy.allow_http => {}
        "http" => return Err("Use https://. http:// is accepted only in development.".into()),
        other => return Err(format!("Use https://, not {other}://.")),
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err("Remove the user name and password from the URL; choose an authentication method instead.".into());
    }
    if url.contains('#') {
        return Err("Remove the fragment (from # on); it is never sent.".into());
    }
    if url.contains('\\') {
        return Err("Use / instead of \\ in the URL.".into());
    }
    if parsed.port() == Some(0) {
        return Err("Port 0 cannot be called.".into());
    }
    // Browsers repair https:/host and https:///host. The URL is stored and shown as entered, so it must be valid as
    // entered.
    let after_scheme = url.get(parsed.scheme().len()..).and_then(|rest| rest.strip_prefix("://"));
    if after_scheme.is_none_or(|rest| rest.starts_with('/')) {
        return Err("Enter two slashes before the host, for example https://your-service.com/api/webhook.".into());
    }
    let address = match parsed.host() {
        None => return Err("The URL has no host.".into()),
        Some(url::Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(url::Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        Some(url::Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            if name.is_empty() {
                return Err("The URL has no host.".into());
            }
            (name == "localhost" || name.ends_with(".localhost")).then_some(IpAddr::V4(Ipv4Addr::LOCALHOST))
        }
    };
    if let Some(address) = address
        && let Err(kind) = policy.may_reach(address)
    {
        return Err(format!(
            "{} is a {kind} address, which Berth does not call. Use a public host name, or ask the operator to allow its network (BERTH_ALLOW_NETWORKS).",
            parsed.host_str().unwrap_or_default()
        ));
    }
    Ok(())
}

/// Checks the URL to which a listener forwards (`berth listen`). The form is that of [`check_url`]. Every host and `http://`
/// are allowed, because Berth itself never calls it.
///
/// # Errors
/// A message for the field.
pub fn check_local_url(url: &str) -> Result<(), String> {
    let everything = ["0.0.0.0/0", "::/0"].into_iter().filter_map(|network| Network::parse(network).ok()).collect();
    check_url(url, &UrlPolicy { allow_http: true, allow_networks: everything })
}

/// Whether two URLs have the same scheme, host and port. Invalid URLs have no common origin.
pub fn same_origin(one: &str, other: &str) -> bool {
    let origin = |url: &str| url::Url::parse(url).ok().map(|url| url.origin());
    origin(one).is_some_and(|one| one.is_tuple() && Some(one) == origin(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn invalid_and_blocked_urls_are_rejected() {
        let strict = UrlPolicy::default();
        let open = UrlPolicy { allow_http: true, allow_networks: vec![Network::parse("127.0.0.0/8").unwrap()] };
        assert!(check_url("https://your-service.com/api/webhook", &strict).is_ok());
        assert!(check_url("http://127.0.0.1:8000/api/webhook", &open).is_ok());
        assert!(check_url("http://localhost:8000/api/webhook", &open).is_ok());
        for bad in [
            "",
            "x",
            "/path",
            "file:///etc/passwd",
            "ftp://a.example",
            "http://your-service.com",
            "https://u:p@a.example/",
            "https://a.example/#f",
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:7f00:1]/",
            "https://localhost/",
            "https://api.localhost/",
            "https://localhost./",
            "https://a .example/",
            " https://a.example/",
            "https://a.example/\n",
            "https://169.254.169.254/latest",
            "https://[64:ff9b::a00:1]/",
            "https://a.example\\@b.example/",
            "https://a.example:0/",
            "javascript:alert(1)",
            "https://",
            "https:a.example/",
            "https:/a.example/",
            "https:///a.example/",
        ] {
            assert!(check_url(bad, &strict).is_err(), "{bad}");
        }
        assert!(check_url(&format!("https://a.example/{}", "x".repeat(2_048)), &strict).is_err());
    }

    #[test]
    fn networks_are_parsed_and_contain_mapped_addresses() {
        assert!(Network::parse("10.0.0.0/33").is_err());
        assert!(Network::parse("ten").is_err());
        let one = Network::parse("10.1.2.3").unwrap();
        assert!(one.contains("10.1.2.3".parse().unwrap()) && !one.contains("10.1.2.4".parse().unwrap()));
        assert!(Network::parse("0.0.0.0/0").unwrap().contains("1.2.3.4".parse().unwrap()));
        assert!(Network::parse("127.0.0.0/8").unwrap().contains("::ffff:127.0.0.1".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let _ = check_url(&text, &UrlPolicy::default());
            let _ = Network::parse(&text);
        }
    }
}
