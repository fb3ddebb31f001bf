//! Background tasks of the process: the dispatcher, expiry, access information at the start, retention, reminders, the index of
//! the delivery log, replays, health checks, alerts, and the numbers of failures in the audit log.

use domain::Problem;
use service::Service;
use service::deliveries::IndexBatch;
use service::dispatcher::Heartbeat;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Maximum interval between two checks for ended reservations.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(5);
/// Maximum pause between two announcements of access information: the clock can be set forward.
const ACCESS_INTERVAL: Duration = Duration::from_secs(5);
/// Maximum number of reservations that one round expires.
const EXPIRY_BATCH: u64 = 100;
/// Pause after retention has deleted all due rows.
const RETENTION_INTERVAL: Duration = Duration::from_secs(600);
/// Pause between two batches of retention, so that other statements are not delayed.
const RETENTION_PAUSE: Duration = Duration::from_millis(200);
/// Interval of the search for old signing secrets and expiring API tokens.
const REMINDER_INTERVAL: Duration = Duration::from_secs(3_600);
/// Interval of the evaluation of alert rules.
const ALERT_INTERVAL: Duration = Duration::from_secs(15);
/// Minimum pause between two searches for due health checks.
const MIN_HEALTH_PAUSE: Duration = Duration::from_secs(1);
/// Maximum pause: another process can have changed a health check.
const MAX_HEALTH_PAUSE: Duration = Duration::from_secs(60);
/// Maximum interval of the search for due notices of alerts.
const NOTICE_INTERVAL: Duration = Duration::from_secs(30);
/// Interval of writing the numbers of failures.
const FAILURE_COUNT_INTERVAL: Duration = Duration::from_secs(10);
/// Pause of the index after this process has changed the log, so that the changes of a second share a batch.
const INDEX_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum pause of the index without a change by this process: another one may have stopped before it indexed its own.
const INDEX_IDLE: Duration = Duration::from_secs(60);
/// Pause of the index as a multiple of the duration of its last batch: it takes at most a tenth of the database's time.
const INDEX_SHARE: u32 = 9;
/// The same while many deliveries are queued, so that the index does not slow the dispatcher down.
const INDEX_SHARE_BUSY: u32 = 40;
/// Pause after a failure of the index.
const INDEX_RETRY: Duration = Duration::from_secs(10);
/// Maximum pause of replays without a start by this process: another one may have stopped during a replay.
const REPLAY_IDLE: Duration = Duration::from_secs(60);
/// Pause after a failure of a replay.
const REPLAY_RETRY: Duration = Duration::from_secs(5);
/// Pause after a failure of retention.
const RETENTION_RETRY: Duration = Duration::from_secs(60);

/// Starts all background tasks, which end after `cancel`. Returns them with the heartbeat of the dispatcher.
pub fn spawn(service: &Service, cancel: &CancellationToken) -> (JoinSet<()>, Arc<Heartbeat>) {
    let mut tasks = JoinSet::new();
    let dispatcher = service.dispatcher();
    let heartbeat = dispatcher.heartbeat();
    tasks.spawn(dispatcher.run(cancel.clone()));
    tasks.spawn(run_until_cancelled(cancel.clone(), run_expiry(service.clone())));
    tasks.spawn(run_until_cancelled(cancel.clone(), run_access(service.clone())));
    tasks.spawn(run_until_cancelled(cancel.clone(), run_retention(service.clone())));
    tasks.spawn(run_until_cancelled(cancel.clone(), run_reminders(service.clone())));
    tasks.spawn(run_until_cancelled(cancel.clone(), run_health_checks(service.clone())));
    tasks.spawn(run_until_cancelled(cancel.clone(), run_alerts(service.clone())));
    tasks.spawn(run_until_cancelled(cancel.clone(), run_notices(service.clone())));
    tasks.spawn(run_until_cancelled(cancel.clone(), run_index(service.clone())));
    tasks.spawn(run_until_cancelled(cancel.clone(), run_replays(service.clone())));
    tasks.spawn(run_until_cancelled(cancel.clone(), run_failure_counts(service.clone())));
    (tasks, heartbeat)
}

async fn run_until_cancelled(cancel: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = cancel.cancelled() => {}
        () = work => {}
    }
}

/// Expires each reservation when it ends, and at start all that ended during downtime.
async fn run_expiry(service: Service) {
    loop {
        let pause = expire(&service).await.unwrap_or_else(|problem| {
            tracing::warn!(%problem, "reservations were not expired; the next round tries again");
            EXPIRY_INTERVAL
        });
        tokio::time::sleep(pause).await;
    }
}

/// Publishes the starts and the scheduled events of reservations, and expires ended ones. Returns the pause before the next round.
async fn expire(service: &Service) -> Result<Duration, Problem> {
    let reservations = service.reservations();
    reservations.schedule_starts().await?;
    let Some(next) = reservations.next_due().await? else { return Ok(EXPIRY_INTERVAL) };
    let left = (next - service.now()).to_std().unwrap_or_default();
    if !left.is_zero() {
        return Ok(left.min(EXPIRY_INTERVAL));
    }
    // Starts first: the start of a reservation precedes its end.
    let started = reservations.start_due(EXPIRY_BATCH).await? + reservations.publish_scheduled(EXPIRY_BATCH).await?;
    let ended = started + reservations.expire_due(EXPIRY_BATCH).await?;
    // Zero means that another replica expires them, or that all failed. The pause avoids a busy loop.
    Ok(if ended == 0 { EXPIRY_INTERVAL } else { Duration::ZERO })
}

