//! The database under test, seen from beside the processes that use it.

use super::eventually;
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, DbBackend, QueryResult, Statement};
use std::collections::HashSet;
use std::path::Path;

/// One attempt of one delivery.
pub type Attempt = (String, u32);

/// One committed delivery.
#[derive(Debug)]
pub struct Delivery {
    pub id: String,
    pub event: String,
    pub event_type: String,
    pub webhook: i64,
    pub reservation: String,
    pub status: String,
}

/// A fresh database with a folder for the processes that use it; both go when it is dropped.
pub struct TestDatabase {
    pub url: String,
    folder: tempfile::TempDir,
    /// PostgreSQL: its server and name, unless that server is the test's own.
    server: Option<(String, String)>,
}

impl TestDatabase {
    pub fn sqlite() -> Self {
        Self::sqlite_on(&std::env::temp_dir())
    }

    /// With its folder on the file system of `place`.
    pub fn sqlite_on(place: &Path) -> Self {
        let folder = tempfile::tempdir_in(place).unwrap();
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("berth.db").display());
        Self { url, folder, server: None }
    }

    /// `None` when the tests of PostgreSQL are left out.
    pub async fn postgres() -> Option<Self> {
        let server =
            std::env::var("BERTH_TEST_POSTGRES").unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432".into());
        if server == "off" {
            return None;
        }
        let server = server.trim_end_matches('/').to_owned();
        let name = format!("berth_processes_{:016x}", rand::random::<u64>());
        let administration = connect(&format!("{server}/postgres")).await;
        administration.execute_unprepared(&format!("CREATE DATABASE {name} TEMPLATE template0")).await.unwrap();
        administration.close().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        Some(Self { url: format!("{server}/{name}"), folder, server: Some((server, name)) })
    }

    /// PostgreSQL: the one of a server that ends with its test.
    pub fn of_cluster(url: String) -> Self {
        Self { url, folder: tempfile::tempdir().unwrap(), server: None }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// PostgreSQL: `host:port` of the server.
    pub fn address(&self) -> String {
        let url = url::Url::parse(&self.url).unwrap();
        format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432))
    }

    /// PostgreSQL: the URL by which a process reaches it at another port of this machine.
    pub fn url_by_way_of(&self, port: u16) -> String {
        let mut url = url::Url::parse(&self.url).unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(port)).unwrap();
        url.to_string()
    }

    pub async fn rows(&self, sql: &str) -> Vec<QueryResult> {
        rows(&self.url, sql).await
    }

    pub async fn number(&self, sql: &str) -> i64 {
        self.rows(sql).await[0].try_get_by_index(0).unwrap()
    }

    /// All deliveries in the order of the outbox.
    pub async fn deliveries(&self) -> Vec<Delivery> {
        let sql = "SELECT d.id, d.event_id, d.event_type, d.webhook_id, d.reservation_id, COALESCE(a.delivery_status, d.status) AS status FROM deliveries d LEFT JOIN attempts a ON a.delivery_seq = d.seq AND a.delivery_status = 'succeeded' WHERE NOT d.test ORDER BY d.seq";
        let rows = self.rows(sql).await;
        rows.iter()
            .map(|row| Delivery {
                id: row.try_get("", "id").unwrap(),
                event: row.try_get("", "event_id").unwrap(),
                event_type: row.try_get("", "event_type").unwrap(),
                webhook: row.try_get("", "webhook_id").unwrap(),
                reservation: row.try_get("", "reservation_id").unwrap(),
                status: row.try_get("", "status").unwrap(),
            })
            .collect()
    }

    /// The attempts that the database knows as under way.
    pub async fn under_way(&self) -> HashSet<Attempt> {
        under_way(&self.url, "").await
    }

    /// The attempts that come next, of what waits.
    pub async fn waiting(&self) -> HashSet<Attempt> {
        attempts(
            &self.url,
            "SELECT d.id, o.attempts + 1 AS attempts FROM outbox o JOIN deliveries d ON d.seq = o.seq WHERE o.lease_owner IS NULL",
        )
        .await
    }

    /// The attempts that one dispatcher has under way.
    pub async fn under_way_of(&self, owner: &str) -> HashSet<Attempt> {
        under_way(&self.url, &format!(" AND o.lease_owner LIKE '{owner}/%'")).await
    }

    /// The attempts that a process which was killed had under way. A SQLite file is read as a copy: whoever opened the
    /// file itself would mend it before the next process can.
    pub async fn interrupted(&self) -> HashSet<Attempt> {
        if !is_sqlite(&self.url) {
            return self.under_way().await;
        }
        let copy = tempfile::tempdir().unwrap();
        for name in ["berth.db", "berth.db-wal"] {
            let file = self.folder().join(name);
            if file.exists() {
                std::fs::copy(file, copy.path().join(name)).unwrap();
            }
        }
        under_way(&format!("sqlite://{}?mode=rw", copy.path().join("berth.db").display()), "").await
    }

    /// The dispatchers that have anything under way.
    pub async fn owners(&self) -> HashSet<String> {
        let rows = self.rows("SELECT DISTINCT lease_owner FROM outbox WHERE lease_owner IS NOT NULL").await;
        rows.iter().map(|row| owner(&row.try_get::<String>("", "lease_owner").unwrap())).collect()
    }

    /// Waits until nothing waits and nothing is under way.
    pub async fn drained(&self) {
        let open = "SELECT COUNT(*) FROM outbox";
        eventually("an empty outbox", async || (self.number(open).await == 0).then_some(())).await;
    }

    /// PostgreSQL: ends the connections of everybody else to this database; how many.
    pub async fn terminate_connections(&self) -> i64 {
        self.number(
            "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await
    }

    /// PostgreSQL: connections of everybody else to this database.
    pub async fn connections(&self) -> i64 {
        self.number(
            "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
        )
        .await
    }
}

