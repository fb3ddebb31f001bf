//! PostgreSQL goes away and comes back, under load.

use super::database::TestDatabase;
use super::eventually;
use super::kill::moody;
use super::ledger::compare;
use super::load::{Api, Load, is_unavailable};
use super::process::Setting;
use super::receiver::Receiver;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// An answer that the database is away takes a few seconds, for a connection is tried for that long.
const PATIENCE: Duration = Duration::from_secs(30);

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

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_postgresql_loses_nothing_and_passes_by_itself() {
    let Some(database) = TestDatabase::postgres().await else { return };
    let mut way = Way::open(database.address()).await;
    let database_url = database.url_by_way_of(way.port);
    let setting = Setting { database_url, folder: database.folder().to_owned(), timeout: 2.0 };
    let receiver = Receiver::start(moody).await;
    let berth = setting.serve().await;
    let api = Api::of(&setting).await;
    api.resource_type(&berth.url).await;
    api.webhook(&berth.url, &receiver, 64).await;
    api.webhook(&berth.url, &receiver, 2).await;
    let resource = api.resource(&berth.url, "node-x").await;
    let load = Load::start(&api, &berth.url).await;
    load.progress(20).await;

    way.cut().await;
    eventually("PostgreSQL without connections", async || (database.connections().await == 0).then_some(())).await;
    // Results that cannot be recorded while the outage lasts longer than a lease: those attempts are made again.
    let interrupted = database.under_way().await;
    // However many wait with it, nobody waits long for the answer.
    let refused = tokio::time::timeout(PATIENCE, api.reserve(&berth.url, resource, 1)).await;
    let refused = refused.expect("an answer should come").unwrap();
    assert!(is_unavailable(&refused), "{refused:?}");
    let ready = async || api.http.get(format!("{}/readyz", berth.url)).send().await.unwrap().status().as_u16();
    assert_eq!(ready().await, 503);
    let alive = api.http.get(format!("{}/healthz", berth.url)).send().await.unwrap();
    assert_eq!(alive.status(), 200, "the process itself is well");
    assert!(load.told.lock().unwrap().unavailable > 0, "those who were at it were told too");

    way.heal().await;
    let healed = std::time::Instant::now();
    let mut slot = 1;
    eventually("a reservation", async || {
        slot += 1;
        let reply = api.reserve(&berth.url, resource, slot).await.unwrap();
        assert!(reply.status == 201 || is_unavailable(&reply), "{reply:?}");
        (reply.status == 201).then_some(())
    })
    .await;
    eprintln!("outage: reservations again {:?} after PostgreSQL was back", healed.elapsed());
    eventually("readiness", async || (ready().await == 200).then_some(())).await;
    load.progress(20).await;

    // A server that restarts or an administrator ends the connections alone.
    let mut ended = 0;
    for _ in 0..5 {
        ended += database.terminate_connections().await;
        load.progress(20).await;
    }
    assert!(ended > 0);
    let told = load.end().await;
    database.drained().await;
    compare("outage", &database, &receiver, &told, &interrupted).await;
}
