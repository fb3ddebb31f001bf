//! A whole server on a fresh database, with a clock that can be put forward, an administrator and two people.

use crate::client::{Reply, TestClient};
use crate::receiver::Receiver;
use chrono::{DateTime, Duration, SecondsFormat, Utc};
use domain::account::{ApiTokenInput, UserInput};
use domain::authorization::Role;
use domain::endpoint::{Network, UrlPolicy};
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection};
use serde_json::{Value, json};
use server::config::{Config, Environment};
use service::Service;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The password of everybody.
pub const PASSWORD: &str = "correct horse battery";

/// The longest that anything awaited may take; far above what it takes.
pub const DEADLINE: std::time::Duration = std::time::Duration::from_secs(30);

/// Runs each of these `async fn name(t: TestServer)` on both engines, as `name::on_sqlite` and `name::on_postgres`.
macro_rules! on_both_engines {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                super::$name($crate::support::TestServer::start($crate::support::Engine::Sqlite).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                if $crate::support::postgres().is_some() {
                    super::$name($crate::support::TestServer::start($crate::support::Engine::Postgres).await).await;
                }
            }
        })+
    };
}
pub(crate) use on_both_engines;

/// The same for what does not depend on the database: on SQLite alone.
macro_rules! on_one_engine {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            #[tokio::test]
            async fn on_sqlite() {
                super::$name($crate::support::TestServer::start($crate::support::Engine::Sqlite).await).await;
            }
        })+
    };
}
pub(crate) use on_one_engine;

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// The PostgreSQL server to test on, unless it is left out.
pub fn postgres() -> Option<String> {
    let server = std::env::var("BERTH_TEST_POSTGRES").unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432".into());
    (server != "off").then(|| server.trim_end_matches('/').to_owned())
}

/// An empty database with a data folder; both go when it is dropped.
struct TestDatabase {
    url: String,
    folder: tempfile::TempDir,
    /// PostgreSQL: its server and name.
    server: Option<(String, String)>,
}

async fn administration(server: &str) -> Result<DatabaseConnection, sea_orm::DbErr> {
    let mut options = sea_orm::ConnectOptions::new(format!("{server}/postgres"));
    options.max_connections(1).sqlx_logging(false);
    Database::connect(options).await
}

impl TestDatabase {
    async fn new(engine: Engine) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if engine == Engine::Sqlite {
            let url = format!("sqlite://{}?mode=rwc", folder.path().join("berth.db").display());
            return Self { url, folder, server: None };
        }
        let server = postgres().expect("a test of PostgreSQL must ask support::postgres() first");
        let name = format!("berth_api_{:016x}", rand::random::<u64>());
        let administration = administration(&server).await.unwrap_or_else(|error| {
            panic!(
                "PostgreSQL does not answer at {server}: {error}. Start it, name another in BERTH_TEST_POSTGRES, or set \
                 BERTH_TEST_POSTGRES=off to leave its tests out."
            )
        });
        administration.execute_unprepared(&format!("CREATE DATABASE {name} TEMPLATE template0")).await.unwrap();
        administration.close().await.unwrap();
        Self { url: format!("{server}/{name}"), folder, server: Some((server, name)) }
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let Some((server, name)) = self.server.clone() else { return };
        // On a runtime of its own: this one may be ending.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                if let Ok(administration) = administration(&server).await {
                    let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                    let _ = administration.execute_unprepared(&sql).await;
                    let _ = administration.close().await;
                }
            });
        });
        let _ = dropping.join();
    }
}

/// The machine's clock, which a test can put forward. It goes on by itself: the dispatcher waits for real.
#[derive(Default)]
pub struct ShiftedClock(AtomicI64);

impl ShiftedClock {
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.num_milliseconds(), Ordering::SeqCst);
    }
}

impl service::Clock for ShiftedClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now() + Duration::milliseconds(self.0.load(Ordering::SeqCst))
    }
}

