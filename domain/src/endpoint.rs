//! Rules for URLs and addresses that Berth may call (docs/contract.md §5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest URL.
pub const MAX_URL: usize = 2_048;

/// What the operator allows.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct UrlPolicy {
    /// Whether `http://` is accepted (development).
    pub allow_http: bool,
    /// Networks (CIDR, e.g. `127.0.0.0/8`) that may be called although private.
    pub allow_networks: Vec<Network>,
}

/// An IP network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Network {
    /// The network's address.
    pub address: IpAddr,
    /// How many leading bits count.
    pub prefix: u8,
}

impl Network {
    /// Whether `address` lies in it; an IPv4 network also holds the IPv4-mapped form.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                same_prefix(u128::from(u32::from(network)) << 96, u128::from(u32::from(address)) << 96, self.prefix)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => same_prefix(network.into(), address.into(), self.prefix),
            (IpAddr::V4(_), IpAddr::V6(address)) => {
                address.to_ipv4_mapped().is_some_and(|inner| self.contains(IpAddr::V4(inner)))
            }
            (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// Reads `address/prefix`, or a single address.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is not a network. Write it like 10.0.0.0/8, fd00::/8 or 127.0.0.1.");
        let (address, prefix) = match text.trim().split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse::<u8>().ok().filter(|p| *p <= bits).ok_or_else(wrong)?,
            None => bits,
        };
        Ok(Self { address, prefix })
    }
}

fn same_prefix(a: u128, b: u128, prefix: u8) -> bool {
    prefix == 0 || (a ^ b) >> (128 - u32::from(prefix.min(128))) == 0
}

impl UrlPolicy {
    /// Whether Berth may connect to `address` (docs/contract.md §5).
    ///
    /// # Errors
    /// What kind of address it is (`"loopback"`, `"private"`, `"link-local"` …), for the message.
    pub fn may_reach(&self, address: IpAddr) -> Result<(), &'static str> {
        match classify(address) {
            None => Ok(()),
            Some(_) if self.allow_networks.iter().any(|network| network.contains(address)) => Ok(()),
            Some(kind) => Err(kind),
        }
    }
}

/// What forbids an address in general, judged by the IPv4 inside where there is one (IPv4-mapped, NAT64, 6to4, Teredo,
/// ISATAP, SIIT); `None` for a public unicast address.
pub fn classify(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => classify_v6(v6),
    }
}

/// IPv4 by the IANA special-purpose registry (RFC 6890 and successors).
fn classify_v4(address: Ipv4Addr) -> Option<&'static str> {
    const RANGES: [(u32, u8, &str); 17] = [
        (0x0000_0000, 8, "unspecified"),
        (0x0A00_0000, 8, "private"),
        (0x6440_0000, 10, "shared (carrier-grade NAT)"),
        (0x7F00_0000, 8, "loopback"),
        (0xA9FE_0000, 16, "link-local (metadata service)"),
        (0xAC10_0000, 12, "private"),
        (0xC000_0000, 24, "reserved"),
        (0xC000_0200, 24, "documentation"),
        (0xC01F_C400, 24, "reserved"),
        (0xC034_C100, 24, "reserved"),
        (0xC058_6300, 24, "reserved"),
        (0xC0A8_0000, 16, "private"),
        (0xC0AF_3000, 24, "reserved"),
        (0xC612_0000, 15, "benchmarking"),
        (0xC633_6400, 24, "documentation"),
        (0xCB00_7100, 24, "documentation"),
        (0xE000_0000, 4, "multicast"),
    ];
    let bits = u32::from(address);
    if bits >> 28 == 0xF {
        return Some("reserved");
    }
    // Azure's metadata and health service lives on a public address.
    if bits == 0xA83F_8110 {
        return Some("metadata service");
    }
    RANGES
        .iter()
        .find(|(network, prefix, _)| (bits ^ network) >> (32 - u32::from(*prefix)) == 0)
        .map(|(_, _, kind)| *kind)
}

