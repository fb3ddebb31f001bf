//! What runs beside the requests: dispatching, expiry, retention.

use domain::Problem;
use service::Service;
use service::dispatcher::Heartbeat;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often a worker looks although nothing told it to.
const POLL: Duration = Duration::from_secs(5);

/// Starts every worker; they end when `cancel` is. The pulse tells whether the dispatcher lives.
pub fn spawn(service: &Service, cancel: &CancellationToken) -> (JoinSet<()>, Arc<Heartbeat>) {
    let mut tasks = JoinSet::new();
    let dispatcher = service.dispatcher();
    let pulse = dispatcher.heartbeat();
    tasks.spawn(dispatcher.run(cancel.clone()));
    tasks.spawn(until(cancel.clone(), expiry(service.clone())));
    tasks.spawn(until(cancel.clone(), retention(service.clone())));
    (tasks, pulse)
}

async fn until(cancel: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = cancel.cancelled() => {}
        () = work => {}
    }
}

/// Expires reservations as they end; after downtime it catches up with all that ended meanwhile.
async fn expiry(service: Service) {
    loop {
        let wait = expire(&service).await.unwrap_or_else(|problem| {
            tracing::warn!(%problem, "expiry waits for the database");
            POLL
        });
        tokio::time::sleep(wait).await;
    }
}

/// Expires what has ended, if anything has; returns how long to wait.
async fn expire(service: &Service) -> Result<Duration, Problem> {
    let Some(end) = service.next_expiry().await? else { return Ok(POLL) };
    let left = (end - service.now()).to_std().unwrap_or_default();
    if !left.is_zero() {
        return Ok(left.min(POLL));
    }
    // None: another replica is at them, or the log says what is wrong.
    Ok(if service.expire_due(100).await? == 0 { POLL } else { Duration::ZERO })
}

/// Deletes what is past its retention, a small batch at a time.
async fn retention(service: Service) {
    loop {
        let wait = match service.maintenance().retention_batch().await {
            Ok(0) => Duration::from_secs(600),
            // A pause between batches leaves the database to those who wait for it.
            Ok(_) => Duration::from_millis(200),
            Err(problem) => {
                tracing::warn!(%problem, "retention waits for the database");
                Duration::from_secs(60)
            }
        };
        tokio::time::sleep(wait).await;
    }
}