/// A server under test.
pub struct TestServer {
    pub url: String,
    pub clock: Arc<ShiftedClock>,
    /// The use cases, for what only the operator's shell does.
    pub service: Service,
    /// A client that is nobody.
    pub nobody: TestClient,
    /// The administrator, by API token.
    pub root: TestClient,
    /// A user, by API token.
    pub alice: TestClient,
    /// Another.
    pub bob: TestClient,
    cancel: CancellationToken,
    task: Option<tokio::task::JoinHandle<Result<(), String>>>,
    database: TestDatabase,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl TestServer {
    /// With the settings of development.
    pub async fn start(engine: Engine) -> Self {
        Self::start_with(engine, |_| {}).await
    }

    /// With the settings of production behind `https://berth.example.com`.
    pub async fn start_in_production() -> Self {
        Self::start_with(Engine::Sqlite, |config| {
            config.env = Environment::Production;
            config.public_url = "https://berth.example.com".into();
            config.service.public_url.clone_from(&config.public_url);
            config.service.url_policy = UrlPolicy::default();
        })
        .await
    }

    /// With other settings.
    pub async fn start_with(engine: Engine, adjust: impl FnOnce(&mut Config)) -> Self {
        let mut t = Self::start_empty(engine, adjust).await;
        t.root = t.person("root", Role::Administrator).await;
        t.alice = t.person("alice", Role::User).await;
        t.bob = t.person("bob", Role::User).await;
        t
    }

    /// Without any account.
    pub async fn start_empty(engine: Engine, adjust: impl FnOnce(&mut Config)) -> Self {
        let database = TestDatabase::new(engine).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen = listener.local_addr().unwrap();
        let url = format!("http://{listen}");
        let loopback = ["127.0.0.0/8", "::1"].map(|network| Network::parse(network).unwrap());
        let mut config = Config {
            listen,
            public_url: url.clone(),
            env: Environment::Development,
            service: service::Settings {
                database_url: database.url.clone(),
                public_url: url.clone(),
                master_key: [7; 32],
                url_policy: UrlPolicy { allow_http: true, allow_networks: loopback.to_vec() },
                retention_days: 30,
                delivery_timeout: std::time::Duration::from_secs(5),
            },
            // Tests ask faster than anybody; the limit has a test of its own.
            api_rate: 0,
            admin: None,
            trust_proxy: false,
            data_dir: database.folder.path().to_owned(),
            telemetry: server::telemetry::Settings::default(),
        };
        adjust(&mut config);
        let clock = Arc::new(ShiftedClock::default());
        let service = server::open_with(&config, clock.clone()).await.unwrap();
        let cancel = CancellationToken::new();
        let task = tokio::spawn(server::serve(config, service.clone(), listener, cancel.clone()));
        let nobody = TestClient::new(&url);
        Self {
            url,
            clock,
            service,
            root: nobody.clone(),
            alice: nobody.clone(),
            bob: nobody.clone(),
            nobody,
            cancel,
            task: Some(task),
            database,
        }
    }

    /// A new account, with a client that has an API token of all scopes.
    pub async fn person(&self, username: &str, role: Role) -> TestClient {
        let email = format!("{username}@example.com");
        let input = UserInput { username: username.into(), email, password: PASSWORD.into(), role };
        self.service.create_user_as_operator(input).await.unwrap();
        let input = ApiTokenInput { name: "test".into(), scopes: None, expires_at: None };
        let made = self.service.create_token_as_operator(username, input).await.unwrap();
        self.nobody.with_token(&made.token)
    }

    /// A person's client as a browser that logged in.
    pub async fn browser(&self, username: &str) -> TestClient {
        let reply = self.log_in(username, PASSWORD, 200).await;
        self.nobody.with_session(&reply.session())
    }

    pub async fn log_in(&self, username: &str, password: &str, expected: u16) -> Reply {
        self.nobody.post("/session", json!({"username": username, "password": password}), expected).await
    }

    /// A connection to the database itself, for what no request can bring about.
    pub async fn database(&self) -> DatabaseConnection {
        let mut options = sea_orm::ConnectOptions::new(&self.database.url);
        options.sqlx_logging(false);
        Database::connect(options).await.unwrap()
    }

    /// Tells the server to stop, as SIGTERM does; it ends in peace.
    pub async fn stop(&mut self) {
        self.cancel.cancel();
        let task = self.task.take().expect("it is stopped once");
        tokio::time::timeout(DEADLINE, task).await.expect("the server should stop").unwrap().unwrap();
    }

    /// The server's time.
    pub fn now(&self) -> DateTime<Utc> {
        self.service.now()
    }

    /// So many hours from now, on the wire.
    pub fn hours(&self, hours: i64) -> String {
        wire(self.now() + Duration::hours(hours))
    }

    /// A resource of the type `gpu-cluster`, which is made when there is none.
    pub async fn resource(&self, name: &str, status: &str) -> i64 {
        if self.root.get("/resource-types", 200).await.items().is_empty() {
            self.root.post("/resource-types", gpu_cluster(), 201).await;
        }
        let input = json!({"name": name, "resource_type": "gpu-cluster", "status": status});
        self.root.post("/resources", input, 201).await.id()
    }

    /// The input of a reservation from one hour to another, counted from now.
    pub fn span(&self, resource: i64, from: i64, to: i64) -> Value {
        json!({"resource_id": resource, "start_time": self.hours(from), "end_time": self.hours(to)})
    }

    /// A reservation that must come about; its id.
    pub async fn booking(&self, who: &TestClient, resource: i64, from: i64, to: i64) -> String {
        who.post("/reservations", self.span(resource, from, to), 201).await.text("id").to_owned()
    }

    /// A webhook of every event to a receiver, with the changes of `with`; what its creation answered.
    pub async fn webhook(&self, receiver: &Receiver, with: Value) -> Reply {
        self.root.post("/webhooks", webhook_input(&receiver.url, with), 201).await
    }

    /// Waits until the log holds `count` deliveries of this filter and all of them are finished; oldest first.
    pub async fn finished(&self, filter: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} finished deliveries of {filter:?}"), async || {
            let reply = self.root.get(&format!("/deliveries?limit=200&{filter}"), 200).await;
            let done = |item: &Value| matches!(item["status"].as_str(), Some("succeeded" | "failed" | "cancelled"));
            let mut items = reply.items().to_vec();
            items.reverse();
            (items.len() == count && items.iter().all(done)).then_some(items)
        })
        .await
    }

    /// Waits until a reservation's provisioning has this status; all of it.
    pub async fn provisioning(&self, reservation: &str, status: &str) -> Value {
        eventually(&format!("provisioning {status}"), async || {
            let reply = self.root.get(&format!("/reservations/{reservation}"), 200).await;
            let state = reply.body["provisioning"].clone();
            (state["status"] == status).then_some(state)
        })
        .await
    }
}

