//! The request that causes an action.
//!
//! It belongs to the task of the request, because the use cases have it in common: a parameter of each of them could be
//! forgotten or mixed up. A task that a request starts enters the request's [`Origin`] by [`Origin::scope`].

use domain::authorization::Actor;
use domain::{Problem, ProblemKind};
use parking_lot::Mutex;
use std::sync::Arc;

tokio::task_local! {
    static CURRENT: Origin;
}

/// The client and the id of a request, and what is known about it so far. Cheap to clone.
#[derive(Clone, Default)]
pub struct Origin(Arc<Inner>);

#[derive(Default)]
struct Inner {
    source: String,
    request_id: String,
    caller: Mutex<Option<Actor>>,
    refusal: Mutex<Option<String>>,
}

impl Origin {
    /// The origin of a request from a client address.
    pub fn new(source: String, request_id: String) -> Self {
        Self(Arc::new(Inner { source, request_id, ..Inner::default() }))
    }

    /// The origin of the current task; empty outside a request.
    pub fn current() -> Self {
        CURRENT.try_with(Clone::clone).unwrap_or_default()
    }

    /// Runs `work` as a part of this request.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// Address of the client.
    pub(crate) fn source(&self) -> &str {
        &self.0.source
    }

    /// Id of the request.
    pub(crate) fn request_id(&self) -> &str {
        &self.0.request_id
    }

    /// The user of the request, if the credential is valid.
    pub(crate) fn caller(&self) -> Option<Actor> {
        self.0.caller.lock().clone()
    }

    /// Takes the reason why the request was refused for lack of permission.
    pub fn take_refusal(&self) -> Option<String> {
        self.0.refusal.lock().take()
    }
}

/// Notes the user of the current request.
pub(crate) fn identify(actor: &Actor) {
    let _ = CURRENT.try_with(|origin| *origin.0.caller.lock() = Some(actor.clone()));
}

/// Notes that the current request was refused, if the problem is a lack of permission. The code that runs the request
/// records it ([`Audit::record_refusal`](crate::audit::Audit::record_refusal)).
pub fn note_refusal(problem: &Problem) {
    use ProblemKind::{Forbidden, ForeignOrigin, SecondFactorSetupRequired};
    if matches!(problem.kind, Forbidden | ForeignOrigin | SecondFactorSetupRequired) {
        let _ = CURRENT.try_with(|origin| *origin.0.refusal.lock() = Some(problem.detail.clone()));
    }
}