/// Announces reservations whose hidden access information becomes readable at their start.
async fn run_access(service: Service) {
    let reservations = service.reservations();
    loop {
        if let Err(problem) = reservations.announce_access().await {
            tracing::warn!(%problem, "access information was not announced; the next round tries again");
            tokio::time::sleep(ACCESS_INTERVAL).await;
        }
        let earlier = reservations.wait_for_hidden_access();
        match reservations.next_access() {
            Some(next) => {
                let left = (next - service.now()).to_std().unwrap_or_default();
                let _ = tokio::time::timeout(left.min(ACCESS_INTERVAL), earlier).await;
            }
            None => earlier.await,
        }
    }
}

/// Queues the deliveries of running replays.
async fn run_replays(service: Service) {
    loop {
        match service.replays().run_due().await {
            Ok(Some(pause)) => {
                // A change of a replay can make it due earlier.
                let _ = tokio::time::timeout(pause.min(REPLAY_IDLE), service.replays().wait_for_start()).await;
            }
            Ok(None) => {
                let _ = tokio::time::timeout(REPLAY_IDLE, service.replays().wait_for_start()).await;
            }
            Err(problem) => {
                tracing::warn!(%problem, "a replay did not go on; the next round tries again");
                tokio::time::sleep(REPLAY_RETRY).await;
            }
        }
    }
}

/// Writes the numbers of failed log-ins and refusals of the last minute.
async fn run_failure_counts(service: Service) {
    loop {
        tokio::time::sleep(FAILURE_COUNT_INTERVAL).await;
        if let Err(problem) = service.audit().flush_failures(false).await {
            tracing::warn!(%problem, "failures were not recorded in the audit log; the next round tries again");
        }
    }
}

/// Deletes one batch of each kind of rows. Returns their number.
async fn delete_batch(service: &Service) -> Result<u64, Problem> {
    let deleted = service.maintenance().retention_batch().await? + service.audit().retention_batch().await?;
    // Last, because it reads a whole table.
    Ok(if deleted == 0 { service.maintenance().access_info_batch().await? } else { deleted })
}

/// Deletes rows after their retention period, in small batches.
async fn run_retention(service: Service) {
    loop {
        let pause = match delete_batch(&service).await {
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

/// Reminds of old signing secrets, and of API tokens that expire soon.
async fn run_reminders(service: Service) {
    loop {
        if let Err(problem) = service.accounts().remind_of_expiring_tokens().await {
            tracing::warn!(%problem, "reminders of expiring API tokens failed; the next round tries again");
        }
        if let Err(problem) = service.webhooks().remind_of_old_secrets().await {
            tracing::warn!(%problem, "reminders of old secrets failed; the next round tries again");
        }
        tokio::time::sleep(REMINDER_INTERVAL).await;
    }
}

/// Runs health checks.
async fn run_health_checks(service: Service) {
    loop {
        let pause = match service.alerts().check_due_health().await {
            Ok(round) => {
                let left = round.next.map(|next| (next - service.now()).to_std().unwrap_or_default());
                left.map_or(MAX_HEALTH_PAUSE, |left| left.clamp(MIN_HEALTH_PAUSE, MAX_HEALTH_PAUSE))
            }
            Err(problem) => {
                tracing::warn!(%problem, "health checks failed to run; the next round tries again");
                MAX_HEALTH_PAUSE
            }
        };
        let _ = tokio::time::timeout(pause, service.alerts().wait_for_health_change()).await;
    }
}

/// Evaluates alert rules.
async fn run_alerts(service: Service) {
    loop {
        if let Err(problem) = service.alerts().evaluate().await {
            tracing::warn!(%problem, "alert rules were not evaluated; the next round tries again");
        }
        tokio::time::sleep(ALERT_INTERVAL).await;
    }
}

/// Sends notices of alerts when they are due.
async fn run_notices(service: Service) {
    loop {
        match service.alerts().send_notices().await {
            // A batch can leave more.
            Ok(sent) if sent > 0 => continue,
            Ok(_) => {}
            Err(problem) => tracing::warn!(%problem, "notices of alerts were not sent; the next round tries again"),
        }
        let _ = tokio::time::timeout(NOTICE_INTERVAL, service.alerts().wait_for_notice()).await;
    }
}

/// Adds new deliveries and results to the index, in small batches. It yields to the dispatcher.
async fn run_index(service: Service) {
    loop {
        let begin = tokio::time::Instant::now();
        let pause = match index(&service).await {
            Ok(None) => {
                // An idle process must not read the database all the time.
                let _ = tokio::time::timeout(INDEX_IDLE, service.deliveries().wait_for_change()).await;
                INDEX_INTERVAL
            }
            Ok(Some(share)) => begin.elapsed() * share,
            Err(problem) => {
                tracing::warn!(%problem, "the index of deliveries was not updated; the next round tries again");
                INDEX_RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Writes one batch of the index. Returns the pause after it as a multiple of its duration; `None` if the index is complete.
async fn index(service: &Service) -> Result<Option<u32>, Problem> {
    if service.deliveries().index_batch(IndexBatch::SMALL).await? == 0 {
        return Ok(None);
    }
    Ok(Some(if service.deliveries().is_busy().await? { INDEX_SHARE_BUSY } else { INDEX_SHARE }))
}