/// A time as the API writes it.
pub fn wire(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The time that the API wrote.
pub fn time(value: &Value) -> DateTime<Utc> {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} should be a time"));
    assert!(text.ends_with('Z'), "{text} should be in UTC");
    text.parse().unwrap()
}

/// A type with a config schema.
pub fn gpu_cluster() -> Value {
    json!({"slug": "gpu-cluster", "name": "GPU cluster", "color": "#00aa88", "config_schema": {"type": "object", "properties": {
        "gpu_type": {"type": "string", "enum": ["nvidia-a100", "nvidia-h100"], "default": "nvidia-a100"},
        "gpu_count": {"type": "integer", "minimum": 1, "maximum": 16, "default": 4},
    }}})
}

/// The input of a webhook of every event, in the guide's layout, which fails for good at its first failure; with the
/// fields of `with` on top.
pub fn webhook_input(url: &str, with: Value) -> Value {
    let mut input = json!({
        "name": "Provisioner", "endpoint_url": format!("{url}/api/webhook"), "resource_type": "gpu-cluster",
        "events": ["reservation.created", "reservation.updated", "reservation.cancelled", "reservation.expired", "user.access_requested"],
        "auth": {"method": "none"}, "retry": {"waits": []},
    });
    for (name, value) in with.as_object().into_iter().flatten() {
        input[name] = value.clone();
    }
    input
}

/// Polls until `condition` gives something.
pub async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let polling = async {
        loop {
            if let Some(found) = condition().await {
                return found;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, polling).await.unwrap_or_else(|_| panic!("in vain waited for: {what}"))
}
