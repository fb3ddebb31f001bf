//! A service on a fresh, migrated database of its own, on either engine, with a clock that the test sets.
//!
//! PostgreSQL is found at `BERTH_TEST_POSTGRES` (a URL without a database); `off` leaves its tests out.

// Every test file takes what it needs of this.
#![allow(dead_code, unused_macros)]

use chrono::{DateTime, Duration, Utc};
use domain::account::UserInput;
use domain::authorization::{Actor, Role, Scope};
use domain::endpoint::{Network, UrlPolicy};
use domain::id::ResourceId;
use domain::resource::{ResourceInput, ResourceStatus, ResourceTypeInput};
use domain::{Problem, ProblemKind};
use parking_lot::Mutex;
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection};
use service::{Clock, Service, Settings, connect};
use std::path::PathBuf;
use std::sync::Arc;

/// The password of everybody in tests.
pub const PASSWORD: &str = "correct horse battery";

/// Runs each of these `async fn name(t: TestService)` on both engines, as `name::on_sqlite` and `name::on_postgres`.
macro_rules! on_both_engines {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            #[tokio::test]
            async fn on_sqlite() {
                super::$name($crate::support::open(crate::support::Engine::Sqlite).await).await;
            }

            #[tokio::test]
            async fn on_postgres() {
                if $crate::support::postgres().is_some() {
                    super::$name($crate::support::open(crate::support::Engine::Postgres).await).await;
                }
            }
        })+
    };
}
pub(crate) use on_both_engines;

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// A clock that stands still until told otherwise.
pub struct ManualClock(Mutex<DateTime<Utc>>);

impl ManualClock {
    pub fn set(&self, now: DateTime<Utc>) {
        *self.0.lock() = now;
    }

    pub fn advance(&self, by: Duration) {
        *self.0.lock() += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock()
    }
}

/// The service under test; calls go to it by `Deref`. Its database goes when it is dropped.
pub struct TestService {
    pub service: Service,
    pub clock: Arc<ManualClock>,
    pub settings: Settings,
    database: TestDatabase,
}

impl std::ops::Deref for TestService {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.service
    }
}

/// An empty database that goes when it is dropped.
pub struct TestDatabase {
    pub url: String,
    kind: Kind,
}

enum Kind {
    Sqlite(PathBuf),
    Postgres { server: String, name: String },
}

impl TestDatabase {
    pub async fn new(engine: Engine) -> Self {
        let name = format!("berth_test_{}", ulid::Ulid::new().to_string().to_lowercase());
        match engine {
            Engine::Sqlite => {
                let folder = std::env::temp_dir().join(name);
                std::fs::create_dir(&folder).unwrap();
                let url = format!("sqlite://{}?mode=rwc", folder.join("berth.db").display());
                Self { url, kind: Kind::Sqlite(folder) }
            }
            Engine::Postgres => {
                let server = postgres().expect("a test of PostgreSQL must ask support::postgres() first");
                let administration = administration(&server).await.unwrap_or_else(|error| {
                    panic!(
                        "PostgreSQL does not answer at {server}: {error}. Start it, name another in BERTH_TEST_POSTGRES, \
                         or set BERTH_TEST_POSTGRES=off to leave its tests out."
                    )
                });
                administration.execute_unprepared(&format!("CREATE DATABASE {name} TEMPLATE template0")).await.unwrap();
                administration.close().await.unwrap();
                Self { url: format!("{server}/{name}"), kind: Kind::Postgres { server, name } }
            }
        }
    }

    /// Where a SQLite database and its neighbours are.
    pub fn folder(&self) -> &std::path::Path {
        match &self.kind {
            Kind::Sqlite(folder) => folder,
            Kind::Postgres { .. } => panic!("a PostgreSQL database has no folder"),
        }
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        match &self.kind {
            Kind::Sqlite(folder) => {
                let _ = std::fs::remove_dir_all(folder);
            }
            Kind::Postgres { server, name } => {
                let (server, sql) = (server.clone(), format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
                // On a runtime of its own: this one may be ending.
                let dropping = std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(async {
                        if let Ok(administration) = administration(&server).await {
                            let _ = administration.execute_unprepared(&sql).await;
                            let _ = administration.close().await;
                        }
                    });
                });
                let _ = dropping.join();
            }
        }
    }
}

