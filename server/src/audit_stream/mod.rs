//! Streams of the audit log to other systems: syslog messages (RFC 5424) and OpenTelemetry log records (OTLP).
//!
//! Entries are read from the database in order. Their position is stored after they were sent, so a restart or an outage of
//! the receiver loses none; after a failure some are sent again.

mod otlp;
mod syslog;

pub use otlp::OtlpTarget;
pub use syslog::SyslogTarget;

use domain::Problem;
use domain::audit::AuditEntry;
use otlp::OtlpSender;
use service::Service;
use service::audit::StreamName;
use std::time::Duration;
use syslog::SyslogSender;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Pause after the newest entry was sent.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Pause while another process holds the lease of the stream.
const STANDBY_INTERVAL: Duration = Duration::from_secs(10);
/// Pauses after failures; the last one repeats.
const RETRY_DELAYS: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(60)];

/// The systems that receive the audit log.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Receiver of syslog messages.
    pub syslog: Option<SyslogTarget>,
    /// Collector of log records.
    pub otlp: Option<OtlpTarget>,
}

impl Settings {
    /// Whether a system receives the audit log.
    pub fn is_streamed(&self) -> bool {
        self.syslog.is_some() || self.otlp.is_some()
    }
}

/// A connection to a system.
enum Sender {
    Syslog(SyslogSender),
    Otlp(OtlpSender),
}

impl Sender {
    fn name(&self) -> StreamName {
        match self {
            Self::Syslog(_) => StreamName::Syslog,
            Self::Otlp(_) => StreamName::Otlp,
        }
    }

    /// Sends entries in order. After an error, none counts as sent.
    async fn send(&mut self, entries: &[AuditEntry]) -> Result<(), String> {
        match self {
            Self::Syslog(syslog) => syslog.send(entries).await,
            Self::Otlp(otlp) => otlp.send(entries).await,
        }
    }
}

/// Starts the streams, which end after `cancel`.
///
/// # Errors
/// Returns a message for the operator if the HTTP client cannot be created.
pub fn spawn(
    service: &Service,
    settings: &Settings,
    cancel: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> Result<(), String> {
    let syslog = settings.syslog.clone().map(|target| Ok(Sender::Syslog(SyslogSender::new(target))));
    let otlp = settings.otlp.clone().map(|target| Ok::<_, String>(Sender::Otlp(OtlpSender::new(target)?)));
    for sender in syslog.into_iter().chain(otlp) {
        let stream =
            Stream { service: service.clone(), sender: sender?, owner: hex::encode(service::secrets::random::<8>()) };
        let cancel = cancel.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = stream.run() => {}
            }
        });
    }
    Ok(())
}

/// The task of one stream.
struct Stream {
    service: Service,
    sender: Sender,
    /// Identifies this process as the holder of the lease.
    owner: String,
}

/// Why entries were not sent.
enum Failure {
    Database(Problem),
    Receiver(String),
}

impl Stream {
    async fn run(mut self) {
        let mut failures = 0;
        loop {
            let pause = match self.send_batch().await {
                Ok(pause) => {
                    failures = 0;
                    pause
                }
                Err(failure) => {
                    let name = self.sender.name().as_str();
                    match failure {
                        Failure::Database(problem) => {
                            tracing::warn!(stream = name, %problem, "the audit log was not read for its stream; trying again");
                        }
                        Failure::Receiver(reason) => {
                            tracing::warn!(stream = name, reason, "the audit log was not sent; trying again");
                            metrics::counter!("berth_audit_stream_failures_total", "stream" => name).increment(1);
                        }
                    }
                    let delay = RETRY_DELAYS[failures.min(RETRY_DELAYS.len() - 1)];
                    failures += 1;
                    delay
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Sends the next entries. Returns the pause before the following ones.
    async fn send_batch(&mut self) -> Result<Duration, Failure> {
        let (audit, name) = (self.service.audit(), self.sender.name());
        let next = audit.next_to_stream(name, &self.owner).await.map_err(Failure::Database)?;
        let Some(entries) = next else { return Ok(STANDBY_INTERVAL) };
        let Some(last) = entries.last() else { return Ok(POLL_INTERVAL) };
        self.sender.send(&entries).await.map_err(Failure::Receiver)?;
        audit.mark_streamed(name, &self.owner, last.seq).await.map_err(Failure::Database)?;
        metrics::counter!("berth_audit_streamed_total", "stream" => name.as_str()).increment(entries.len() as u64);
        Ok(Duration::ZERO)
    }
}
