//! The connection of a listener: claims, forwarding, reports and reconnection.

use super::ListenArgs;
use super::ledger::Ledger;
use super::output::Output;
use super::webhook::ListenedWebhook;
use crate::client::Failure;
use crate::client::api::{Api, CallError, Condition, NO_BODY, read};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use delivery::{Destination, Forwarded, Sender, SenderConfig};
use domain::endpoint::{Network, UrlPolicy};
use domain::header::Header;
use domain::id::WebhookId;
use domain::routing::DeliveryPaths;
use domain::webhook::{
    ForwardedResponse, ListenerClaimInput, ListenerConnection, ListenerDeliveries, ListenerDelivery, ListenerRecorded,
    ListenerResult,
};
use parking_lot::Mutex;
use reqwest::Method;
use serde_json::{Value, json};
use std::io::BufRead as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Time that a claim waits for a delivery, in seconds. Proxies commonly close connections that are idle for 30 to 60 s.
const WAIT_SECONDS: u32 = 20;
/// Time after which a request counts as lost, beyond the time that the server may take.
const MARGIN: Duration = Duration::from_secs(15);
/// Without a free place, a claim of nothing reports this often that the listener is connected.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// The delay before a request is repeated; it doubles up to [`MAX_BACKOFF`].
const MIN_BACKOFF: Duration = Duration::from_millis(250);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// Time to wait for a new lease of an attempt whose lease was lost.
const LEASE_TIMEOUT: Duration = Duration::from_secs(120);
/// Time for running requests at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// A connected listener.
pub(super) struct Session {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

/// What the tasks of a session share.
struct Shared {
    api: Api,
    output: Output,
    webhook: WebhookId,
    connection: ListenerConnection,
    forward_to: String,
    paths: DeliveryPaths,
    /// Headers that are added on this machine.
    headers: Vec<Header>,
    sender: Sender,
    ledger: Ledger,
    concurrency: u32,
    /// Requests to the receiver in flight.
    forwarding: AtomicU32,
    /// Notified when a request to the receiver has ended.
    freed: Notify,
    /// The delivery that arrived last.
    last: Mutex<Option<String>>,
    /// Set by Ctrl-C, SIGTERM or `q`.
    stop: CancellationToken,
}

/// Doubling delays with jitter.
struct Backoff(Duration);

impl Backoff {
    fn new() -> Self {
        Self(MIN_BACKOFF)
    }