async fn administration(server: &str) -> Result<DatabaseConnection, sea_orm::DbErr> {
    let mut options = sea_orm::ConnectOptions::new(format!("{server}/postgres"));
    options.max_connections(1).sqlx_logging(false);
    Database::connect(options).await
}

/// The PostgreSQL server to test on, unless it is left out.
pub fn postgres() -> Option<String> {
    let server = std::env::var("BERTH_TEST_POSTGRES").unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432".into());
    (server != "off").then(|| server.trim_end_matches('/').to_owned())
}

/// A service on a fresh database.
pub async fn open(engine: Engine) -> TestService {
    let database = TestDatabase::new(engine).await;
    let clock = Arc::new(ManualClock(Mutex::new("2026-03-02T09:00:00.250Z".parse().unwrap())));
    let loopback = ["127.0.0.0/8", "::1"].map(|network| Network::parse(network).unwrap());
    let settings = Settings {
        database_url: database.url.clone(),
        public_url: "https://berth.example.com".into(),
        master_key: [7; 32].into(),
        url_policy: UrlPolicy { allow_http: true, allow_networks: loopback.to_vec() },
        retention_days: 30,
        delivery_timeout: std::time::Duration::from_secs(2),
    };
    let connections = connect(&settings.database_url).await.unwrap();
    migrations::up(connections.writer()).await.unwrap();
    let service = Service::open_with(settings.clone(), clock.clone(), connections).unwrap();
    TestService { service, clock, settings, database }
}

impl TestService {
    /// Another process of the same Berth (PostgreSQL: a replica; SQLite: such as `berth token create`).
    pub async fn replica(&self) -> Service {
        Service::open(self.settings.clone(), self.clock.clone()).await.unwrap()
    }

    /// Opens several connections, so that of two calls at once neither waits for one: they truly race.
    pub async fn ready_to_race(&self) {
        futures::future::join_all((0..8).map(|_| self.ping())).await;
    }

    /// A connection to the database itself, for what no use case shows.
    pub async fn database(&self) -> DatabaseConnection {
        connect(&self.settings.database_url).await.unwrap().writer().clone()
    }

    /// Where a SQLite database and its neighbours are.
    pub fn folder(&self) -> &std::path::Path {
        self.database.folder()
    }

    /// A new account, logged in.
    pub async fn person(&self, username: &str, role: Role) -> Actor {
        let email = format!("{username}@example.com");
        let input = UserInput { username: username.into(), email, password: PASSWORD.into(), role };
        self.accounts().create_user_as_operator(input).await.unwrap();
        Actor { username: username.into(), role, scopes: Scope::ALL.to_vec() }
    }

    /// The administrator `root`.
    pub async fn administrator(&self) -> Actor {
        self.person("root", Role::Administrator).await
    }

    /// A resource of the type `gpu-cluster`, which is made when there is none.
    pub async fn resource(&self, administrator: &Actor, name: &str, status: ResourceStatus) -> ResourceId {
        let slug = "gpu-cluster";
        if self.catalogue().get_type(administrator, slug).await.is_err() {
            let input = ResourceTypeInput { slug: slug.into(), name: "GPU cluster".into(), ..Default::default() };
            self.catalogue().create_type(administrator, input).await.unwrap();
        }
        let input = ResourceInput {
            name: name.into(),
            resource_type: slug.into(),
            location: None,
            specs: None,
            status: Some(status),
        };
        self.catalogue().create_resource(administrator, input).await.unwrap().id
    }
}

/// Asserts what kind of problem a use case answers with, and gives the problem.
#[track_caller]
pub fn refused<T>(result: Result<T, impl Into<Problem>>, kind: ProblemKind) -> Problem {
    match result {
        Ok(_) => panic!("this should have been refused as {kind:?}"),
        Err(error) => {
            let problem = error.into();
            assert_eq!(problem.kind, kind, "{problem}");
            problem
        }
    }
}
