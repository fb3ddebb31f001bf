//! A fresh database for each test, on SQLite and on PostgreSQL.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test harness fails by panicking")]

use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, DbErr};
use std::path::Path;
use tempfile::TempDir;

/// The database that a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseKind {
    /// A file in a temporary folder.
    Sqlite,
    /// A database on the server that [`postgres_url`] names.
    Postgres,
}

/// What a test of [`on_both_databases!`](crate::on_both_databases) takes as its argument.
pub trait Fixture: Sized {
    /// Creates the fixture on a fresh database.
    fn start(kind: DatabaseKind) -> impl Future<Output = Self>;
}

impl Fixture for DatabaseKind {
    async fn start(kind: DatabaseKind) -> Self {
        kind
    }
}

impl Fixture for TestDatabase {
    async fn start(kind: DatabaseKind) -> Self {
        Self::create(kind).await
    }
}

/// Runs each `async fn name(fixture: F)` on both databases, as `name::on_sqlite` and `name::on_postgres`.
///
/// `F` is any [`Fixture`]. `sqlite only:` is for behaviour that does not depend on the database or that only SQLite has;
/// `postgres only:` is for behaviour that only PostgreSQL has.
///
/// ```text
/// on_both_databases![reservation_is_created, overlap_is_rejected];
/// on_both_databases![sqlite only: malformed_json_is_rejected];
/// on_both_databases![postgres only: claim_skips_locked_row];
///
/// async fn reservation_is_created(t: TestService) { … }
/// ```
#[macro_export]
macro_rules! on_both_databases {
    (sqlite only: $($name:ident),+ $(,)?) => {
        $(mod $name {
            $crate::on_both_databases!(@test $name, on_sqlite, Sqlite);
        })+
    };
    (postgres only: $($name:ident),+ $(,)?) => {
        $(mod $name {
            $crate::on_both_databases!(@test $name, on_postgres, Postgres);
        })+
    };
    (@test $name:ident, $function:ident, $kind:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $function() {
            $crate::run_test($crate::DatabaseKind::$kind, super::$name).await;
        }
    };
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            $crate::on_both_databases!(@test $name, on_sqlite, Sqlite);
            $crate::on_both_databases!(@test $name, on_postgres, Postgres);
        })+
    };
}

/// Runs one test on a fresh fixture; leaves it out when it needs PostgreSQL and `BERTH_TEST_POSTGRES` is `off`.
pub async fn run_test<F: Fixture>(kind: DatabaseKind, test: impl AsyncFnOnce(F)) {
    if kind == DatabaseKind::Sqlite || postgres_url().is_some() {
        test(F::start(kind).await).await;
    }
}

/// The PostgreSQL server for tests, without a database: `BERTH_TEST_POSTGRES`, or the server on this machine's default port.
///
/// `None` when `BERTH_TEST_POSTGRES` is `off`.
pub fn postgres_url() -> Option<String> {
    let url = std::env::var("BERTH_TEST_POSTGRES").unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432".into());
    if url == "off" {
        return None;
    }
    let mut url = url::Url::parse(&url).expect("BERTH_TEST_POSTGRES should be a URL or `off`");
    url.set_path("");
    Some(url.to_string())
}

/// An empty database and a data folder. Both are removed on drop.
pub struct TestDatabase {
    /// Its URL, as in `BERTH_DATABASE_URL`.
    pub url: String,
    folder: TempDir,
    /// PostgreSQL: the server and the name of the database to drop.
    created: Option<(String, String)>,
}

impl TestDatabase {
    /// Creates an empty database.
    ///
    /// # Panics
    /// When PostgreSQL does not respond, or [`postgres_url`] is `None`.
    pub async fn create(kind: DatabaseKind) -> Self {
        match kind {
            DatabaseKind::Sqlite => Self::sqlite_in(&std::env::temp_dir()),
            DatabaseKind::Postgres => Self::postgres_on(postgres_url().expect("tests of PostgreSQL are off")).await,
        }
    }

    /// Creates an empty SQLite database on the file system of `parent`.
    pub fn sqlite_in(parent: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("berth-test-").tempdir_in(parent).unwrap();
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("berth.db").display());
        Self { url, folder, created: None }
    }

    /// An existing database, which is kept on drop.
    pub fn existing(url: String) -> Self {
        Self { url, folder: tempfile::tempdir().unwrap(), created: None }
    }

    /// Creates an empty database on a PostgreSQL server, whose URL has no database.
    ///
    /// # Panics
    /// When the server does not respond.
    pub async fn postgres_on(server: String) -> Self {
        let name = format!("berth_test_{:016x}", rand::random::<u64>());
        let admin = connect(&format!("{server}/postgres")).await.unwrap_or_else(|error| {
            panic!(
                "PostgreSQL does not respond at {server}: {error}. Start it, name another server in BERTH_TEST_POSTGRES, \
                 or set BERTH_TEST_POSTGRES=off to leave out its tests."
            )
        });
        admin.execute_unprepared(&format!("CREATE DATABASE {name} TEMPLATE template0")).await.unwrap();
        admin.close().await.unwrap();
        let url = format!("{server}/{name}");
        Self { url, folder: tempfile::tempdir().unwrap(), created: Some((server, name)) }
    }

    /// A folder for the processes that use the database. A SQLite database is in it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A connection of the test's own, beside those of the program under test.
    pub async fn connect(&self) -> DatabaseConnection {
        connect(&self.url).await.unwrap_or_else(|error| panic!("the database does not respond: {error}"))
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let Some((server, name)) = self.created.take() else { return };
        // The test's runtime may be shutting down: drop the database on a separate one.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                if let Ok(admin) = connect(&format!("{server}/postgres")).await {
                    let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                    let _ = admin.execute_unprepared(&sql).await;
                    let _ = admin.close().await;
                }
            });
        });
        let _ = dropping.join();
    }
}

async fn connect(url: &str) -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    Database::connect(options).await
}
