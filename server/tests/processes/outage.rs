//! PostgreSQL becomes unavailable and returns, under load.

use super::database::{Attempt, Database};
use super::eventually;
use super::load::{Api, is_unavailable};
use super::process::Settings;
use super::scenario::Scenario;
use std::collections::HashSet;
use std::time::{Duration, Instant};
use test_support::{PostgresServer, Receiver, StartError, StopMode, TcpProxy, on_both_databases};
use tokio::task::block_in_place;

/// Bound for a 503 response. It takes a few seconds, because the pool first tries to connect.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Documented bound for a stop without database and with an unresponsive receiver.
const STOP_TIMEOUT: Duration = Duration::from_secs(45);

on_both_databases![postgres only:
    postgres_outage_loses_nothing_and_recovers,
    process_stops_while_database_is_unavailable,
];

impl Scenario {
    /// PostgreSQL is unavailable: every request gets a 503.
    async fn assert_unavailable(&mut self) {
        let record = self.load.record.lock().unavailable;
        // The response is fast even when many requests wait for a connection.
        let refused = tokio::time::timeout(RESPONSE_TIMEOUT, self.reserve()).await.expect("a response should arrive");
        assert!(is_unavailable(&refused), "{refused:?}");
        assert_eq!(self.status_of("/readyz").await, 503);
        assert_eq!(self.status_of("/healthz").await, 200, "liveness does not depend on the database");
        eventually("503 responses to the clients", async || {
            (self.load.record.lock().unavailable > record).then_some(())
        })
        .await;
    }

    /// PostgreSQL is available again: the same process recovers by itself.
    async fn assert_recovers(&mut self) {
        let back = Instant::now();
        eventually("a reservation", async || {
            let reply = self.reserve().await;
            assert!(reply.status == 201 || is_unavailable(&reply), "{reply:?}");
            (reply.status == 201).then_some(())
        })
        .await;
        eprintln!("outage: reservations again {:?} after PostgreSQL was back", back.elapsed());
        eventually("readiness", async || (self.status_of("/readyz").await == 200).then_some(())).await;
        self.load.progress(20).await;
    }
}

/// Settings that connect to the database through a proxy.
async fn through_proxy(database: &Database, timeout: f64) -> (TcpProxy, Settings) {
    let proxy = TcpProxy::open(database.address()).await;
    let database_url = database.url_through(proxy.port);
    (proxy, Settings { database_url, ..database.settings(timeout) })
}

async fn postgres_outage_loses_nothing_and_recovers(database: Database) {
    let (mut proxy, settings) = through_proxy(&database, 2.0).await;
    let mut scenario = Scenario::open(&settings, settings.serve().await).await;

    proxy.cut().await;
    eventually("PostgreSQL without connections", async || (database.connections().await == 0).then_some(())).await;
    // The outage outlasts the leases and these results cannot be recorded, so these attempts are repeated.
    let interrupted = database.in_flight().await;
    scenario.assert_unavailable().await;
    proxy.restore().await;
    scenario.assert_recovers().await;

    // A restart or an administrator closes the connections.
    let mut ended = 0;
    for _ in 0..5 {
        ended += database.terminate_connections().await;
        scenario.load.progress(20).await;
    }
    assert!(ended > 0);
    scenario.close("outage", &database, &interrupted).await;
}

/// A PostgreSQL server for one test; `None` without its programs, or when PostgreSQL tests are skipped.
fn own_server() -> Option<PostgresServer> {
    test_support::postgres_url()?;
    match block_in_place(|| PostgresServer::start(&[])) {
        Ok(server) => Some(server),
        Err(error @ (StartError::NotInstalled | StartError::NoUnprivilegedUser)) => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Attempts that a stopped server left interrupted, read after its recovery and before Berth can connect.
async fn interrupted_attempts(server: &PostgresServer, receiver: &Receiver) -> HashSet<Attempt> {
    block_in_place(|| server.restart_on_socket()).unwrap();
    let database = Database::existing(server.socket_url("postgres"));
    let mut interrupted = database.in_flight().await;
    // Claims commit asynchronously, so a crash can undo the last ones: these deliveries are queued although they were sent.
    let queued = database.queued().await;
    block_in_place(|| server.stop(StopMode::Fast)).unwrap();
    let requests = receiver.requests();
    let made: HashSet<Attempt> = requests.iter().map(|a| (a.delivery().to_owned(), a.attempt())).collect();
    interrupted.extend(queued.intersection(&made).cloned());
    interrupted
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_stop_or_crash_loses_nothing() {
    let Some(server) = own_server() else { return };
    let database = Database::existing(format!("{}/postgres", server.url()));
    let settings = database.settings(5.0);
    let mut scenario = Scenario::open(&settings, settings.serve().await).await;
    let mut interrupted = HashSet::new();
    for mode in [StopMode::Fast, StopMode::Immediate] {
        // Attempts are in flight when the server stops, and their responses arrive during the outage.
        scenario.receiver.hold();
        scenario.load.progress(20).await;
        block_in_place(|| server.stop(mode)).unwrap();
        scenario.receiver.release();
        scenario.assert_unavailable().await;
        let left = interrupted_attempts(&server, &scenario.receiver).await;
        assert!(!left.is_empty(), "no attempt was in flight");
        interrupted.extend(left);
        block_in_place(|| server.restart()).unwrap();
        scenario.assert_recovers().await;
    }
    scenario.close("stop and crash", &database, &interrupted).await;
}

/// One result cannot be recorded and one request gets no response; neither lease can be released.
async fn process_stops_while_database_is_unavailable(database: Database) {
    let (mut proxy, settings) = through_proxy(&database, 30.0).await;
    let (late, silent) = (Receiver::start().await, Receiver::start().await);
    late.hold();
    silent.hold();
    let berth = settings.serve().await;
    let api = Api::of(&settings).await;
    api.resource_type(&berth.url).await;
    api.webhook(&berth.url, &late, 64).await;
    api.webhook(&berth.url, &silent, 64).await;
    let resource = api.resource(&berth.url, "node-1").await;
    assert_eq!(api.reserve(&berth.url, resource, 1).await.unwrap().status, 201);
    eventually("both requests", async || (late.count() == 1 && silent.count() == 1).then_some(())).await;

    proxy.cut().await;
    late.release();
    let (status, took) = berth.stop(STOP_TIMEOUT).await;
    eprintln!("stopped with the database away: {took:?}");
    assert!(status.success(), "{status}");
    assert_eq!(database.in_flight().await.len(), 2, "the leases could not be released");
}
