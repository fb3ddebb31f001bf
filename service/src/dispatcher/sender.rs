//! Sending: sends the request of each admitted claim, and its result to the recorder.

use super::admission::Admitted;
use super::{Dispatcher, Engine};
use crate::outbox::{AttemptResult, ClaimedDelivery, Lease};
use std::sync::Arc;
use tokio::sync::mpsc;

impl Engine {
    /// Sends one request and classifies the response.
    #[tracing::instrument(level = "trace", skip_all, fields(webhook = claim.webhook_id(), attempt = claim.request.attempt))]
    pub(super) async fn send(&self, claim: ClaimedDelivery) -> AttemptResult {
        let attempted = self.sender.attempt(&claim.request, self.context.now()).await;
        AttemptResult::new(claim, attempted, self.context.now())
    }
}

/// Runs an attempt, and then the attempts that the admission queue starts in its place.
pub(super) async fn run_attempts(
    dispatcher: Dispatcher,
    results: mpsc::UnboundedSender<AttemptResult>,
    first: Admitted<ClaimedDelivery>,
) {
    let engine = &dispatcher.engine;
    let mut next = Some(first);
    while let Some(Admitted { claim, token }) = next {
        let mut guard = PanicGuard { engine: engine.clone(), lease: Some(claim.lease.clone()) };
        let webhook = claim.webhook_id();
        // The recorders outlive every attempt, so sending does not fail.
        let _ = results.send(engine.send(claim).await);
        guard.lease = None;
        engine.capacity.request_ended(webhook);
        next = engine.admission.on_complete(token);
    }
}

/// Stops renewing the lease of an attempt that panics, so that it expires and the delivery is claimed again.
struct PanicGuard {
    engine: Arc<Engine>,
    lease: Option<Lease>,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take().filter(|_| std::thread::panicking()) {
            self.engine.held_leases.remove([&lease]);
        }
    }
}
