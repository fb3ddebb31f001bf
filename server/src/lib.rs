//! The process `berth`: command line, settings, HTTP and workers. A library too, so that tests start the whole product.

pub mod cli;
pub mod config;
pub mod demo;
pub mod http;
pub mod metrics;
pub mod workers;

use axum::serve::ListenerExt as _;
use config::Config;
use domain::account::UserInput;
use domain::authorization::Role;
use http::health::Probes;
use metrics::Metrics;
use service::{Service, SystemClock};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long open requests may take to end when the process stops.
const GRACE: Duration = Duration::from_secs(15);

/// Opens the database, brings its schema up to date and opens the service.
///
/// # Errors
/// A sentence for the operator.
pub async fn open(config: &Config) -> Result<Service, String> {
    open_with(config, Arc::new(SystemClock)).await
}

/// [`open`] with another clock, for tests.
///
/// # Errors
/// A sentence for the operator.
pub async fn open_with(config: &Config, clock: Arc<dyn service::Clock>) -> Result<Service, String> {
    let connections = service::connect(&config.service.database_url).await.map_err(|error| error.to_string())?;
    migrations::up(connections.writer())
        .await
        .map_err(|error| format!("The database schema could not be brought up to date: {error}"))?;
    Service::open_with(config.service.clone(), clock, connections).map_err(|error| error.to_string())
}

/// Makes the administrator of the settings, if nobody exists yet.
async fn first_administrator(service: &Service, config: &Config) -> Result<(), String> {
    let Some((username, password)) = &config.admin else { return Ok(()) };
    if !service.needs_setup().await.map_err(|problem| problem.detail)? {
        return Ok(());
    }
    let host = url::Url::parse(&config.public_url).ok().and_then(|url| url.host_str().map(str::to_owned));
    let input = UserInput {
        username: username.clone(),
        email: format!(
            "{username}@{}",
            host.filter(|host| host.contains('.') && host.parse::<std::net::IpAddr>().is_err())
                .unwrap_or_else(|| "localhost".to_owned())
        ),
        password: password.clone(),
        role: Role::Administrator,
    };
    service.create_user_as_operator(input).await.map(|_| ()).map_err(|problem| {
        let faults: Vec<String> = problem.errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect();
        format!(
            "The administrator of BERTH_ADMIN_USERNAME and BERTH_ADMIN_PASSWORD cannot be made. {} {}",
            problem.detail,
            faults.join(" ")
        )
    })
}

/// A lock on a SQLite database's folder: who holds it is its only dispatching process, and may take every lease up at once.
fn try_dispatcher_lock(config: &Config) -> Option<std::fs::File> {
    let path = config.service.database_url.strip_prefix("sqlite://")?.split('?').next()?;
    let file =
        std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(format!("{path}.dispatcher")).ok()?;
    file.try_lock().ok().map(|()| file)
}

/// Runs the whole product on `listener` until `cancel`.
///
/// # Errors
/// A sentence for the operator.
pub async fn run(config: Config, listener: TcpListener, cancel: CancellationToken) -> Result<(), String> {
    let service = open(&config).await?;
    serve(config, service, listener, cancel).await
}

/// Serves an open service on `listener` until `cancel`; then lets open requests and deliveries end.
///
/// # Errors
/// A sentence for the operator.
pub async fn serve(
    config: Config,
    service: Service,
    listener: TcpListener,
    cancel: CancellationToken,
) -> Result<(), String> {
    let metrics = Metrics::install()?;
    first_administrator(&service, &config).await?;
    let lock = try_dispatcher_lock(&config);
    if lock.is_some() {
        service.reap_expired_leases(true).await.map_err(|problem| problem.detail)?;
    }
    let setup_code: Arc<str> =
        service::secrets::random::<16>().iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
    if service.needs_setup().await.map_err(|problem| problem.detail)? {
        tracing::info!(
            "Berth has no administrator yet. Set it up once at {}/setup?code={setup_code}",
            config.public_url
        );
    }
    let (mut tasks, pulse) = workers::spawn(&service, &cancel);
    let health = Probes { service: service.clone(), pulse, cancel: cancel.clone(), metrics: metrics.clone() };
    let app = http::AppState {
        service,
        health,
        rates: Arc::new(http::guard::Rates::new(config.api_rate)),
        config: Arc::new(config),
        cancel: cancel.clone(),
        setup_code,
        streams: Arc::default(),
    };
    let rates = app.rates.clone();
    tasks.spawn(every_minute(cancel.clone(), move || {
        metrics.run_upkeep();
        rates.prune();
    }));
    let router = http::router(app).into_make_service_with_connect_info::<SocketAddr>();
    // Small answers and events leave at once.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
    });
    let stop = cancel.clone();
    let server = axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await });
    let server = tokio::spawn(server.into_future());
    cancel.cancelled().await;
    match tokio::time::timeout(GRACE, server).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => return Err(format!("Serving ended: {error}")),
        Ok(Err(_)) | Err(_) => tracing::warn!("some requests did not end in time"),
    }
    while tasks.join_next().await.is_some() {}
    drop(lock);
    Ok(())
}

/// Runs the workers alone until `cancel`, and serves health and metrics on `listener`, if there is one.
///
/// # Errors
/// A sentence for the operator.
pub async fn work(service: Service, listener: Option<TcpListener>, cancel: CancellationToken) -> Result<(), String> {
    let metrics = Metrics::install()?;
    let (mut tasks, pulse) = workers::spawn(&service, &cancel);
    let upkeep = metrics.clone();
    tasks.spawn(every_minute(cancel.clone(), move || upkeep.run_upkeep()));
    if let Some(listener) = listener {
        let health = Probes { service, pulse, cancel: cancel.clone(), metrics };
        let stop = cancel.clone();
        let server = axum::serve(listener, http::health::router().with_state(health))
            .with_graceful_shutdown(async move { stop.cancelled().await });
        tasks.spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "health and metrics are no longer served");
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}

async fn every_minute(cancel: CancellationToken, act: impl Fn() + Send) {
    while tokio::time::timeout(Duration::from_secs(60), cancel.cancelled()).await.is_err() {
        act();
    }
}