fn classify_v6(address: Ipv6Addr) -> Option<&'static str> {
    let bits = u128::from(address);
    let segments = address.segments();
    let low = Ipv4Addr::from(bits as u32);
    if bits == 0 {
        return Some("unspecified");
    }
    if bits == 1 {
        return Some("loopback");
    }
    // Transition forms first: the IPv4 inside decides.
    if address.to_ipv4_mapped().is_some() {
        return classify_v4(low);
    }
    // SIIT ::ffff:0:a.b.c.d (RFC 7915) and NAT64's well-known prefix 64:ff9b::/96 (RFC 6052).
    if segments[..6] == [0, 0, 0, 0, 0xffff, 0] || segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        return classify_v4(low);
    }
    // Local-use NAT64 64:ff9b:1::/48 (RFC 8215): where the IPv4 stands depends on the operator's prefix length.
    if segments[..3] == [0x64, 0xff9b, 1] {
        return Some("translated (local NAT64)");
    }
    // 6to4 2002:a.b.c.d::/16 (RFC 3056).
    if segments[0] == 0x2002 {
        return classify_v4(Ipv4Addr::from((bits >> 80) as u32));
    }
    // Teredo 2001::/32 (RFC 4380): the server in clear, the client inverted. Either may be an inner network.
    if segments[0] == 0x2001 && segments[1] == 0 {
        return classify_v4(Ipv4Addr::from((bits >> 64) as u32))
            .or_else(|| classify_v4(Ipv4Addr::from(!(bits as u32))));
    }
    // The rest of ::/8 (IPv4-compatible and unassigned) is not global unicast.
    if segments[0] >> 8 == 0 {
        return Some("reserved");
    }
    if segments[0] & 0xffc0 == 0xfe80 {
        return Some("link-local");
    }
    if segments[0] & 0xffc0 == 0xfec0 {
        return Some("site-local");
    }
    if segments[0] & 0xfe00 == 0xfc00 {
        return Some("private");
    }
    if segments[0] >> 8 == 0xff {
        return Some("multicast");
    }
    if (segments[0] == 0x2001 && segments[1] == 0xdb8) || (segments[0] == 0x3fff && segments[1] >> 12 == 0) {
        return Some("documentation");
    }
    // 2001::/23 is for protocols (ORCHID, benchmarking …); 5f00::/16 is for segment routing; only 2000::/3 is global unicast.
    if (segments[0] == 0x2001 && segments[1] < 0x200) || segments[0] >> 13 != 1 {
        return Some("reserved");
    }
    // ISATAP ::0:5efe:a.b.c.d and ::200:5efe:a.b.c.d in any prefix (RFC 5214). Last, for it makes no forbidden prefix public.
    if (segments[4] | 0x0200) == 0x0200 && segments[5] == 0x5efe {
        return classify_v4(low);
    }
    None
}

