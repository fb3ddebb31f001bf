//! Classification of IP addresses: public, or a kind that Berth does not call (docs/contract.md §5).

use ipnet::Ipv4Net;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kind of an address that Berth does not call without an allow-list entry; `None` for a public unicast address.
/// IPv6 forms that embed an IPv4 address (IPv4-mapped, NAT64, 6to4, Teredo, ISATAP, SIIT) are classified by that
/// address.
pub fn classify(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => classify_v6(v6),
    }
}

const fn range(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

/// Blocked IPv4 ranges: the IANA special-purpose registry (RFC 6890 and successors), and Azure's metadata and health
/// service, which uses a public address.
const BLOCKED_RANGES: [(Ipv4Net, &str); 19] = [
    (range(0, 0, 0, 0, 8), "unspecified"),
    (range(10, 0, 0, 0, 8), "private"),
    (range(100, 64, 0, 0, 10), "shared (carrier-grade NAT)"),
    (range(127, 0, 0, 0, 8), "loopback"),
    (range(168, 63, 129, 16, 32), "metadata service"),
    (range(169, 254, 0, 0, 16), "link-local (metadata service)"),
    (range(172, 16, 0, 0, 12), "private"),
    (range(192, 0, 0, 0, 24), "reserved"),
    (range(192, 0, 2, 0, 24), "documentation"),
    (range(192, 31, 196, 0, 24), "reserved"),
    (range(192, 52, 193, 0, 24), "reserved"),
    (range(192, 88, 99, 0, 24), "reserved"),
    (range(192, 168, 0, 0, 16), "private"),
    (range(192, 175, 48, 0, 24), "reserved"),
    (range(198, 18, 0, 0, 15), "benchmarking"),
    (range(198, 51, 100, 0, 24), "documentation"),
    (range(203, 0, 113, 0, 24), "documentation"),
    (range(224, 0, 0, 0, 4), "multicast"),
    (range(240, 0, 0, 0, 4), "reserved"),
];

fn classify_v4(address: Ipv4Addr) -> Option<&'static str> {
    BLOCKED_RANGES.iter().find(|(range, _)| range.contains(&address)).map(|(_, kind)| *kind)
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
    // Transition forms first: the embedded IPv4 address determines the kind.
    if address.to_ipv4_mapped().is_some() {
        return classify_v4(low);
    }
    // SIIT ::ffff:0:a.b.c.d (RFC 7915) and NAT64's well-known prefix 64:ff9b::/96 (RFC 6052).
    if segments[..6] == [0, 0, 0, 0, 0xffff, 0] || segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        return classify_v4(low);
    }
    // Local-use NAT64 64:ff9b:1::/48 (RFC 8215): the position of the IPv4 address depends on the operator's prefix
    // length.
    if segments[..3] == [0x64, 0xff9b, 1] {
        return Some("translated (local NAT64)");
    }
    // 6to4 2002:a.b.c.d::/16 (RFC 3056).
    if segments[0] == 0x2002 {
        return classify_v4(Ipv4Addr::from((bits >> 80) as u32));
    }
    // Teredo 2001::/32 (RFC 4380) embeds the server in clear and the client inverted. Either may be private.
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
    // 2001::/23 is reserved for protocols (ORCHID, benchmarking …), 5f00::/16 for segment routing; only 2000::/3 is
    // global.
    if (segments[0] == 0x2001 && segments[1] < 0x200) || segments[0] >> 13 != 1 {
        return Some("reserved");
    }
    // ISATAP ::0:5efe:a.b.c.d and ::200:5efe:a.b.c.d in any prefix (RFC 5214). Checked last, so that the identifier
    // cannot make a reserved prefix public.
    if (segments[4] | 0x0200) == 0x0200 && segments[5] == 0x5efe {
        return classify_v4(low);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kind(text: &str) -> Option<&'static str> {
        classify(text.parse().unwrap())
    }

    #[test]
    fn special_purpose_addresses_are_not_public() {
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
    fn teredo_client_is_classified_by_its_inverted_address() {
        let server: u32 = Ipv4Addr::new(8, 8, 8, 8).into();
        let client: u32 = !u32::from(Ipv4Addr::new(10, 0, 0, 1));
        let bits = (0x2001_0000_u128 << 96) | (u128::from(server) << 64) | u128::from(client);
        assert_eq!(classify(IpAddr::V6(bits.into())), Some("private"));
    }

    /// The ranges of docs/contract.md §5 and of the IANA registries, independent of the classifier's own table.
    const BLOCKED_V4: [&str; 21] = [
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
    /// Ranges that no embedded IPv4 address makes public.
    const BLOCKED_V6: [&str; 19] = [
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

    /// The address of a range with these host bits.
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

    /// Every form that embeds an IPv4 address in an IPv6 address; `other` fills the remaining bits.
    fn embeddings(inner: Ipv4Addr, other: u64) -> [Ipv6Addr; 8] {
        let low = u128::from(u32::from(inner));
        let public = u128::from(u32::from(Ipv4Addr::new(8, 8, 8, 8)));
        [
            (0xffff_u128 << 32) | low,
            (0xffff_u128 << 48) | low,
            (0x0064_ff9b_u128 << 96) | low,
            (0x2002_u128 << 112) | (low << 80) | u128::from(other),
            (0x2a00_1450_u128 << 96) | (0x5efe_u128 << 32) | low,
            (0x2a00_1450_u128 << 96) | (0x0200_5efe_u128 << 32) | low,
            // Teredo: as server, and inverted as client.
            (0x2001_u128 << 112) | (low << 64) | u128::from(other),
            (0x2001_u128 << 112) | (public << 64) | (u128::from(other >> 32) << 32) | (low ^ 0xffff_ffff),
        ]
        .map(Ipv6Addr::from)
    }

    /// Host bits: random, or an edge of the range.
    fn host() -> impl Strategy<Value = u128> {
        prop_oneof![Just(0), Just(u128::MAX), any::<u128>()]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn no_embedding_makes_a_blocked_ipv4_range_public(
            range in proptest::sample::select(&BLOCKED_V4[..]), host in host(), other: u64,
        ) {
            let IpAddr::V4(inner) = inside(range, host) else { unreachable!("{range}") };
            prop_assert!(classify(inner.into()).is_some(), "{}", inner);
            for embedded in embeddings(inner, other) {
                prop_assert!(classify(embedded.into()).is_some(), "{} in {}", inner, embedded);
            }
        }

        #[test]
        fn no_embedded_ipv4_makes_a_blocked_ipv6_range_public(
            range in proptest::sample::select(&BLOCKED_V6[..]), host in host(), v4: u32,
        ) {
            let address = inside(range, host);
            prop_assert!(classify(address).is_some(), "{}", address);
            // An ISATAP interface identifier with a public IPv4 address.
            for isatap in [0x5efe_u128, 0x0200_5efe] {
                let identifier = (isatap << 32) | u128::from(v4);
                let address = inside(range, (host >> 64 << 64) | identifier);
                prop_assert!(classify(address).is_some(), "{}", address);
            }
        }
    }

    #[test]
    fn neighbours_of_a_blocked_ipv4_range_are_public() {
        let bounds = |range: &str| -> (u64, u64) {
            let ends = [inside(range, 0), inside(range, u128::MAX)].map(|end| match end {
                IpAddr::V4(v4) => u64::from(u32::from(v4)),
                IpAddr::V6(_) => unreachable!("{range}"),
            });
            (ends[0], ends[1])
        };
        let is_blocked = |bits: u64| BLOCKED_V4.iter().any(|range| (bounds(range).0..=bounds(range).1).contains(&bits));
        for range in BLOCKED_V4 {
            let (first, last) = bounds(range);
            for neighbour in [first.checked_sub(1), Some(last + 1)].into_iter().flatten() {
                if let Ok(bits) = u32::try_from(neighbour) {
                    assert_eq!(classify_v4(bits.into()).is_some(), is_blocked(neighbour), "{}", Ipv4Addr::from(bits));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn every_embedding_is_classified_like_its_ipv4_address(bits: u32, prefix: u64) {
            let inner = Ipv4Addr::from(bits);
            let expected = classify_v4(inner);
            // Teredo embeds two addresses.
            for embedded in &embeddings(inner, prefix)[..6] {
                prop_assert_eq!(classify((*embedded).into()), expected, "{}", embedded);
            }
        }

        #[test]
        fn only_2000_3_is_public_without_an_embedded_ipv4(bits: u128) {
            let address = Ipv6Addr::from(bits);
            if classify(IpAddr::V6(address)).is_none() {
                let first = address.segments()[0];
                prop_assert!(first >> 13 == 1 || first == 0 || first == 0x64);
            }
        }
    }
}
