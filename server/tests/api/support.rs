//! A whole server on a fresh database, with a running clock that a test can advance, an administrator and two users.

use crate::client::{Reply, TestClient};
use chrono::{DateTime, Duration, SecondsFormat, Utc};
use domain::account::{ApiTokenInput, UserInput};
use domain::authorization::Role;
use domain::endpoint::{Network, UrlPolicy};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement};
use serde_json::{Value, json};
use server::client_address::TrustedProxies;
use server::config::{Config, Environment};
use server::listener::Limits;
use service::Service;
use test_support::{DEADLINE, DatabaseKind, Fixture, ManualClock, Receiver, TestDatabase, eventually};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The password of every account.
pub const PASSWORD: &str = "correct horse battery";

/// A server under test.
///
/// Drop stops the server and asserts that it delivered every due delivery and kept no lease. Tests need a multi-threaded
/// runtime for it.
pub struct TestServer {
    pub url: String,
    pub clock: ManualClock,
    /// The use cases, for operations that only the command line offers.
    pub service: Service,
    /// A client without credentials.
    pub anonymous: TestClient,
    /// The administrator, with an API token.
    pub root: TestClient,
    /// A user, with an API token.
    pub alice: TestClient,
    /// Another user, by API token.
    pub bob: TestClient,
    cancel: CancellationToken,
    task: Option<tokio::task::JoinHandle<Result<(), String>>>,
    database: TestDatabase,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.cancel.cancel();
            return;
        }
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(self.assert_drained()));
    }
}

impl Fixture for TestServer {
    async fn start(kind: DatabaseKind) -> Self {
        Self::start_with(kind, |_| {}).await
    }
}

/// Deliveries that the dispatcher should have sent: due, of an enabled webhook without a local listener, and not behind a retry of an earlier one.
const OVERDUE: &str = "
    SELECT COUNT(*) FROM outbox o
    JOIN webhooks w ON w.id = o.webhook_id AND w.state = 'enabled' AND w.delivery_mode = 'http'
    WHERE o.due_at <= $1
      AND NOT EXISTS (
        SELECT 1 FROM outbox earlier
        WHERE earlier.webhook_id = o.webhook_id AND earlier.ordering_key = o.ordering_key
          AND earlier.seq < o.seq AND earlier.due_at > $1
      )";

/// Deliveries that a dispatcher holds.
const LEASED: &str = "SELECT COUNT(*) FROM outbox WHERE lease_owner IS NOT NULL";

impl TestServer {
    /// Starts a server with production settings behind `https://berth.example.com`.
    pub async fn start_in_production() -> Self {
        Self::start_with(DatabaseKind::Sqlite, |config| {
            config.env = Environment::Production;
            config.public_url = "https://berth.example.com".into();
            config.service.public_url.clone_from(&config.public_url);
            config.service.url_policy = UrlPolicy::default();
        })
        .await
    }

    /// Starts a server with other settings.
    pub async fn start_with(kind: DatabaseKind, adjust: impl FnOnce(&mut Config)) -> Self {
        let mut t = Self::start_empty(kind, adjust).await;
        t.root = t.person("root", Role::Administrator).await;
        t.alice = t.person("alice", Role::User).await;
        t.bob = t.person("bob", Role::User).await;
        t
    }

