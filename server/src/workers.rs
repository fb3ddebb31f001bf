//! The background tasks of the process: the dispatcher, expiry and retention.

use domain::Problem;
use service::Service;
use service::dispatcher::Heartbeat;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The longest time between two checks for ended reservations.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(5);
/// Reservations that one round expires at most.
const EXPIRY_BATCH: u64 = 100;
/// The pause after retention has deleted everything that is due.
const RETENTION_INTERVAL: Duration = Duration::from_secs(600);
/// The pause between two batches of retention, so that other statements are not delayed.
const RETENTION_PAUSE: Duration = Duration::from_millis(200);
/// The pause after retention failed.
const RETENTION_RETRY: Duration = Duration::from_secs(60);

/// Starts every background task; they end after `cancel`. The heartbeat is the dispatcher's.
pub fn spawn(service: &Service, cancel: &CancellationToken) -> (JoinSet<()>, Arc<Heartbeat>) {
    let mut tasks = JoinSet::new();
    let dispatcher = service.dispatcher();
    let heartbeat = dispatcher.heartbeat();
    tasks.spawn(dispatcher.run(cancel.clone()));
    tasks.spawn(until(cancel.clone(), expiry(service.clone())));
    tasks.spawn(until(cancel.clone(), retention(service.clone())));
    (tasks, heartbeat)
}

async fn until(cancel: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = cancel.cancelled() => {}
        () = work => {}
    }
}

/// Expires reservations when they end. After downtime it expires all that ended meanwhile.
async fn expiry(service: Service) {
    loop {
        let pause = expire(&service).await.unwrap_or_else(|problem| {
            tracing::warn!(%problem, "reservations were not expired; the next round tries again");
            EXPIRY_INTERVAL
        });
        tokio::time::sleep(pause).await;
    }
}

/// Expires reservations that have ended. Returns the pause before the next round.
async fn expire(service: &Service) -> Result<Duration, Problem> {
    let Some(end) = service.reservations().next_expiry().await? else { return Ok(EXPIRY_INTERVAL) };
    let left = (end - service.now()).to_std().unwrap_or_default();
    if !left.is_zero() {
        return Ok(left.min(EXPIRY_INTERVAL));
    }
    // If none was expired, another replica is expiring them, or the log contains the errors.
    Ok(if service.reservations().expire_due(EXPIRY_BATCH).await? == 0 { EXPIRY_INTERVAL } else { Duration::ZERO })
}

/// Deletes rows that are past their retention, a small batch at a time.
async fn retention(service: Service) {
    loop {
        let pause = match service.maintenance().retention_batch().await {
            Ok(0) => RETENTION_INTERVAL,
            Ok(_) => RETENTION_PAUSE,
            Err(problem) => {
                tracing::warn!(%problem, "retention failed; the next round tries again");
                RETENTION_RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
}
