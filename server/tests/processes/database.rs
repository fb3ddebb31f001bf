//! The database under test, read independently of the processes that use it.

use super::eventually;
use super::process::Settings;
use sea_orm::{ConnectionTrait as _, QueryResult, Statement};
use std::collections::HashSet;
use std::path::Path;
use test_support::{DatabaseKind, Fixture, TestDatabase};

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

/// A test database with queries of Berth's tables.
pub struct Database(TestDatabase);

impl Fixture for Database {
    async fn start(kind: DatabaseKind) -> Self {
        Self(TestDatabase::create(kind).await)
    }
}

impl std::ops::Deref for Database {
    type Target = TestDatabase;

    fn deref(&self) -> &TestDatabase {
        &self.0
    }
}

impl Database {
    /// A SQLite database on the file system of `folder`.
    pub fn sqlite_in(folder: &Path) -> Self {
        Self(TestDatabase::sqlite_in(folder))
    }

    /// The database of a server that the test started.
    pub fn existing(url: String) -> Self {
        Self(TestDatabase::existing(url))
    }

    /// Settings of a process on this database.
    pub fn settings(&self, timeout: f64) -> Settings {
        Settings { database_url: self.url.clone(), folder: self.folder().to_owned(), timeout }
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
        rows(self, sql).await
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
        in_flight(self, "").await
    }

    /// Attempts with a lease of one dispatcher.
    pub async fn in_flight_of(&self, owner: &str) -> HashSet<Attempt> {
        in_flight(self, &format!(" AND o.lease_owner LIKE '{owner}/%'")).await
    }

    /// The next attempts of queued deliveries.
    pub async fn queued(&self) -> HashSet<Attempt> {
        let sql = "SELECT d.id, o.attempts + 1 AS attempts FROM outbox o JOIN deliveries d ON d.seq = o.seq WHERE o.lease_owner IS NULL";
        attempts(self, sql).await
    }

    /// Attempts that a killed process had in flight. A SQLite database is read from a copy: opening the file itself would
    /// run its recovery before the next process does.
    pub async fn interrupted(&self) -> HashSet<Attempt> {
        if !self.is_sqlite() {
            return self.in_flight().await;
        }
        let copy = TestDatabase::sqlite_in(&std::env::temp_dir());
        for name in ["berth.db", "berth.db-wal"] {
            let file = self.folder().join(name);
            if file.exists() {
                std::fs::copy(file, copy.folder().join(name)).unwrap();
            }
        }
        in_flight(&copy, "").await
    }

    /// Whether this is a SQLite database.
    pub fn is_sqlite(&self) -> bool {
        self.url.starts_with("sqlite:")
    }

    /// Dispatchers with a lease.
    pub async fn owners(&self) -> HashSet<String> {
        let rows = self.rows("SELECT DISTINCT lease_owner FROM outbox WHERE lease_owner IS NOT NULL").await;
        rows.iter().map(|row| owner(&row.try_get::<String>("", "lease_owner").unwrap())).collect()
    }

    /// The dispatchers that have written a heartbeat in the last minute.
    pub async fn dispatchers(&self) -> HashSet<String> {
        self.rows("SELECT name FROM dispatchers").await.iter().map(|row| row.try_get("", "name").unwrap()).collect()
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
fn owner(token: &str) -> String {
    token.split('/').next().unwrap().to_owned()
}

async fn in_flight(database: &TestDatabase, condition: &str) -> HashSet<Attempt> {
    let sql = format!(
        "SELECT d.id, o.attempts FROM outbox o JOIN deliveries d ON d.seq = o.seq WHERE o.lease_owner IS NOT NULL{condition}"
    );
    attempts(database, &sql).await
}

async fn attempts(database: &TestDatabase, sql: &str) -> HashSet<Attempt> {
    let attempt =
        |row: &QueryResult| (row.try_get("", "id").unwrap(), row.try_get::<i32>("", "attempts").unwrap() as u32);
    rows(database, sql).await.iter().map(attempt).collect()
}

/// Runs one query on its own connection, so that no connection of the test is open while a process is killed.
async fn rows(database: &TestDatabase, sql: &str) -> Vec<QueryResult> {
    let connection = database.connect().await;
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    let rows = connection.query_all_raw(statement).await.unwrap();
    connection.close().await.unwrap();
    rows
}