    /// Starts a server without any account.
    pub async fn start_empty(kind: DatabaseKind, adjust: impl FnOnce(&mut Config)) -> Self {
        let database = TestDatabase::create(kind).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen = listener.local_addr().unwrap();
        let url = format!("http://{listen}");
        let loopback = ["127.0.0.0/8", "::1"].map(|network| Network::parse(network).unwrap());
        let mut config = Config {
            listen,
            public_url: url.clone(),
            public_url_is_default: false,
            additional_hosts: Vec::new(),
            env: Environment::Development,
            service: service::Settings {
                database_url: database.url.clone(),
                public_url: url.clone(),
                master_key: [7; 32].into(),
                previous_master_keys: Vec::new(),
                url_policy: UrlPolicy { allow_http: true, allow_networks: loopback.to_vec() },
                retention_days: 30,
                access_info_retention_days: 90,
                audit_retention_days: 365,
                secret_reminder_days: 180,
                smtp: None,
                audit_is_streamed: false,
                search_text: true,
                delivery_timeout: std::time::Duration::from_secs(5),
                max_in_flight: service::MAX_IN_FLIGHT,
                accounts: service::AccountLimits::default(),
                // Tests create more than one user may. The limits have their own tests.
                quotas: service::Quotas::default(),
                single_sign_on: Default::default(),
            },
            // Tests send more requests than the default limit allows. The limit has its own test.
            api_rate: 0,
            admin: None,
            trusted_proxies: TrustedProxies::None,
            data_dir: database.folder().to_owned(),
            key_file: None,
            is_new_key_file: false,
            listener: Limits::default(),
            warnings: Vec::new(),
            metrics: server::metrics::Settings::default(),
            telemetry: server::telemetry::Settings::default(),
            audit: server::audit_stream::Settings::default(),
        };
        adjust(&mut config);
        let clock = ManualClock::running();
        let service = server::open_with(&config, clock.source()).await.unwrap();
        let cancel = CancellationToken::new();
        let task = tokio::spawn(server::serve(config, service.clone(), listener, cancel.clone()));
        let anonymous = TestClient::new(&url);
        Self {
            url,
            clock,
            service,
            root: anonymous.clone(),
            alice: anonymous.clone(),
            bob: anonymous.clone(),
            anonymous,
            cancel,
            task: Some(task),
            database,
        }
    }

    /// Creates an account; returns a client with an API token of all scopes.
    pub async fn person(&self, username: &str, role: Role) -> TestClient {
        let email = format!("{username}@example.com");
        let input = UserInput { username: username.into(), email, password: PASSWORD.into(), role };
        self.service.accounts().create_user_as_operator(input).await.unwrap();
        let input = ApiTokenInput { name: "test".into(), ..Default::default() };
        let made = self.service.accounts().create_token_as_operator(username, input).await.unwrap();
        self.anonymous.with_token(&made.token)
    }

    /// A client with a session of the user, like a browser.
    pub async fn browser(&self, username: &str) -> TestClient {
        let reply = self.log_in(username, PASSWORD, 200).await;
        self.anonymous.with_session(&reply.session())
    }

    /// Creates an API token of the user in a new session; returns the response.
    pub async fn token(&self, username: &str, input: Value) -> Reply {
        self.browser(username).await.post("/tokens", input, 201).await
    }

    pub async fn log_in(&self, username: &str, password: &str, expected: u16) -> Reply {
        self.anonymous.post("/session", json!({"username": username, "password": password}), expected).await
    }

    /// Adds an authenticator app to an account in a new session; returns its key. The clock moves, so that its next code was not
    /// used.
    pub async fn add_app(&self, username: &str) -> String {
        let session = self.log_in(username, PASSWORD, 200).await.session();
        let accounts = self.service.accounts();
        let (actor, _) = accounts.authenticate_session(&session).await.unwrap();
        let enrolment = accounts.start_app(&actor).await.unwrap();
        accounts.add_app(&actor, &enrolment.challenge, &self.code(&enrolment.key)).await.unwrap();
        self.clock.advance(Duration::seconds(30));
        enrolment.key
    }

    /// The code that an authenticator app with this key shows.
    pub fn code(&self, key: &str) -> String {
        let secret = totp_rs::Secret::try_from_base32(key).unwrap();
        let totp = totp_rs::Builder::new().with_secret(secret).build().unwrap();
        totp.generate(self.now().timestamp().unsigned_abs()).to_string()
    }

    /// Logs in to an account with a second factor; returns the response, and the token of the pending log-in.
    pub async fn second_step(&self, username: &str) -> (Reply, String) {
        let reply = self.log_in(username, PASSWORD, 401).await;
        let cookie = reply.header("set-cookie").strip_prefix("berth_second_step=").expect("a cookie");
        let token = cookie.split(';').next().unwrap().to_owned();
        (reply, token)
    }

