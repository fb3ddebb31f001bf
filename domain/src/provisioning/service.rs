//! The provisioning by one service: what its responses, failures and status updates change (docs/contract.md §§3–4).

use super::receiver_response::{MAX_MESSAGE, split_details};
use super::{AccessInfo, ProvisioningStatus, ReceiverResponse, StatusUpdate};
use crate::Problem;
use crate::event::EventType;
use crate::id::WebhookId;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A webhook that drives provisioning, as a reservation refers to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DrivingWebhook<'a> {
    /// The webhook.
    pub id: WebhookId,
    /// Its name.
    pub name: &'a str,
}

/// How far a service has confirmed the last change of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PendingChangeState {
    /// The event is queued or on its way, or the service has accepted it and works on the change.
    Sent,
    /// An attempt failed; another one follows.
    Retrying,
    /// The service did not accept the change. It may still work with the previous values.
    Failed,
}

/// A change of a reservation that a service has not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PendingChange {
    /// The state of the confirmation.
    pub state: PendingChangeState,
    /// Why the last attempt failed; the service's message if it has accepted the change; otherwise `""`.
    pub message: String,
    /// Due time of the next attempt, while retrying.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// Time of the last change of the reservation.
    pub since: DateTime<Utc>,
}

/// The newest status update of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LastStatusUpdate {
    /// The service's time. An update with an earlier timestamp changes nothing.
    pub timestamp: DateTime<Utc>,
    /// Time at which Berth received it.
    pub received_at: DateTime<Utc>,
}

/// The provisioning by one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceProvisioning {
    /// The webhook that notifies the service.
    pub webhook_id: WebhookId,
    /// The webhook's name when it last changed this entry.
    pub webhook_name: String,
    /// Whether the status of the reservation depends on this service. True if it was notified of the creation; false
    /// if its webhook was added later.
    pub required: bool,
    /// The current status.
    pub status: ProvisioningStatus,
    /// The service's message, `""` without one.
    pub message: String,
    /// Progress in percent, 0 to 100.
    pub progress: Option<u8>,
    /// The service's estimate as text, e.g. `"5 minutes"`.
    pub estimated_ready_time: Option<String>,
    /// Access information, once the service has sent it.
    pub access_info: Option<AccessInfo>,
    /// Further details from the service, for display.
    pub details: Map<String, Value>,
    /// If access information and details are hidden: the start of the reservation, when they are shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_available_at: Option<DateTime<Utc>>,
    /// The last change of the reservation, until the service has confirmed it.
    pub pending_change: Option<PendingChange>,
    /// The newest applied status update; absent before the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_status_update: Option<LastStatusUpdate>,
    /// Time of the last change.
    pub updated_at: DateTime<Utc>,
}

impl ServiceProvisioning {
    /// The state of a service that has not responded yet.
    pub(super) fn waiting(webhook: DrivingWebhook<'_>, required: bool, now: DateTime<Utc>) -> Self {
        Self {
            webhook_id: webhook.id,
            webhook_name: webhook.name.to_owned(),
            required,
            status: ProvisioningStatus::Waiting,
            message: String::new(),
            progress: None,
            estimated_ready_time: None,
            access_info: None,
            details: Map::new(),
            access_available_at: None,
            pending_change: None,
            last_status_update: None,
            updated_at: now,
        }
    }

    /// Whether the service has taken up the reservation. Until then a failed update is a failure to provision.
    fn has_started(&self) -> bool {
        self.status != ProvisioningStatus::Waiting
    }

