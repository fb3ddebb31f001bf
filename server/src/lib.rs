//! The `berth` process: command line, settings, HTTP and workers. It is a library, so that tests can start the whole process.

pub mod cli;
pub mod config;
pub mod demo;
pub mod http;
pub mod metrics;
pub mod telemetry;
pub mod workers;

use crate::http::AppState;
use crate::http::health::{self, Probes};
use crate::http::middleware::rate_limit::RateLimits;
use axum::serve::ListenerExt as _;
use config::Config;
use domain::account::UserInput;
use domain::authorization::Role;
use metrics::Metrics;
use service::{Service, SystemClock};
use std::fs::{File, OpenOptions};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Timeout for open requests at shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(15);
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
    migrations::up(connections.writer())
        .await
        .map_err(|error| format!("The database schema cannot be migrated: {error}"))?;
    Service::open_with(config.service.clone(), clock, connections).map_err(|error| error.to_string())
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
    let lock = try_dispatcher_lock(&config);
    if lock.is_some() {
        service.dispatcher().reap_expired_leases(true).await.map_err(|error| error.into_problem().detail)?;
    }
    let setup_code: Arc<str> = hex::encode(service::secrets::random::<16>()).into();
    if service.accounts().needs_setup().await.map_err(|problem| problem.detail)? {
        let url = format!("{}/setup?code={setup_code}", config.public_url);
        tracing::info!("Berth has no administrator yet. Open this one-time link to create one: {url}");
    }
    let (mut tasks, heartbeat) = workers::spawn(&service, &cancel);
    let app = AppState {
        health: Probes { service: service.clone(), heartbeat, cancel: cancel.clone(), metrics: metrics.clone() },
        service,
        rate_limits: Arc::new(RateLimits::new(config.api_rate)),
        config: Arc::new(config),
        cancel: cancel.clone(),
        setup_code,
        streams: Arc::default(),
    };
    let rate_limits = app.rate_limits.clone();
    tasks.spawn(run_upkeep(cancel.clone(), move || {
        metrics.run_upkeep();
        rate_limits.prune();
    }));
    serve_until_cancelled(listener, crate::http::router(app), &cancel).await?;
    while tasks.join_next().await.is_some() {}
    drop(lock);
    Ok(())
}

/// Runs only the workers until `cancel`, and serves health and metrics if there is a `listener`.
///
/// # Errors
/// Returns a message for the operator if the metrics recorder cannot be installed.
pub async fn work(service: Service, listener: Option<TcpListener>, cancel: CancellationToken) -> Result<(), String> {
    let metrics = Metrics::install()?;
    let (mut tasks, heartbeat) = workers::spawn(&service, &cancel);
    let upkeep = metrics.clone();
    tasks.spawn(run_upkeep(cancel.clone(), move || upkeep.run_upkeep()));
    if let Some(listener) = listener {
        let probes = Probes { service, heartbeat, cancel: cancel.clone(), metrics };
        spawn_health_server(&mut tasks, listener, probes, cancel);
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}

/// Serves `router` until `cancel`, then waits for open requests, at most [`SHUTDOWN_TIMEOUT`].
async fn serve_until_cancelled(
    listener: TcpListener,
    router: axum::Router,
    cancel: &CancellationToken,
) -> Result<(), String> {
    // Nagle's algorithm would delay small responses and live events.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY is not available");
        }
    });
    let router = router.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, router).with_graceful_shutdown(cancel.clone().cancelled_owned());
    let server = tokio::spawn(server.into_future());
    cancel.cancelled().await;
    match tokio::time::timeout(SHUTDOWN_TIMEOUT, server).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => return Err(format!("The HTTP server failed: {error}")),
        Ok(Err(_)) | Err(_) => tracing::warn!("some requests did not end within {SHUTDOWN_TIMEOUT:?}"),
    }
    Ok(())
}

fn spawn_health_server(tasks: &mut JoinSet<()>, listener: TcpListener, probes: Probes, cancel: CancellationToken) {
    let server =
        axum::serve(listener, health::router().with_state(probes)).with_graceful_shutdown(cancel.cancelled_owned());
    tasks.spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "the health server failed");
        }
    });
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
            cli::format_problem(problem)
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
    let path = config.service.database_url.strip_prefix("sqlite://")?.split('?').next()?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(format!("{path}.dispatcher")).ok()?;
    file.try_lock().ok().map(|()| file)
}

async fn run_upkeep(cancel: CancellationToken, act: impl Fn() + Send) {
    while tokio::time::timeout(UPKEEP_INTERVAL, cancel.cancelled()).await.is_err() {
        act();
    }
}
