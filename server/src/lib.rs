//! The `berth` process: command line, settings, HTTP and workers. It is a library, so that tests can start the whole process.

pub mod audit_stream;
pub mod cli;
pub mod client;
pub mod client_address;
pub mod config;
pub mod demo;
pub mod descriptors;
pub mod files;
pub mod http;
pub mod listener;
mod log_writer;
pub mod master_key;
pub mod metrics;
mod signals;
pub mod telemetry;
pub mod terminal;
pub mod workers;

use crate::http::health::{self, Probes};
use crate::http::middleware::rate_limit::Limiters;
use crate::http::middleware::security_headers::probe_headers;
use crate::http::{AppState, Shared};
use axum::middleware::from_fn;
use config::Config;
use domain::account::UserInput;
use domain::authorization::Role;
use listener::Limits;
use metrics::Metrics;
use service::{Service, SystemClock};
use std::fs::{File, OpenOptions, TryLockError};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Interval at which metrics and rate limits drop outdated entries.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Opens the database, applies pending migrations and opens the service.
///
/// # Errors
/// Returns a message for the operator if the database cannot be opened or migrated.
pub async fn open(config: &Config) -> Result<Service, String> {
    open_with(config, Arc::new(SystemClock)).await
}

/// Does the same as [`open`] with the given clock, for tests.
///
/// # Errors
/// The same as [`open`].
pub async fn open_with(config: &Config, clock: Arc<dyn service::Clock>) -> Result<Service, String> {
    let connections = service::connect(&config.service.database_url).await.map_err(|error| error.to_string())?;
    migrations::up(connections.writer()).await.map_err(|error| service::explain_migration_error(&error))?;
    let mut settings = config.service.clone();
    if let Some(file) = config.key_file.as_ref().filter(|_| config.is_new_key_file) {
        settings.master_key = file.create(&connections).await?;
    }
    Service::open_with(settings, clock, connections).await.map_err(|error| error.to_string())
}

/// Serves page, API and workers on `listener` until `cancel`, then waits for open requests and deliveries.
///
/// # Errors
/// Returns a message for the operator if the first administrator cannot be created or the server fails.
pub async fn serve(
    config: Config,
    service: Service,
    listener: TcpListener,
    cancel: CancellationToken,
) -> Result<(), String> {
    let metrics = Metrics::install()?;
    create_first_administrator(&service, &config).await?;
    for username in service.accounts().accounts_with_published_password().await.map_err(|problem| problem.detail)? {
        tracing::error!(
            "The account {username} has the published password of an earlier release's demo. Anybody can log in with it: \
             change it under Settings → Users, or disable the account."
        );
    }
    let lock = try_dispatcher_lock(&config);
    if lock.is_some() {
        service.dispatcher().reap_expired_leases(true).await.map_err(|error| error.into_problem().detail)?;
    }
    if let Some(setup_code) = service.accounts().setup_code().await.map_err(|problem| problem.detail)? {
        let url = format!("{}/setup?code={setup_code}", config.public_url);
        tracing::info!("Berth has no administrator yet. Open this one-time link to create one: {url}");
    }
    let (mut tasks, heartbeat) = workers::spawn(&service, &cancel);
    audit_stream::spawn(&service, &config.audit, &cancel, &mut tasks)?;
    let flushed = service.clone();
    let limits = config.listener;
    let probes = Probes {
        service: service.clone(),
        heartbeat,
        cancel: cancel.clone(),
        metrics: metrics.clone(),
        metrics_access: config.metrics.access(),
    };
    serve_metrics(&config.metrics, &probes, &mut tasks).await?;
    let app = AppState::new(Shared {
        health: probes.clone(),
        service,
        rate_limits: Arc::new(Limiters::new(config.api_rate)),
        config,
        cancel: cancel.clone(),
        streams: Arc::default(),
    });
    tasks.spawn(app.service.single_sign_on().clone().run(cancel.clone()));
    let rate_limits = app.rate_limits.clone();
    tasks.spawn(run_upkeep(cancel.clone(), move || {
        metrics.run_upkeep();
        rate_limits.prune();
    }));
    listener::serve(listener, crate::http::router(app), limits, &cancel).await;
    while tasks.join_next().await.is_some() {}
    // After the last request: what was counted in the last minute would be lost.
    flush_audit_log(&flushed).await;
    drop(lock);
    Ok(())
}

