//! A service on a fresh, migrated database, with a clock that the test sets.

use chrono::Duration;
use domain::account::{Credentials, UserInput};
use domain::authorization::{Actor, Role, Scope};
use domain::delivery::{DeliveryDetail, DeliveryFilter, DeliverySummary};
use domain::endpoint::{Network, UrlPolicy};
use domain::id::{DeliveryId, ResourceId, WebhookId};
use domain::pagination::PageQuery;
use domain::reservation::{Reservation, ReservationInput};
use domain::resource::{ResourceInput, ResourceStatus, ResourceTypeInput};
use domain::webhook::WebhookInput;
use domain::{Problem, ProblemKind};
use sea_orm::{ConnectionTrait as _, DatabaseConnection};
use serde_json::json;
use service::deliveries::IndexBatch;
use service::dispatcher::Dispatcher;
use service::{LinkLimits, Service, Settings, connect, connect_with};
use std::path::Path;
use test_support::{DatabaseKind, Fixture, ManualClock, PgBouncer, Receiver, TcpProxy, TestDatabase};

/// The password of every account.
pub const PASSWORD: &str = "correct horse battery";

/// The service under test. Its database is removed on drop.
pub struct TestService {
    pub service: Service,
    pub clock: ManualClock,
    pub settings: Settings,
    database: TestDatabase,
}

impl std::ops::Deref for TestService {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.service
    }
}

impl Fixture for TestService {
    async fn start(kind: DatabaseKind) -> Self {
        let database = TestDatabase::create(kind).await;
        let clock = ManualClock::frozen_at("2026-03-02T09:00:00.250Z".parse().unwrap());
        let loopback = ["127.0.0.0/8", "::1"].map(|network| Network::parse(network).unwrap());
        let settings = Settings {
            database_url: database.url.clone(),
            public_url: "https://berth.example.com".into(),
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
            delivery_timeout: std::time::Duration::from_secs(2),
            max_in_flight: service::MAX_IN_FLIGHT,
            accounts: service::AccountLimits::default(),
            // Tests create more than one user may. The limits have their own tests.
            quotas: service::Quotas::default(),
            single_sign_on: Default::default(),
        };
        let connections = connect(&settings.database_url).await.unwrap();
        migrations::up(connections.writer()).await.unwrap();
        let service = Service::open_with(settings.clone(), clock.source(), connections).await.unwrap();
        Self { service, clock, settings, database }
    }
}

impl TestService {
    /// Another process on the same database: on PostgreSQL a replica, on SQLite a command such as `berth token create`.
    pub async fn replica(&self) -> Service {
        Service::open(self.settings.clone(), self.clock.source()).await.unwrap()
    }

    /// A replica that reaches PostgreSQL through a proxy, with these times by which it recognises lost connections.
    pub async fn replica_through_proxy(&self, limits: LinkLimits) -> (TcpProxy, Service) {
        let proxy = TcpProxy::open(address(&self.settings.database_url)).await;
        let database_url = url_through(&self.settings.database_url, proxy.port);
        let connections = connect_with(&database_url, limits).await.unwrap();
        let settings = Settings { database_url, ..self.settings.clone() };
        (proxy, Service::open_with(settings, self.clock.source(), connections).await.unwrap())
    }

    /// Moves the service to the new schema `berth`, which it reaches through PgBouncer. `None` if PgBouncer is not installed.
    pub async fn use_pgbouncer(&mut self) -> Option<PgBouncer> {
        let pooler = PgBouncer::start(&self.settings.database_url).await?;
        self.database().await.execute_unprepared("CREATE SCHEMA berth").await.unwrap();
        self.settings.database_url = pooler.url_through(&self.settings.database_url) + "?search_path=berth";
        let connections = connect(&self.settings.database_url).await.unwrap();
        migrations::up(connections.writer()).await.unwrap();
        self.service = Service::open_with(self.settings.clone(), self.clock.source(), connections).await.unwrap();
        Some(pooler)
    }

    /// Opens several connections, so that concurrent calls do not wait for one.
    pub async fn ready_to_race(&self) {
        futures::future::join_all((0..8).map(|_| self.ping())).await;
    }

    /// A direct connection to the database, for states that no use case creates or returns.
    pub async fn database(&self) -> DatabaseConnection {
        self.database.connect().await
    }

    /// Stops the service and returns its database.
    pub fn stop(self) -> TestDatabase {
        self.database
    }

    /// The folder of a SQLite database.
    pub fn folder(&self) -> &Path {
        self.database.folder()
    }

