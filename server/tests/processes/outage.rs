//! PostgreSQL goes away and comes back, under load.

use super::cluster::Cluster;
use super::database::{Attempt, TestDatabase};
use super::eventually;
use super::load::{Api, is_unavailable};
use super::process::Setting;
use super::receiver::{Answer, Arrival, Receiver};
use super::site::Site;
use std::collections::HashSet;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// An answer that the database is away takes a few seconds, for a connection is tried for that long.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is promised of a stop with the database away and a receiver that does not answer.
const LONGEST_STOP: Duration = Duration::from_secs(45);

/// A way to PostgreSQL that can be cut.
struct Way {
    port: u16,
    server: String,
    open: Option<tokio::task::JoinHandle<()>>,
}

impl Way {
    async fn open(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut way = Self { port, server, open: None };
        way.carry(listener);
        way
    }

    fn carry(&mut self, listener: TcpListener) {
        let server = self.server.clone();
        self.open = Some(tokio::spawn(async move {
            // Its connections end with this task.
            let mut connections = JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let server = server.clone();
                connections.spawn(async move {
                    let mut far = TcpStream::connect(server).await.unwrap();
                    let _ = near.set_nodelay(true);
                    let _ = far.set_nodelay(true);
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        }));
    }

    /// Ends all connections; new ones are refused.
    async fn cut(&mut self) {
        let open = self.open.take().unwrap();
        open.abort();
        let _ = open.await;
    }

    async fn heal(&mut self) {
        let listener = eventually("the port", async || TcpListener::bind(("127.0.0.1", self.port)).await.ok()).await;
        self.carry(listener);
    }
}

impl Site {
    /// PostgreSQL is away: everybody is told so.
    async fn tells_of_the_outage(&mut self) {
        let told = self.load.told.lock().unavailable;
        // However many wait with it, nobody waits long for the answer.
        let refused = tokio::time::timeout(PATIENCE, self.reserve()).await.expect("an answer should come");
        assert!(is_unavailable(&refused), "{refused:?}");
        assert_eq!(self.status_of("/readyz").await, 503);
        assert_eq!(self.status_of("/healthz").await, 200, "the process itself is well");
        eventually("word of it to those who were at it", async || {
            (self.load.told.lock().unavailable > told).then_some(())
        })
        .await;
    }

    /// PostgreSQL is there again: the same process goes on by itself.
    async fn goes_on(&mut self) {
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

/// Berth's setting with a way to the database.
async fn by_a_way(database: &TestDatabase, timeout: f64) -> (Way, Setting) {
    let way = Way::open(database.address()).await;
    let database_url = database.url_by_way_of(way.port);
    (way, Setting { database_url, folder: database.folder().to_owned(), timeout })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_postgresql_loses_nothing_and_passes_by_itself() {
    let Some(database) = TestDatabase::postgres().await else { return };
    let (mut way, setting) = by_a_way(&database, 2.0).await;
    let mut site = Site::open(&setting, setting.serve().await).await;

    way.cut().await;
    eventually("PostgreSQL without connections", async || (database.connections().await == 0).then_some(())).await;
    // Results that cannot be recorded while the outage lasts longer than a lease: those attempts are made again.
    let interrupted = database.under_way().await;
    site.tells_of_the_outage().await;
    way.heal().await;
    site.goes_on().await;

    // A server that restarts or an administrator ends the connections alone.
    let mut ended = 0;
    for _ in 0..5 {
        ended += database.terminate_connections().await;
        site.load.progress(20).await;
    }
    assert!(ended > 0);
    site.close("outage", &database, &interrupted).await;
}

/// The attempts that a stopped server leaves interrupted: as it knows them once it has recovered, before Berth finds it.
async fn left_interrupted(cluster: &Cluster, receiver: &Receiver) -> HashSet<Attempt> {
    let database = cluster.start_aside().await;
    let mut interrupted = database.under_way().await;
    // Claims are committed without waiting for the disk, so that a crash may undo the last of them: what was claimed waits
    // again, though its request is made.
    let waiting = database.waiting().await;
    cluster.stop("fast").await;
    let made: HashSet<Attempt> = receiver.arrivals().into_iter().map(|a| (a.delivery, a.attempt)).collect();
    interrupted.extend(waiting.intersection(&made).cloned());
    interrupted
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgresql_server_that_stops_or_crashes_loses_nothing() {
    let Some(cluster) = Cluster::start().await else { return };
    let database = cluster.database();
    let setting = Setting { database_url: database.url.clone(), folder: database.folder().to_owned(), timeout: 5.0 };
    let mut site = Site::open(&setting, setting.serve().await).await;
    let mut interrupted = HashSet::new();
    for mode in ["fast", "immediate"] {
        // Requests are under way when the server stops, and are answered while it is away.
        site.receiver.hold();
        site.load.progress(20).await;
        cluster.stop(mode).await;
        site.receiver.release();
        site.tells_of_the_outage().await;
        let left = left_interrupted(&cluster, &site.receiver).await;
        assert!(!left.is_empty(), "nothing was under way");
        interrupted.extend(left);
        cluster.restart().await;
        site.goes_on().await;
    }
    site.close("a server that stops and crashes", &database, &interrupted).await;
}

/// One result that cannot be recorded and one request that gets no answer, neither of which can be handed back.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_database_is_away_stops_too() {
    let Some(database) = TestDatabase::postgres().await else { return };
    let (mut way, setting) = by_a_way(&database, 30.0).await;
    let at_once = |_: &Arrival| Answer { status: 200, after: Duration::ZERO };
    let (late, silent) = (Receiver::start(at_once).await, Receiver::start(at_once).await);
    late.hold();
    silent.hold();
    let berth = setting.serve().await;
    let api = Api::of(&setting).await;
    api.resource_type(&berth.url).await;
    api.webhook(&berth.url, &late, 64).await;
    api.webhook(&berth.url, &silent, 64).await;
    let resource = api.resource(&berth.url, "node-1").await;
    assert_eq!(api.reserve(&berth.url, resource, 1).await.unwrap().status, 201);
    eventually("both requests", async || (late.count() == 1 && silent.count() == 1).then_some(())).await;

    way.cut().await;
    late.release();
    let (status, took) = berth.stop(LONGEST_STOP).await;
    eprintln!("stopped with the database away: {took:?}");
    assert!(status.success(), "{status}");
    assert_eq!(database.under_way().await.len(), 2, "the database was away to the end");
}