    /// A direct connection to the database, for states that no request creates.
    pub async fn database(&self) -> DatabaseConnection {
        self.database.connect().await
    }

    /// Stops the server as SIGTERM does.
    pub async fn stop(&mut self) {
        self.cancel.cancel();
        let task = self.task.take().expect("the server should be running");
        tokio::time::timeout(DEADLINE, task).await.expect("the server should stop").unwrap().unwrap();
    }

    async fn assert_drained(&mut self) {
        let database = self.database().await;
        let count = async |sql: &str, values: Vec<sea_orm::Value>| -> i64 {
            let statement = Statement::from_sql_and_values(database.get_database_backend(), sql, values);
            database.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap()
        };
        if self.task.is_some() {
            eventually("a queue without overdue deliveries", async || {
                let now = self.now().timestamp_millis();
                (count(OVERDUE, vec![now.into()]).await == 0).then_some(())
            })
            .await;
            self.stop().await;
        }
        assert_eq!(count(LEASED, Vec::new()).await, 0, "the server stopped and kept leases");
    }

    /// The server's time.
    pub fn now(&self) -> DateTime<Utc> {
        self.service.now()
    }

    /// The time `hours` from now in the API's format.
    pub fn hours(&self, hours: i64) -> String {
        wire(self.now() + Duration::hours(hours))
    }

    /// Creates a resource of the type `gpu-cluster`, and the type if needed.
    pub async fn resource(&self, name: &str, status: &str) -> i64 {
        if self.root.get("/resource-types", 200).await.items().is_empty() {
            self.root.post("/resource-types", gpu_cluster(), 201).await;
        }
        let input = json!({"name": name, "resource_type": "gpu-cluster", "status": status});
        self.root.post("/resources", input, 201).await.id()
    }

    /// Input of a reservation; `from` and `to` are hours from now.
    pub fn span(&self, resource: i64, from: i64, to: i64) -> Value {
        json!({"resource_id": resource, "start_time": self.hours(from), "end_time": self.hours(to)})
    }

    /// Creates a reservation; returns its id.
    pub async fn booking(&self, who: &TestClient, resource: i64, from: i64, to: i64) -> String {
        who.post("/reservations", self.span(resource, from, to), 201).await.text("id").to_owned()
    }

    /// Creates a webhook for every event, changed by `with`; returns the response.
    pub async fn webhook(&self, receiver: &Receiver, with: Value) -> Reply {
        self.root.post("/webhooks", webhook_input(&receiver.url, with), 201).await
    }

    /// Creates a resource of the type `fpga`, and the type if needed.
    pub async fn fpga(&self, name: &str, status: &str) -> i64 {
        let types = self.root.get("/resource-types", 200).await;
        if !types.items().iter().any(|resource_type| resource_type["slug"] == "fpga") {
            self.root.post("/resource-types", json!({"slug": "fpga", "name": "FPGA"}), 201).await;
        }
        let input = json!({"name": name, "resource_type": "fpga", "status": status});
        self.root.post("/resources", input, 201).await.id()
    }

    /// Replaces the owners of a resource type or a resource, by its path.
    pub async fn owners(&self, path: &str, owners: Value) -> Reply {
        self.root.put(&format!("{path}/owners"), owners, 200).await
    }

    /// Waits for exactly `count` deliveries that match a filter, all of them final; oldest first.
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

    /// Waits for a provisioning status; returns the provisioning state.
    pub async fn provisioning(&self, reservation: &str, status: &str) -> Value {
        eventually(&format!("provisioning {status}"), async || {
            let reply = self.root.get(&format!("/reservations/{reservation}"), 200).await;
            let state = reply.body["provisioning"].clone();
            (state["status"] == status).then_some(state)
        })
        .await
    }
}

/// A time in the API's format.
pub fn wire(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Parses a time of the API.
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

/// Input of a webhook for every event in the default layout without retries, changed by the
/// fields of `with`.
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
