//! Address of the client behind reverse proxies.
//!
//! Each proxy appends the address of its own client to `X-Forwarded-For`. A client can send the header too, so only the
//! values that trusted proxies appended count.

use axum::http::HeaderMap;
use domain::endpoint::Network;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The reverse proxies whose `X-Forwarded-For` is used. The default is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TrustedProxies {
    /// No proxy: the client is the peer of the connection.
    #[default]
    None,
    /// This number of proxies in a row. The last one connects from a private or loopback address.
    Hops(u8),
    /// Proxies in these networks, any number in a row.
    Networks(Vec<Network>),
}

impl FromStr for TrustedProxies {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        match text.to_ascii_lowercase().as_str() {
            "" | "false" | "0" => return Ok(Self::None),
            "true" => return Ok(Self::Hops(1)),
            _ => {}
        }
        if let Ok(hops) = text.parse() {
            return Ok(Self::Hops(hops));
        }
        let networks = text.split(',').filter(|network| !network.trim().is_empty()).map(Network::parse);
        networks.collect::<Result<_, _>>().map(Self::Networks).map_err(|message| {
            format!(
                "BERTH_TRUST_PROXY: {message} Or write the number of proxies in a row, `true` for one proxy, or `false`."
            )
        })
    }
}

impl fmt::Display for TrustedProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("false"),
            Self::Hops(hops) => hops.fmt(f),
            Self::Networks(networks) => {
                let networks: Vec<String> = networks.iter().map(Network::to_string).collect();
                f.write_str(&networks.join(","))
            }
        }
    }
}

impl Serialize for TrustedProxies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// In the TOML file the setting is a boolean, a number or a text.
impl<'de> Deserialize<'de> for TrustedProxies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Setting {
            Flag(bool),
            Hops(u8),
            Text(String),
        }
        match Setting::deserialize(deserializer)? {
            Setting::Flag(false) => Ok(Self::None),
            Setting::Flag(true) => Ok(Self::Hops(1)),
            Setting::Hops(hops) => hops.to_string().parse(),
            Setting::Text(text) => text.parse(),
        }
        .map_err(serde::de::Error::custom)
    }
}

impl TrustedProxies {
    /// Whether the peer of a connection can be the last proxy.
    fn trusts_peer(&self, peer: IpAddr) -> bool {
        match self {
            Self::None => false,
            // The number says nothing about the address, but a client that reaches Berth directly is usually public.
            Self::Hops(_) => is_private(peer),
            Self::Networks(networks) => contains(networks, peer),
        }
    }