    /// Creates an account; returns its actor with all scopes.
    pub async fn person(&self, username: &str, role: Role) -> Actor {
        let email = format!("{username}@example.com");
        let input = UserInput { username: username.into(), email, password: PASSWORD.into(), role };
        self.accounts().create_user_as_operator(input).await.unwrap();
        Actor {
            username: username.into(),
            role,
            scopes: Scope::ALL.to_vec(),
            session: None,
            token: None,
            owns: Default::default(),
        }
    }

    /// Logs in; returns the actor of the session.
    pub async fn logged_in(&self, username: &str) -> Actor {
        let credentials = Credentials { username: username.into(), password: PASSWORD.into() };
        let token = self.accounts().log_in(credentials, "192.0.2.1").await.unwrap().session().unwrap().token;
        self.accounts().authenticate_session(&token).await.unwrap().0
    }

    /// Creates the administrator `root`.
    pub async fn administrator(&self) -> Actor {
        self.person("root", Role::Administrator).await
    }

    /// Creates a resource of the type `gpu-cluster`, and the type if needed.
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

    /// Creates a reservation; `from` and `to` are hours from now.
    pub async fn booking(&self, actor: &Actor, resource: ResourceId, from: i64, to: i64) -> Reservation {
        self.reservations().create(actor, self.span(resource, from, to)).await.unwrap()
    }

    /// Input of a reservation; `from` and `to` are hours from now.
    pub fn span(&self, resource_id: ResourceId, from: i64, to: i64) -> ReservationInput {
        ReservationInput {
            resource_id,
            title: Some("Training".into()),
            start_time: self.now() + Duration::hours(from),
            end_time: self.now() + Duration::hours(to),
            user_ssh_key: None,
            additional_config: None,
        }
    }

    /// Creates a webhook for every event; returns its id.
    pub async fn webhook(&self, root: &Actor, receiver: &Receiver) -> WebhookId {
        self.webhooks().create(root, webhook_input(&receiver.url)).await.unwrap().webhook.id
    }

    /// The deliveries that match a filter, oldest first.
    pub async fn deliveries(&self, root: &Actor, filter: DeliveryFilter) -> Vec<DeliverySummary> {
        let page = PageQuery { limit: Some(200), cursor: None };
        let mut items = self.service.deliveries().list(root, &filter, &page).await.unwrap().items;
        items.reverse();
        items
    }

    /// Adds everything in the log to the index of searches.
    pub async fn index(&self) {
        while self.service.deliveries().index_batch(IndexBatch::SMALL).await.unwrap() > 0 {}
    }

    /// A delivery with its attempts.
    pub async fn delivery(&self, root: &Actor, id: &DeliveryId) -> DeliveryDetail {
        self.service.deliveries().get(root, id).await.unwrap()
    }
}

/// PostgreSQL: `host:port` of the server in a URL.
pub fn address(url: &str) -> String {
    let (_, rest) = url.rsplit_once('@').unwrap();
    rest.split('/').next().unwrap().to_owned()
}

/// PostgreSQL: a URL through a proxy or pooler on a local port.
pub fn url_through(url: &str, port: u16) -> String {
    url.replace(&address(url), &format!("127.0.0.1:{port}")) + "?sslmode=disable"
}

/// Input of a webhook for every event in the default layout, signed with the secret `your-secret-key`.
pub fn webhook_input(url: &str) -> WebhookInput {
    serde_json::from_value(json!({
        "name": "Provisioner", "endpoint_url": format!("{url}/api/webhook"), "resource_type": "gpu-cluster",
        "events": ["reservation.created", "reservation.updated", "reservation.cancelled", "reservation.expired", "user.access_requested"],
        "auth": {"method": "none"}, "secret": "your-secret-key",
    }))
    .unwrap()
}

/// Makes one step of a dispatcher; returns the number of attempts.
pub async fn step(dispatcher: &Dispatcher) -> usize {
    dispatcher.step().await.unwrap()
}

/// Makes steps until no delivery is due.
pub async fn drain(service: &Service) {
    let dispatcher = service.dispatcher();
    while step(&dispatcher).await > 0 {}
}

/// Asserts that a use case fails with this kind of problem; returns the problem.
#[track_caller]
pub fn refused<T>(result: Result<T, impl Into<Problem>>, kind: ProblemKind) -> Problem {
    match result {
        Ok(_) => panic!("this should have been rejected as {kind:?}"),
        Err(error) => {
            let problem = error.into();
            assert_eq!(problem.kind, kind, "{problem}");
            problem
        }
    }
}
