//! Connection attempts to all addresses of a host (RFC 8305, Happy Eyeballs).

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

/// Delay between the starts of two attempts (RFC 8305 §5, "Connection Attempt Delay").
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Idle time before keep-alive probes, and their interval. They detect connections that a firewall dropped silently.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Number of unanswered keep-alive probes after which a connection is broken.
const KEEPALIVE_PROBES: u32 = 3;

/// Connects to the first address that accepts. Attempts start every 250 ms, or at once after a failure, in turn over
/// both families, and in the order of the resolver within a family.
///
/// # Errors
/// When every attempt has failed: the first failure that an address caused, not a missing route to its family.
pub(crate) async fn connect_any(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    if let [address] = addresses[..] {
        return connect(address).await;
    }
    let mut waiting = interleave(addresses).into_iter();
    let mut running = FuturesUnordered::new();
    let mut failure: Option<io::Error> = None;
    loop {
        running.extend(waiting.next().map(connect));
        tokio::select! {
            biased;
            attempt = running.next() => match attempt {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => {
                    if failure.as_ref().is_none_or(|known| !is_from_address(known) && is_from_address(&error)) {
                        failure = Some(error);
                    }
                }
                None => return Err(failure.unwrap_or_else(|| io::ErrorKind::HostUnreachable.into())),
            },
            () = tokio::time::sleep(ATTEMPT_DELAY), if waiting.len() > 0 => {}
        }
    }
}

/// Alternates between the families, beginning with that of the first address (RFC 8305 §4).
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_ipv4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| a.is_ipv4() == first_is_ipv4);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::with_capacity(first.len() + second.len());
    while first.len() + second.len() > 0 {
        ordered.extend(first.next());
        ordered.extend(second.next());
    }
    ordered
}

/// Whether the other side caused the error.
fn is_from_address(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, TimedOut};
    matches!(error.kind(), ConnectionRefused | ConnectionReset | TimedOut)
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE).with_retries(KEEPALIVE_PROBES);
    SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
    socket.set_nodelay(true)?;
    socket.connect(address).await
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use socket2::{Domain, Socket, Type};
    use std::net::{IpAddr, Ipv4Addr};

    /// An address that drops SYNs: its backlog is full.
    pub(crate) struct BlackHole {
        pub(crate) address: SocketAddr,
        _listener: Socket,
        _backlog: Vec<Socket>,
    }

    impl BlackHole {
        /// Listens on `ip` and fills the backlog.
        pub(crate) fn new(ip: IpAddr, port: u16) -> Self {
            let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let listener = socket();
            listener.bind(&SocketAddr::new(ip, port).into()).unwrap();
            listener.listen(0).unwrap();
            let address = listener.local_addr().unwrap().as_socket().unwrap();
            let backlog = (0..8)
                .map(|_| {
                    let client = socket();
                    client.set_nonblocking(true).unwrap();
                    let _ = client.connect(&address.into());
                    client
                })
                .collect();
            Self { address, _listener: listener, _backlog: backlog }
        }
    }

    #[tokio::test]
    async fn address_that_drops_syns_does_not_delay_the_next_one() {
        let dropping = BlackHole::new(Ipv4Addr::LOCALHOST.into(), 0);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let started = std::time::Instant::now();
        let stream = connect_any(vec![dropping.address, open]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
        assert!(started.elapsed() >= ATTEMPT_DELAY, "the first address drops SYNs");
        // Without another address the attempt does not end.
        assert!(tokio::time::timeout(ATTEMPT_DELAY, connect_any(vec![dropping.address])).await.is_err());
    }

    #[tokio::test]
    async fn refused_address_is_followed_at_once_and_its_error_is_reported() {
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let unroutable = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 0xff], 1));
        assert_eq!(connect_any(vec![closed, unroutable, open]).await.unwrap().peer_addr().unwrap(), open);
        let error = connect_any(vec![unroutable, closed]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    proptest! {
        #[test]
        fn families_alternate_and_every_address_is_kept(families in proptest::collection::vec(any::<bool>(), 0..12)) {
            let addresses: Vec<SocketAddr> = families
                .iter()
                .zip(1..)
                .map(|(v4, port)| {
                    if *v4 { SocketAddr::from(([192, 0, 2, 1], port)) } else { SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], port)) }
                })
                .collect();
            let ordered = interleave(addresses.clone());
            let ports = |v4: bool| ordered.iter().filter(|a| a.is_ipv4() == v4).map(SocketAddr::port).collect::<Vec<_>>();
            prop_assert!(ports(true).is_sorted() && ports(false).is_sorted());
            prop_assert_eq!(ordered.len(), addresses.len());
            prop_assert_eq!(ordered.first(), addresses.first());
            let both = 2 * ports(true).len().min(ports(false).len());
            prop_assert!(ordered[..both].windows(2).all(|pair| pair[0].is_ipv4() != pair[1].is_ipv4()));
        }
    }
}