    /// Address of the client: the last value that no trusted proxy has, or the peer.
    fn client_address(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Option<IpAddr> {
        let peer = peer?;
        if !self.trusts_peer(peer) {
            return Some(peer);
        }
        let mut client = peer;
        for (n, address) in forwarded_addresses(headers).enumerate() {
            // Earlier values are as unreliable as a value that is no address.
            let Some(address) = address else { break };
            client = address;
            let is_proxy = match self {
                Self::None => false,
                Self::Hops(hops) => n + 1 < usize::from(*hops),
                Self::Networks(networks) => contains(networks, address),
            };
            if !is_proxy {
                break;
            }
        }
        Some(client)
    }
}

/// Whether an address is loopback, private, link-local or shared (RFC 6598, e.g. pod networks).
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

fn contains(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// The values of `X-Forwarded-For` from the last to the first; `None` for a value that is no address.
fn forwarded_addresses(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    lines.flat_map(|line| line.to_str().unwrap_or("?").rsplit(',')).map(|value| {
        let value = value.trim();
        let with_port = || value.parse().ok().map(|address: SocketAddr| address.ip());
        value.trim_matches(['[', ']']).parse().ok().or_else(with_port)
    })
}

/// Address of the client for the audit log; `""` if it is unknown.
pub fn client_address(headers: &HeaderMap, peer: Option<SocketAddr>, proxies: &TrustedProxies) -> String {
    let peer = peer.map(|peer| peer.ip().to_canonical());
    proxies.client_address(headers, peer).map(|ip| ip.to_canonical().to_string()).unwrap_or_default()
}

/// Key of the client for limits: an IPv4 address or an IPv6 /64 network. One IPv6 client can use every address of its
/// network.
pub fn client_source(headers: &HeaderMap, peer: Option<SocketAddr>, proxies: &TrustedProxies) -> String {
    // A dual-stack socket reports IPv4 clients as ::ffff:a.b.c.d, which all share one /64.
    let peer = peer.map(|peer| peer.ip().to_canonical());
    match proxies.client_address(headers, peer).map(|ip| ip.to_canonical()) {
        None => String::new(),
        Some(IpAddr::V4(ip)) => ip.to_string(),
        Some(IpAddr::V6(ip)) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn source(lines: &[&str], peer: &str, proxies: &str) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", HeaderValue::from_str(line).unwrap());
        }
        let peer = SocketAddr::new(peer.parse().unwrap(), 4711);
        client_source(&headers, Some(peer), &proxies.parse().unwrap())
    }

    #[test]
    fn forwarded_for_is_ignored_without_trusted_proxy() {
        assert_eq!(source(&["203.0.113.1"], "127.0.0.1", "false"), "127.0.0.1");
        assert_eq!(source(&["203.0.113.1"], "127.0.0.1", "10.0.0.0/8"), "127.0.0.1", "the peer is no trusted proxy");
        assert_eq!(source(&["203.0.113.1"], "198.51.100.7", "true"), "198.51.100.7", "a client connects directly");
    }

    #[test]
    fn each_hop_skips_one_forwarded_for_value() {
        assert_eq!(source(&["203.0.113.1, 203.0.113.2"], "127.0.0.1", "true"), "203.0.113.2");
        assert_eq!(source(&["203.0.113.1", "203.0.113.2, 203.0.113.3"], "127.0.0.1", "1"), "203.0.113.3");
        assert_eq!(source(&["198.51.100.9, 203.0.113.2, 10.0.0.5"], "10.0.0.6", "2"), "203.0.113.2");
        assert_eq!(source(&["203.0.113.2"], "10.0.0.6", "2"), "203.0.113.2", "only one proxy");
        assert_eq!(source(&["203.0.113.1:1234"], "127.0.0.1", "1"), "203.0.113.1");
        assert_eq!(source(&["203.0.113.1", "unknown"], "127.0.0.1", "1"), "127.0.0.1");
        assert_eq!(source(&["unknown, 10.0.0.5"], "127.0.0.1", "2"), "10.0.0.5");
        assert_eq!(source(&[], "127.0.0.1", "1"), "127.0.0.1");
    }

    #[test]
    fn addresses_in_trusted_networks_are_skipped() {
        let proxies = "10.0.0.0/8, 2001:db8:ffff::/48";
        assert_eq!(source(&["198.51.100.9, 203.0.113.2, 10.0.0.5"], "10.0.0.6", proxies), "203.0.113.2");
        assert_eq!(source(&["203.0.113.2, 2001:db8:ffff::7"], "10.0.0.6", proxies), "203.0.113.2");
        assert_eq!(source(&["203.0.113.2, 10.0.0.4, 10.0.0.5"], "::ffff:10.0.0.6", proxies), "203.0.113.2");
        assert_eq!(source(&["10.0.0.4, 10.0.0.5"], "10.0.0.6", proxies), "10.0.0.4", "a client in the network");
        assert_eq!(source(&["203.0.113.2, 192.0.2.1"], "10.0.0.6", proxies), "192.0.2.1", "another proxy is no proxy");
    }

    #[test]
    fn ipv6_clients_are_limited_per_64_network_and_ipv4_clients_per_address() {
        assert_eq!(source(&[], "2001:db8:1:2:3:4:5:6", "false"), "2001:db8:1:2::/64");
        assert_eq!(source(&["2001:db8:1:2:ffff::1"], "::1", "true"), "2001:db8:1:2::/64");
        assert_eq!(source(&["[2001:db8:1:2::1]"], "::1", "true"), "2001:db8:1:2::/64");
        assert_eq!(source(&["[2001:db8:1:2::1]:443"], "::1", "true"), "2001:db8:1:2::/64");
        assert_eq!(source(&[], "2001:db8:1:3::1", "false"), "2001:db8:1:3::/64");
        assert_eq!(source(&[], "::ffff:203.0.113.1", "false"), "203.0.113.1");
    }

    #[test]
    fn setting_is_a_flag_a_number_or_networks() {
        use TrustedProxies::{Hops, None};
        for (text, expected) in [("false", None), ("", None), ("0", None), ("TRUE", Hops(1)), ("3", Hops(3))] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        let networks: TrustedProxies = "10.0.0.0/8,fd00::/8".parse().unwrap();
        assert_eq!(networks.to_string().parse(), Ok(networks));
        for invalid in ["yes", "256", "-1", "10.0.0.0/33", "proxy.internal"] {
            let error = invalid.parse::<TrustedProxies>().unwrap_err();
            assert!(error.contains("BERTH_TRUST_PROXY") && error.contains(invalid), "{error}");
        }
        for (json, expected) in [("true", Hops(1)), ("false", None), ("2", Hops(2)), ("\"2\"", Hops(2))] {
            assert_eq!(serde_json::from_str::<TrustedProxies>(json).unwrap(), expected, "{json}");
        }
    }
}