    /// The state after a 2xx response to a request for `event` sent at `sent`; `None` when nothing changes.
    pub(super) fn after_response(
        &self,
        event: EventType,
        response: &ReceiverResponse,
        sent: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Option<Self> {
        let status = response.status?;
        if !self.status.may_become(status) {
            return None;
        }
        let refused = status == ProvisioningStatus::Failed || response.problem.is_some();
        let usable = matches!(self.status, ProvisioningStatus::Provisioning | ProvisioningStatus::Ready);
        if event == EventType::ReservationUpdated && refused && usable {
            let reason = response.problem.as_ref().or(response.message.as_ref());
            let reason = reason.map_or("The service rejected the change.", String::as_str);
            return Some(self.with_unconfirmed_change(PendingChangeState::Failed, reason, None, now));
        }
        // A ready service gets `created` again when an administrator redelivers it. Then only a success changes it.
        if event == EventType::ReservationCreated
            && self.status == ProvisioningStatus::Ready
            && status != ProvisioningStatus::Ready
        {
            return None;
        }
        // A service may send status updates before it responds (docs/contract.md §4). A late 202 is older than those
        // and must not override them; a late `success` still completes the work.
        let in_progress = matches!(status, ProvisioningStatus::Provisioning | ProvisioningStatus::Releasing);
        if in_progress && self.last_status_update.is_some_and(|update| update.received_at > sent) {
            return None;
        }
        // The service works on the change. What it has provisioned stays usable until it reports otherwise.
        if event == EventType::ReservationUpdated && in_progress && self.status == ProvisioningStatus::Ready {
            let message = response.message.as_deref().unwrap_or_default();
            return Some(self.with_unconfirmed_change(PendingChangeState::Sent, message, None, now));
        }
        let mut next = self.clone();
        if status != self.status {
            next.message.clear();
            next.progress = None;
        }
        next.status = status;
        if let Some(message) = response.problem.as_ref().or(response.message.as_ref()) {
            next.message.clone_from(message);
        }
        next.estimated_ready_time = response.estimated_ready_time.clone().or(next.estimated_ready_time);
        next.access_info = response.access_info.clone().or(next.access_info);
        if !response.details.is_empty() {
            next.details.clone_from(&response.details);
        }
        // The response to an earlier event says nothing about a later change.
        if event == EventType::ReservationUpdated && !refused {
            next.pending_change = next.pending_change.filter(|change| change.since > sent);
        }
        next.updated_at = now;
        Some(next)
    }

    /// The state after a status update; `None` if the newest applied one is newer.
    ///
    /// # Errors
    /// 409 when the status cannot follow the current one.
    pub(super) fn after_update(&self, update: &StatusUpdate, now: DateTime<Utc>) -> Result<Option<Self>, Problem> {
        if self.last_status_update.is_some_and(|newest| update.timestamp < newest.timestamp) {
            return Ok(None);
        }
        if !self.status.may_become(update.status) {
            return Err(Problem::conflict(format!(
                "\"{}\" cannot follow \"{}\".",
                update.status.as_str(),
                self.status.as_str()
            )));
        }
        let mut next = self.clone();
        next.last_status_update = Some(LastStatusUpdate { timestamp: update.timestamp, received_at: now });
        let is_ready = self.status == ProvisioningStatus::Ready;
        if is_ready && update.status == ProvisioningStatus::Failed && self.pending_change.is_some() {
            let reason = update.message.as_deref().unwrap_or("The service rejected the change.");
            return Ok(Some(next.with_unconfirmed_change(PendingChangeState::Failed, reason, None, now)));
        }
        if update.status == self.status {
            next.progress = update.progress.max(self.progress);
        } else {
            // Message and progress belong to the previous status.
            next.message.clear();
            next.progress = update.progress;
        }
        next.status = update.status;
        if let Some(message) = &update.message {
            next.message.clone_from(message);
        }
        if let Some(details) = &update.details {
            let (access_info, estimate, rest) = split_details(details);
            next.access_info = access_info.or(next.access_info);
            next.estimated_ready_time = estimate.or(next.estimated_ready_time);
            if !rest.is_empty() {
                next.details = rest;
            }
        }
        if update.status == ProvisioningStatus::Ready {
            let is_earlier = |change: &PendingChange| update.timestamp < change.since;
            next.pending_change =
                next.pending_change.filter(|change| change.state != PendingChangeState::Failed && is_earlier(change));
        }
        next.updated_at = now;
        Ok(Some(next))
    }

    /// The state after an attempt to deliver `event` failed and another one follows at `due`; `None` when nothing
    /// changes.
    pub(super) fn after_retry(
        &self,
        event: EventType,
        reason: &str,
        due: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Option<Self> {
        let is_change = event == EventType::ReservationUpdated && self.has_started();
        is_change.then(|| self.with_unconfirmed_change(PendingChangeState::Retrying, reason, Some(due), now))
    }

    /// The state after a delivery of `event` failed permanently; `None` when nothing changes.
    pub(super) fn after_failure(&self, event: EventType, reason: &str, now: DateTime<Utc>) -> Option<Self> {
        if event == EventType::ReservationUpdated && self.has_started() {
            return Some(self.with_unconfirmed_change(PendingChangeState::Failed, reason, None, now));
        }
        // `created` is sent again when an administrator redelivers it, and a service can report progress although its
        // responses are lost. Neither undoes what it has done.
        if event == EventType::ReservationCreated
            && matches!(self.status, ProvisioningStatus::Provisioning | ProvisioningStatus::Ready)
        {
            return None;
        }
        let affects_provisioning = event.provisions() || event.releases();
        if !affects_provisioning || !self.status.may_become(ProvisioningStatus::Failed) {
            return None;
        }
        Some(self.with_status(ProvisioningStatus::Failed, reason, now))
    }

    /// The state after a queued delivery of `event` was cancelled; `None` when nothing changes.
    pub(super) fn after_cancellation(&self, event: EventType, reason: &str, now: DateTime<Utc>) -> Option<Self> {
        match self.status {
            ProvisioningStatus::Releasing if event.releases() => {
                Some(self.with_status(ProvisioningStatus::Released, reason, now))
            }
            ProvisioningStatus::Waiting if event.provisions() => {
                Some(self.with_status(ProvisioningStatus::Failed, reason, now))
            }
            _ if event == EventType::ReservationUpdated => {
                Some(self.with_unconfirmed_change(PendingChangeState::Failed, reason, None, now))
            }
            _ => None,
        }
    }

    /// The state after the reservation was changed and the service is notified.
    pub(super) fn after_change(&self, now: DateTime<Utc>) -> Self {
        let change = PendingChange {
            state: PendingChangeState::Sent,
            message: String::new(),
            next_attempt_at: None,
            since: now,
        };
        Self { pending_change: Some(change), updated_at: now, ..self.clone() }
    }

    /// The state after the reservation has ended: `releasing` when the service is notified, else `released`.
    pub(super) fn on_release(&self, is_notified: bool, now: DateTime<Utc>) -> Self {
        let status = if is_notified { ProvisioningStatus::Releasing } else { ProvisioningStatus::Released };
        Self { pending_change: None, ..self.with_status(status, "", now) }
    }

    fn with_status(&self, status: ProvisioningStatus, message: &str, now: DateTime<Utc>) -> Self {
        Self { status, message: shorten(message), progress: None, updated_at: now, ..self.clone() }
    }

    /// Status and access information stay as they are: a failed change does not take away what works.
    fn with_unconfirmed_change(
        &self,
        state: PendingChangeState,
        reason: &str,
        next_attempt_at: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Self {
        let since = self.pending_change.as_ref().map_or(now, |change| change.since);
        let change = PendingChange { state, message: shorten(reason), next_attempt_at, since };
        Self { pending_change: Some(change), updated_at: now, ..self.clone() }
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(MAX_MESSAGE).collect()
}