/// Checks an endpoint or token URL when it is registered: https (or http where allowed), a host, no user info, no
/// fragment, at most [`MAX_URL`] characters, and a host that is not itself a forbidden address (`localhost` counts as
/// loopback). Spaces around it are a fault, not trimmed.
///
/// # Errors
/// The sentence for the field.
pub fn check_url(url: &str, policy: &UrlPolicy) -> Result<(), String> {
    if url.is_empty() {
        return Err("Enter a URL, e.g. https://your-service.com/api/webhook.".into());
    }
    if url.chars().count() > MAX_URL {
        return Err("A URL has at most 2048 characters.".into());
    }
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("Remove spaces, line breaks and control characters from the URL.".into());
    }
    let parsed = url::Url::parse(url).map_err(|_| {
        if url.is_ascii() {
            "This is not a URL. Write it whole, e.g. https://your-service.com/api/webhook.".to_owned()
        } else {
            "Write an international host name in its ASCII form, e.g. https://xn--bcher-kva.example.".to_owned()
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
        return Err("Remove the part after # from the URL; it is never sent.".into());
    }
    if url.contains('\\') {
        return Err("Use / instead of \\ in the URL.".into());
    }
    if parsed.port() == Some(0) {
        return Err("Port 0 cannot be called.".into());
    }
    // Browsers mend https:/host and https:///host; what is kept and shown as it was written must be right as it was written.
    let after_scheme = url.get(parsed.scheme().len()..).and_then(|rest| rest.strip_prefix("://"));
    if after_scheme.is_none_or(|rest| rest.starts_with('/')) {
        return Err("Write the URL with two slashes before the host, e.g. https://your-service.com/api/webhook.".into());
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kind(text: &str) -> Option<&'static str> {
        classify(text.parse().unwrap())
    }

    #[test]
    fn inner_networks_are_told_from_public_ones() {
        for inner in [
            "127.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "192.0.2.1",
            "203.0.113.9",
            "168.63.129.16",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:c0a8:101::1",
            "::ffff:0:127.0.0.1",
            "::127.0.0.1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
            "5f00::1",
            "2001:4860::5efe:10.0.0.1",
            "2001:4860::200:5efe:192.168.0.1",
            "2001:0:7f00:1::1",
            "2001:10::1",
            "fd00:ec2::254",
        ] {
            assert!(kind(inner).is_some(), "{inner}");
        }
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "198.20.0.1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "2001:4860:4860::8888",
            "2a00:1450::1",
        ] {
            assert_eq!(kind(public), None, "{public}");
        }
    }

    #[test]
    fn a_teredo_client_is_judged_by_its_inverted_address() {
        let server: u32 = Ipv4Addr::new(8, 8, 8, 8).into();
        let client: u32 = !u32::from(Ipv4Addr::new(10, 0, 0, 1));
        let bits = (0x2001_0000_u128 << 96) | (u128::from(server) << 64) | u128::from(client);
        assert_eq!(classify(IpAddr::V6(bits.into())), Some("private"));
    }

    #[test]
    fn urls() {
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
    fn networks() {
        assert!(Network::parse("10.0.0.0/33").is_err());
        assert!(Network::parse("ten").is_err());
        let one = Network::parse("10.1.2.3").unwrap();
        assert!(one.contains("10.1.2.3".parse().unwrap()) && !one.contains("10.1.2.4".parse().unwrap()));
        assert!(Network::parse("0.0.0.0/0").unwrap().contains("1.2.3.4".parse().unwrap()));
        assert!(Network::parse("127.0.0.0/8").unwrap().contains("::ffff:127.0.0.1".parse().unwrap()));
    }

    /// The ranges of docs/contract.md §5 and of the IANA registries behind it, apart from the classifier's own tables.
    const INNER_V4: [&str; 21] = [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "255.255.255.255/32",
        "169.254.169.254/32",
    ];
    /// Those that no IPv4 inside makes public.
    const INNER_V6: [&str; 19] = [
        "::/128",
        "::1/128",
        "::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "1::/16",
        "200::/7",
        "400::/6",
        "800::/5",
        "1000::/4",
        "2001:2::/48",
        "2001:10::/28",
        "2001:20::/28",
        "2001:db8::/32",
        "3fff::/20",
        "4000::/2",
        "8000::/1",
        "fec0::/10",
        "fe80::/10",
    ];

    /// The address of a range whose bits behind the prefix are these.
    fn inside(range: &str, host: u128) -> IpAddr {
        let (address, prefix) = range.split_once('/').unwrap();
        let prefix: u32 = prefix.parse().unwrap();
        match address.parse().unwrap() {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shr(prefix).unwrap_or(0);
                IpAddr::V4((u32::from(v4) | (host as u32 & mask)).into())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shr(prefix).unwrap_or(0);
                IpAddr::V6((u128::from(v6) | (host & mask)).into())
            }
        }
    }

    /// All forms in which an IPv4 address stands in an IPv6 one whose other bits are these.
    fn wrappings(inner: Ipv4Addr, other: u64) -> [Ipv6Addr; 8] {
        let low = u128::from(u32::from(inner));
        let public = u128::from(u32::from(Ipv4Addr::new(8, 8, 8, 8)));
        [
            (0xffff_u128 << 32) | low,
            (0xffff_u128 << 48) | low,
            (0x0064_ff9b_u128 << 96) | low,
            (0x2002_u128 << 112) | (low << 80) | u128::from(other),
            (0x2a00_1450_u128 << 96) | (0x5efe_u128 << 32) | low,
            (0x2a00_1450_u128 << 96) | (0x0200_5efe_u128 << 32) | low,
            // Teredo: as the server, and inverted as the client.
            (0x2001_u128 << 112) | (low << 64) | u128::from(other),
            (0x2001_u128 << 112) | (public << 64) | (u128::from(other >> 32) << 32) | (low ^ 0xffff_ffff),
        ]
        .map(Ipv6Addr::from)
    }

    /// An address inside a range: any, or one of its edges.
    fn host() -> impl Strategy<Value = u128> {
        prop_oneof![Just(0), Just(u128::MAX), any::<u128>()]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn no_address_of_an_inner_ipv4_range_is_public_however_it_is_wrapped(
            range in proptest::sample::select(&INNER_V4[..]), host in host(), other: u64,
        ) {
            let IpAddr::V4(inner) = inside(range, host) else { unreachable!("{range}") };
            prop_assert!(classify(inner.into()).is_some(), "{}", inner);
            for wrapped in wrappings(inner, other) {
                prop_assert!(classify(wrapped.into()).is_some(), "{} in {}", inner, wrapped);
            }
        }

        #[test]
        fn no_address_of_an_inner_ipv6_range_is_public_whatever_stands_inside(
            range in proptest::sample::select(&INNER_V6[..]), host in host(), v4: u32,
        ) {
            let address = inside(range, host);
            prop_assert!(classify(address).is_some(), "{}", address);
            // With an interface identifier of ISATAP, and a public IPv4 in it.
            for isatap in [0x5efe_u128, 0x0200_5efe] {
                let identifier = (isatap << 32) | u128::from(v4);
                let address = inside(range, (host >> 64 << 64) | identifier);
                prop_assert!(classify(address).is_some(), "{}", address);
            }
        }
    }

    #[test]
    fn what_lies_beside_an_inner_ipv4_range_is_public() {
        let at = |range: &str| -> (u64, u64) {
            let ends = [inside(range, 0), inside(range, u128::MAX)].map(|end| match end {
                IpAddr::V4(v4) => u64::from(u32::from(v4)),
                IpAddr::V6(_) => unreachable!("{range}"),
            });
            (ends[0], ends[1])
        };
        let is_inner = |bits: u64| INNER_V4.iter().any(|range| (at(range).0..=at(range).1).contains(&bits));
        for range in INNER_V4 {
            let (first, last) = at(range);
            for beside in [first.checked_sub(1), Some(last + 1)].into_iter().flatten() {
                if let Ok(bits) = u32::try_from(beside) {
                    assert_eq!(classify_v4(bits.into()).is_some(), is_inner(beside), "{}", Ipv4Addr::from(bits));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn every_wrapping_is_judged_like_the_ipv4_inside(bits: u32, prefix: u64) {
            let inner = Ipv4Addr::from(bits);
            let expected = classify_v4(inner);
            // Teredo has two inside.
            for wrapped in &wrappings(inner, prefix)[..6] {
                prop_assert_eq!(classify((*wrapped).into()), expected, "{}", wrapped);
            }
        }

        #[test]
        fn only_2000_3_can_be_public_without_a_wrapping(bits: u128) {
            let address = Ipv6Addr::from(bits);
            if classify(IpAddr::V6(address)).is_none() {
                let first = address.segments()[0];
                prop_assert!(first >> 13 == 1 || first == 0 || first == 0x64);
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let _ = check_url(&text, &UrlPolicy::default());
            let _ = Network::parse(&text);
        }
    }
}