    /// The next delay, at least the one that the server requests.
    fn next(&mut self, requested: Option<Duration>) -> Duration {
        // 50 % to 100 % of the delay, so that many listeners do not reconnect at the same time.
        let jitter = 0.5 + f64::from(ulid::Ulid::new().random() as u16) / f64::from(u16::MAX) / 2.0;
        let delay = self.0.mul_f64(jitter);
        self.0 = (self.0 * 2).min(MAX_BACKOFF);
        delay.max(requested.unwrap_or_default())
    }
}

impl Session {
    /// Connects to the webhook.
    ///
    /// # Errors
    /// When the server refuses the connection.
    pub(super) async fn connect(
        api: Api,
        output: Output,
        webhook: &ListenedWebhook,
        args: &ListenArgs,
    ) -> Result<Self, Failure> {
        let path = format!("/webhooks/{}/listener", webhook.id);
        let connection: ListenerConnection =
            read(api.send(Method::POST, &path, NO_BODY, Condition::None).await?).await?;
        let everything = ["0.0.0.0/0", "::/0"].into_iter().filter_map(|network| Network::parse(network).ok()).collect();
        let sender = Sender::new(SenderConfig {
            url_policy: UrlPolicy { allow_http: true, allow_networks: everything },
            timeout: Duration::from_millis(connection.timeout_ms),
            user_agent: concat!("Berth-Webhooks/", env!("CARGO_PKG_VERSION")).into(),
        })
        .map_err(Failure::new)?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            crate::signals::wait_for_stop().await;
            stopped.cancel();
        });
        let shared = Shared {
            api,
            output,
            webhook: webhook.id,
            connection,
            forward_to: args.forward_to.clone(),
            paths: webhook.delivery_paths.clone(),
            headers: args.headers.clone(),
            sender,
            ledger: Ledger::default(),
            concurrency: args.concurrency,
            forwarding: AtomicU32::new(0),
            freed: Notify::new(),
            last: Mutex::new(None),
            stop,
        };
        Ok(Self { shared: Arc::new(shared), tasks: TaskTracker::new() })
    }

    /// Claims and forwards until the end. Then it waits for running requests, for a limited time.
    ///
    /// # Errors
    /// When the server refuses the listener for good, e.g. because another one has connected.
    pub(super) async fn run(&self, resend: &[String]) -> Result<(), Failure> {
        let shared = &self.shared;
        shared.output.connected(false);
        for id in resend {
            shared.resend(id).await;
        }
        let commands = read_commands();
        let result = tokio::select! {
            result = self.claim_until_refused() => result,
            () = shared.obey(commands) => Ok(()),
            () = shared.stop.cancelled() => Ok(()),
        };
        shared.stop.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, self.tasks.wait()).await;
        result
    }

    /// Disconnects, and deletes a temporary webhook. Best effort: another listener uses the webhook again.
    pub(super) async fn disconnect(&self, is_temporary: bool) {
        let shared = &self.shared;
        let (id, listener) = (shared.webhook, &shared.connection.listener);
        let path = format!("/webhooks/{id}/listener?listener={listener}");
        let ended = async {
            shared.api.send(Method::DELETE, &path, NO_BODY, Condition::None).await?;
            if is_temporary {
                shared.api.send(Method::DELETE, &format!("/webhooks/{id}"), NO_BODY, Condition::None).await?;
            }
            Ok::<_, Failure>(())
        };
        match tokio::time::timeout(DRAIN_TIMEOUT, ended).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => shared.output.problem(&format!("The webhook was not cleaned up: {}", failure.message)),
            Err(_) => shared.output.problem("The webhook was not cleaned up: the server does not respond."),
        }
    }

    async fn claim_until_refused(&self) -> Result<(), Failure> {
        let shared = &self.shared;
        let mut backoff = Backoff::new();
        let mut is_connected = true;
        loop {
            let mut free = shared.free();
            if free == 0 {
                let _ = tokio::time::timeout(KEEP_ALIVE, shared.freed.notified()).await;
                free = shared.free();
            }
            // After an outage, the first claim does not wait, so that it shows at once that the connection is back.
            let wait_seconds = if is_connected && free > 0 { WAIT_SECONDS } else { 0 };
            match shared.claim(free, wait_seconds).await {
                Ok(claimed) => {
                    if !is_connected {
                        shared.output.connected(true);
                    }
                    (is_connected, backoff) = (true, Backoff::new());
                    for delivery in claimed.deliveries {
                        self.accept(delivery);
                    }
                }
                Err(error) if error.is_temporary() => {
                    if is_connected {
                        shared.output.disconnected(error.message());
                    }
                    is_connected = false;
                    tokio::time::sleep(backoff.next(error.retry_after())).await;
                }
                Err(error) => return Err(Failure::new(error.message())),
            }
        }
    }

    /// Forwards a delivery, unless it is known already.
    fn accept(&self, delivery: ListenerDelivery) {
        let shared = self.shared.clone();
        *shared.last.lock() = Some(delivery.delivery_id.0.clone());
        let Some(lease) = shared.ledger.claim(&delivery) else { return };
        shared.forwarding.fetch_add(1, Ordering::SeqCst);
        self.tasks.spawn(async move {
            let forwarded = shared.forward(&delivery).await;
            shared.forwarding.fetch_sub(1, Ordering::SeqCst);
            shared.freed.notify_one();
            shared.report(&delivery, forwarded, lease).await;
            shared.ledger.finish(&(delivery.delivery_id.0.clone(), delivery.attempt));
        });
    }
}

impl Shared {
    /// The number of requests that may start.
    fn free(&self) -> u32 {
        self.concurrency.saturating_sub(self.forwarding.load(Ordering::SeqCst))
    }

    async fn claim(&self, limit: u32, wait_seconds: u32) -> Result<ListenerDeliveries, CallError> {
        let input = ListenerClaimInput {
            listener: self.connection.listener.clone(),
            limit,
            wait_seconds,
            held: self.ledger.leases(),
        };
        let path = format!("/webhooks/{}/listener/claims", self.webhook);
        self.api.call(Method::POST, &path, &input, Duration::from_secs(wait_seconds.into()) + MARGIN).await
    }