/// Runs only the workers until `cancel`, and serves health and metrics if there is a `listener`.
///
/// # Errors
/// Returns a message for the operator if the metrics recorder cannot be installed, or the address of the metrics cannot be
/// used.
pub async fn work(
    service: Service,
    listener: Option<TcpListener>,
    settings: metrics::Settings,
    audit: audit_stream::Settings,
    cancel: CancellationToken,
) -> Result<(), String> {
    let metrics = Metrics::install()?;
    let (mut tasks, heartbeat) = workers::spawn(&service, &cancel);
    audit_stream::spawn(&service, &audit, &cancel, &mut tasks)?;
    let upkeep = metrics.clone();
    tasks.spawn(run_upkeep(cancel.clone(), move || upkeep.run_upkeep()));
    let probes = Probes { service, heartbeat, cancel: cancel.clone(), metrics, metrics_access: settings.access() };
    serve_metrics(&settings, &probes, &mut tasks).await?;
    if let Some(listener) = listener {
        let router = health::router().layer(from_fn(probe_headers)).with_state(probes);
        tasks.spawn(async move { listener::serve(listener, router, Limits::default(), &cancel).await });
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}

/// Serves metrics and health endpoints on the address of `BERTH_METRICS_LISTEN`, if there is one.
async fn serve_metrics(settings: &metrics::Settings, probes: &Probes, tasks: &mut JoinSet<()>) -> Result<(), String> {
    let Some(address) = settings.listen else { return Ok(()) };
    let listener = cli::bind(address, "BERTH_METRICS_LISTEN").await?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    tracing::info!("serving metrics on http://{address}");
    let cancel = probes.cancel.clone();
    let router = health::router()
        .layer(from_fn(probe_headers))
        .with_state(Probes { metrics_access: settings.access_on_own_listener(), ..probes.clone() });
    tasks.spawn(async move { listener::serve(listener, router, Limits::default(), &cancel).await });
    Ok(())
}

/// Writes the failures that were only counted so far.
async fn flush_audit_log(service: &Service) {
    if let Err(problem) = service.audit().flush_failures(true).await {
        tracing::warn!(%problem, "the numbers of the last failed log-ins and refusals were not recorded");
    }
}

/// Creates the administrator from the settings if no account exists.
async fn create_first_administrator(service: &Service, config: &Config) -> Result<(), String> {
    let Some((username, password)) = &config.admin else { return Ok(()) };
    if !service.accounts().needs_setup().await.map_err(|problem| problem.detail)? {
        return Ok(());
    }
    let input = UserInput {
        username: username.clone(),
        email: format!("{username}@{}", mail_domain(&config.public_url)),
        password: password.clone(),
        role: Role::Administrator,
    };
    service.accounts().create_user_as_operator(input).await.map(drop).map_err(|problem| {
        format!(
            "The account of BERTH_ADMIN_USERNAME and BERTH_ADMIN_PASSWORD cannot be created. {}",
            terminal::format_problem(problem)
        )
    })
}

/// E-mail domain of the first administrator: the host of the public URL, or `localhost` for an IP address or a name without
/// a dot.
fn mail_domain(public_url: &str) -> String {
    let host = url::Url::parse(public_url).ok().and_then(|url| url.host_str().map(str::to_owned));
    host.filter(|host| host.contains('.') && host.parse::<IpAddr>().is_err()).unwrap_or_else(|| "localhost".to_owned())
}

/// Locks a SQLite database for dispatching. The holder is the only dispatching process, so it can reap every lease at start.
/// Returns `None` for PostgreSQL, or if another process holds the lock.
fn try_dispatcher_lock(config: &Config) -> Option<File> {
    let database = service::sqlite_file(&config.service.database_url).ok()??;
    lock_dispatching(&database).ok()?
}

/// Takes the dispatcher lock of a SQLite file. Returns `None` if another process holds it.
fn lock_dispatching(database: &Path) -> std::io::Result<Option<File>> {
    let mut path = database.as_os_str().to_owned();
    path.push(".dispatcher");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

async fn run_upkeep(cancel: CancellationToken, act: impl Fn() + Send) {
    while tokio::time::timeout(UPKEEP_INTERVAL, cancel.cancelled()).await.is_err() {
        act();
    }
}
