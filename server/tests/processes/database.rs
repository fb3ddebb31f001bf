//! The database under test, read independently of the processes that use it.

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

/// A fresh database with a data folder; both are deleted on drop.
pub struct TestDatabase {
    pub url: String,
    folder: tempfile::TempDir,
    /// PostgreSQL: server and name, if the database must be deleted.
    server: Option<(String, String)>,
}

impl TestDatabase {
    pub fn sqlite() -> Self {
        Self::sqlite_on(&std::env::temp_dir())
    }

    /// A SQLite database in a folder on the file system of `place`.
    pub fn sqlite_on(place: &Path) -> Self {
        let folder = tempfile::tempdir_in(place).unwrap();
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("berth.db").display());
        Self { url, folder, server: None }
    }

    /// A database on the shared server; `None` when PostgreSQL tests are skipped.
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

    /// A database on a server that the test itself started.
    pub fn on_own_server(url: String) -> Self {
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

    /// PostgreSQL: the URL through a proxy on a local port.
    pub fn url_through(&self, port: u16) -> String {
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

    /// All deliveries in outbox order.
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

    /// Attempts with a lease.
    pub async fn in_flight(&self) -> HashSet<Attempt> {
        in_flight(&self.url, "").await
    }

    /// The next attempts of queued deliveries.
    pub async fn waiting(&self) -> HashSet<Attempt> {
        attempts(
            &self.url,
            "SELECT d.id, o.attempts + 1 AS attempts FROM outbox o JOIN deliveries d ON d.seq = o.seq WHERE o.lease_owner IS NULL",
        )
        .await
    }

    /// Attempts with a lease of one dispatcher.
    pub async fn in_flight_of(&self, owner: &str) -> HashSet<Attempt> {
        in_flight(&self.url, &format!(" AND o.lease_owner LIKE '{owner}/%'")).await
    }

    /// Attempts that a killed process had in flight. A SQLite database is read from a copy: opening the file itself would
    /// run its recovery before the next process does.
    pub async fn interrupted(&self) -> HashSet<Attempt> {
        if !is_sqlite(&self.url) {
            return self.in_flight().await;
        }
        let copy = tempfile::tempdir().unwrap();
        for name in ["berth.db", "berth.db-wal"] {
            let file = self.folder().join(name);
            if file.exists() {
                std::fs::copy(file, copy.path().join(name)).unwrap();
            }
        }
        in_flight(&format!("sqlite://{}?mode=rw", copy.path().join("berth.db").display()), "").await
    }

    /// Dispatchers with a lease.
    pub async fn owners(&self) -> HashSet<String> {
        let rows = self.rows("SELECT DISTINCT lease_owner FROM outbox WHERE lease_owner IS NOT NULL").await;
        rows.iter().map(|row| owner(&row.try_get::<String>("", "lease_owner").unwrap())).collect()
    }

    /// Waits until the outbox is empty.
    pub async fn drain(&self) {
        let open = "SELECT COUNT(*) FROM outbox";
        eventually("an empty outbox", async || (self.number(open).await == 0).then_some(())).await;
    }

    /// PostgreSQL: terminates all other connections to this database; returns their number.
    pub async fn terminate_connections(&self) -> i64 {
        self.number(
            "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await
    }

    /// PostgreSQL: the number of other connections to this database.
    pub async fn connections(&self) -> i64 {
        self.number(
            "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
        )
        .await
    }
}

/// The dispatcher id in a lease token.
pub fn owner(token: &str) -> String {
    token.split('/').next().unwrap().to_owned()
}

async fn in_flight(url: &str, condition: &str) -> HashSet<Attempt> {
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
            "Cannot connect to {url}: {error}. Start PostgreSQL, set BERTH_TEST_POSTGRES to another server, or set it to \
             off to skip these tests."
        )
    })
}

/// Runs one query on its own connection, so that no connection of the test is open while a process is killed.
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
        // On a separate runtime, because the current one may be shutting down.
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