/// The dispatcher of a lease's token.
pub fn owner(token: &str) -> String {
    token.split('/').next().unwrap().to_owned()
}

async fn under_way(url: &str, condition: &str) -> HashSet<Attempt> {
    let sql = format!(
        "SELECT d.id, o.attempts FROM outbox o JOIN deliveries d ON d.seq = o.seq WHERE o.lease_owner IS NOT NULL{condition}"
    );
    attempts(url, &sql).await
}

async fn attempts(url: &str, sql: &str) -> HashSet<Attempt> {
    let attempt =
        |row: &QueryResult| (row.try_get("", "id").unwrap(), row.try_get::<i32>("", "attempts").unwrap() as u32);
    rows(url, sql).await.iter().map(attempt).collect()
}

fn is_sqlite(url: &str) -> bool {
    url.starts_with("sqlite:")
}

async fn connect(url: &str) -> DatabaseConnection {
    let mut options = sea_orm::ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    Database::connect(options).await.unwrap_or_else(|error| {
        panic!(
            "The database does not answer at {url}: {error}. Start PostgreSQL, name another in BERTH_TEST_POSTGRES, or \
             set BERTH_TEST_POSTGRES=off to leave its tests out."
        )
    })
}

/// A connection for one query: no connection of the test stays open while a process is killed.
async fn rows(url: &str, sql: &str) -> Vec<QueryResult> {
    let connection = connect(url).await;
    let backend = if is_sqlite(url) { DbBackend::Sqlite } else { DbBackend::Postgres };
    let rows = connection.query_all_raw(Statement::from_string(backend, sql)).await.unwrap();
    connection.close().await.unwrap();
    rows
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let Some((server, name)) = self.server.take() else { return };
        // On a runtime of its own: this one may be ending.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let administration = connect(&format!("{server}/postgres")).await;
                let _ =
                    administration.execute_unprepared(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
                let _ = administration.close().await;
            });
        });
        let _ = dropping.join();
    }
}