    async fn forward(&self, delivery: &ListenerDelivery) -> Forwarded {
        let url = self.paths.url(&self.forward_to, delivery.event_type);
        let is_added = |name: &str| self.headers.iter().any(|header| header.name.eq_ignore_ascii_case(name));
        let handed = delivery.headers.iter().filter(|header| !is_added(&header.name));
        let headers: Vec<Header> = handed.chain(&self.headers).cloned().collect();
        let body = Bytes::copy_from_slice(delivery.body.as_bytes());
        let forwarded = self.sender.forward(&Destination::new(url.as_str()), &headers, body).await;
        self.output.forwarded(delivery, &url, &forwarded);
        forwarded
    }

    /// Reports a result until the server has recorded it, or does not need it any more.
    async fn report(&self, delivery: &ListenerDelivery, forwarded: Forwarded, mut lease: watch::Receiver<String>) {
        let path = format!("/webhooks/{}/listener/results", self.webhook);
        let mut result = to_result(forwarded);
        let mut backoff = Backoff::new();
        loop {
            result.lease = lease.borrow_and_update().clone();
            match self.api.call::<ListenerRecorded>(Method::POST, &path, &result, MARGIN).await {
                Ok(recorded) if recorded.recorded => return self.output.recorded(delivery, &recorded),
                // The lease was lost. The next claim brings a new one, unless the result was recorded before.
                Ok(_) => tokio::select! {
                    changed = lease.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(LEASE_TIMEOUT) => return,
                    () = self.stop.cancelled() => return,
                },
                Err(error) if error.is_temporary() => {
                    tokio::select! {
                        () = tokio::time::sleep(backoff.next(error.retry_after())) => {}
                        _ = lease.changed() => {}
                    }
                }
                Err(error) => {
                    let id = &delivery.delivery_id.0;
                    return self.output.problem(&format!("The result of {id} was not recorded: {}", error.message()));
                }
            }
        }
    }

    /// Queues a delivery again. It arrives like every event.
    async fn resend(&self, id: &str) {
        let encoded: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
        let key = ulid::Ulid::new().to_string();
        let path = format!("/deliveries/{encoded}/redeliver");
        let sent = async {
            let response = self.api.send(Method::POST, &path, Some(&json!({})), Condition::Once(&key)).await?;
            read::<Value>(response).await
        };
        match sent.await {
            Ok(created) => self.output.resent(id, created["id"].as_str().unwrap_or_default()),
            Err(failure) => self.output.problem(&format!("{id} was not resent: {}", failure.message)),
        }
    }

    /// Runs the entered commands until `q`.
    async fn obey(&self, mut commands: mpsc::UnboundedReceiver<String>) {
        while let Some(command) = commands.recv().await {
            let mut words = command.split_whitespace();
            match (words.next(), words.next()) {
                (Some("q" | "quit"), None) => return,
                (Some("r" | "resend"), Some(id)) => self.resend(id).await,
                (Some("r" | "resend"), None) => {
                    let last = self.last.lock().clone();
                    match last {
                        Some(id) => self.resend(&id).await,
                        None => self.output.problem("No event has arrived yet. Enter r with the id of a delivery."),
                    }
                }
                (None, _) => {}
                _ => self.output.problem("Enter r, r ID or q."),
            }
        }
        // Standard input has ended, e.g. in a service manager. The listener continues.
        std::future::pending().await
    }
}

/// The lines of standard input. A thread reads them: a runtime could not end while it waits for input.
fn read_commands() -> mpsc::UnboundedReceiver<String> {
    let (commands, received) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if commands.send(line).is_err() {
                return;
            }
        }
    });
    received
}

/// The report of a result, without its lease.
fn to_result(forwarded: Forwarded) -> ListenerResult {
    let (response, failure) = match forwarded.result {
        Ok(reply) => {
            let response = ForwardedResponse {
                status_code: reply.status_code,
                headers: reply.headers.into_iter().take(domain::webhook::MAX_RESULT_HEADERS).collect(),
                body_base64: STANDARD.encode(&reply.body),
                truncated: reply.truncated,
                decode_error: reply.decode_error,
            };
            (Some(response), None)
        }
        Err(diagnosis) => (None, Some(diagnosis)),
    };
    ListenerResult { lease: String::new(), timings: forwarded.timings, response, failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_a_limit_and_respect_the_server() {
        let mut backoff = Backoff::new();
        let mut limit = MIN_BACKOFF;
        for _ in 0..10 {
            let delay = backoff.next(None);
            assert!(delay >= limit / 2 && delay <= limit, "{delay:?} of {limit:?}");
            limit = (limit * 2).min(MAX_BACKOFF);
        }
        assert_eq!(backoff.next(Some(Duration::from_secs(60))), Duration::from_secs(60));
    }
}
