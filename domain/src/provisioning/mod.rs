//! Provisioning: the state of the resource behind a reservation (docs/contract.md §§3–4).

mod access;
mod receiver_response;
mod service;
mod status_update;
mod terminal_text;

pub use access::{AccessBeforeStart, EarlyAccess};
pub use receiver_response::{ReceiverResponse, is_intended_as_json, is_json_content_type};
pub use service::{DrivingWebhook, LastStatusUpdate, PendingChange, PendingChangeState, ServiceProvisioning};
pub use status_update::StatusUpdate;

use crate::event::EventType;
use crate::id::WebhookId;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The provisioning status of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr, strum::EnumString)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ProvisioningStatus {
    /// No response has arrived yet.
    Waiting,
    /// The receiver is provisioning the resource.
    Provisioning,
    /// The resource is ready to use.
    Ready,
    /// Provisioning failed; `message` contains the reason.
    Failed,
    /// The receiver is releasing the resource.
    Releasing,
    /// The resource is released.
    Released,
}

impl ProvisioningStatus {
    /// Every status, in the order of the life cycle.
    pub const ALL: [Self; 6] =
        [Self::Waiting, Self::Provisioning, Self::Ready, Self::Failed, Self::Releasing, Self::Released];

    /// The wire name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The status with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    /// Whether the service releases the resource or has released it.
    pub fn is_release(self) -> bool {
        matches!(self, Self::Releasing | Self::Released)
    }

    /// The position in the life cycle: a smaller one is less advanced.
    pub fn position(self) -> usize {
        Self::ALL.iter().position(|status| *status == self).unwrap_or_default()
    }

    /// Whether `next` may follow this status. A status may follow itself (progress). `released` is final; `releasing`
    /// may only end or fail; `failed` may recover; `waiting` may skip ahead.
    pub fn may_become(self, next: Self) -> bool {
        use ProvisioningStatus::*;
        match (self, next) {
            (_, Waiting) => false,
            (Released, Released) => true,
            (Released, _) => false,
            (Releasing, Releasing | Released | Failed) => true,
            (Releasing, _) => false,
            (Waiting, Provisioning | Ready | Failed | Releasing | Released) => true,
            (Provisioning, Provisioning | Ready | Failed | Releasing | Released) => true,
            (Ready, Provisioning | Ready | Failed | Releasing | Released) => true,
            (Failed, Provisioning | Ready | Failed | Releasing | Released) => true,
        }
    }
}

/// Access information of a ready resource. Its texts are copied into terminals, so characters that could hide or add a
/// command are replaced by U+FFFD, also in stored values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct AccessInfo {
    /// Address or host name.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "terminal_text::deserialize")]
    pub ip_address: Option<String>,
    /// Port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// User name on the resource.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "terminal_text::deserialize")]
    pub username: Option<String>,
    /// The command to copy, e.g. `ssh user-alice@192.168.100.10`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "terminal_text::deserialize")]
    pub connection_command: Option<String>,
}

impl AccessInfo {
    /// Whether characters were replaced. The access information may then be an attack, and does not work.
    pub fn has_replaced_characters(&self) -> bool {
        let texts = [&self.ip_address, &self.username, &self.connection_command];
        texts.into_iter().flatten().any(|text| text.contains(char::REPLACEMENT_CHARACTER))
    }
}

/// The provisioning state of a reservation: the state of each service, and the headline derived from them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Provisioning {
    /// The headline: `failed` if a required service failed, `ready` if all are ready, otherwise the status of the
    /// service that is least advanced.
    pub status: ProvisioningStatus,
    /// The message of the service that determines the status, `""` without one.
    pub message: String,
    /// Its progress in percent, 0 to 100.
    pub progress: Option<u8>,
    /// Its estimate as text, e.g. `"5 minutes"`.
    pub estimated_ready_time: Option<String>,
    /// The access information of the first service that has sent it.
    pub access_info: Option<AccessInfo>,
    /// Further details from the service that determines the status, for display.
    pub details: Map<String, Value>,
    /// If access information and details of a service are hidden: the start of the reservation, when they are shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_available_at: Option<DateTime<Utc>>,
    /// The services that provision the reservation, in the order of their webhooks. Empty if no webhook drives
    /// provisioning.
    #[serde(default)]
    pub services: Vec<ServiceProvisioning>,
    /// Time of the last change.
    pub updated_at: DateTime<Utc>,
}

impl Provisioning {
    /// The state of a new reservation that these webhooks provision.
    pub fn waiting<'a>(webhooks: impl IntoIterator<Item = DrivingWebhook<'a>>, now: DateTime<Utc>) -> Self {
        let mut services: Vec<_> =
            webhooks.into_iter().map(|webhook| ServiceProvisioning::waiting(webhook, true, now)).collect();
        services.sort_by_key(|service| service.webhook_id);
        Self {
            status: ProvisioningStatus::Waiting,
            message: String::new(),
            progress: None,
            estimated_ready_time: None,
            access_info: None,
            details: Map::new(),
            access_available_at: None,
            services,
            updated_at: now,
        }
    }

    /// The state of a new reservation with one service after its first response, to a request sent at `sent`; `None` when
    /// nothing changes.
    pub fn after_first_response(
        webhook: DrivingWebhook<'_>,
        event: EventType,
        response: &ReceiverResponse,
        sent: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Option<Self> {
        let service = ServiceProvisioning::waiting(webhook, true, sent).after_response(event, response, sent, now)?;
        Some(Self { services: vec![service], ..Self::waiting([], sent) }.derived())
    }

    /// The webhook of the only service, if the headline contains everything else about it.
    pub fn only_service(&self) -> Option<DrivingWebhook<'_>> {
        let [service] = self.services.as_slice() else { return None };
        let is_headline = service.required
            && service.pending_change.is_none()
            && service.last_status_update.is_none()
            && service.status == self.status
            && service.message == self.message
            && service.progress == self.progress
            && service.estimated_ready_time == self.estimated_ready_time
            && service.access_info == self.access_info
            && service.details == self.details
            && service.updated_at == self.updated_at;
        is_headline.then_some(DrivingWebhook { id: service.webhook_id, name: &service.webhook_name })
    }

    /// The state with one service that is as the headline: the reverse of [`Self::only_service`].
    #[must_use]
    pub fn with_only_service(mut self, webhook: DrivingWebhook<'_>) -> Self {
        self.services = vec![self.service_from_headline(webhook)];
        self
    }

    /// The states of the services. A reservation without services has one that shows the headline.
    pub fn by_service(&self) -> Vec<ServiceProvisioning> {
        if self.services.is_empty() { vec![self.headline()] } else { self.services.clone() }
    }

    /// The headline as the state of a service without a name.
    pub fn headline(&self) -> ServiceProvisioning {
        self.service_from_headline(DrivingWebhook { id: 0, name: "" })
    }

    fn service_from_headline(&self, webhook: DrivingWebhook<'_>) -> ServiceProvisioning {
        ServiceProvisioning {
            status: self.status,
            message: self.message.clone(),
            progress: self.progress,
            estimated_ready_time: self.estimated_ready_time.clone(),
            access_info: self.access_info.clone(),
            details: self.details.clone(),
            access_available_at: self.access_available_at,
            ..ServiceProvisioning::waiting(webhook, true, self.updated_at)
        }
    }

    /// The state after a service's 2xx response to a request for `event` sent at `sent`; `None` when nothing changes.
    pub fn after_response(
        &self,
        webhook: DrivingWebhook<'_>,
        event: EventType,
        response: &ReceiverResponse,
        sent: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Option<Self> {
        self.service(webhook, now).after_response(event, response, sent, now).map(|next| self.with(next))
    }

    /// The state after a status update of a service; `None` if a newer one was applied before.
    ///
    /// # Errors
    /// 409 when the status cannot follow the current one of the service.
    pub fn after_update(
        &self,
        webhook: DrivingWebhook<'_>,
        update: &StatusUpdate,
        now: DateTime<Utc>,
    ) -> Result<Option<Self>, crate::Problem> {
        Ok(self.service(webhook, now).after_update(update, now)?.map(|next| self.with(next)))
    }

    /// The state after an attempt to deliver `event` failed with `reason` and another one follows at `due`; `None` when
    /// nothing changes.
    pub fn after_retry(
        &self,
        webhook: DrivingWebhook<'_>,
        event: EventType,
        reason: &str,
        due: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Option<Self> {
        self.service(webhook, now).after_retry(event, reason, due, now).map(|next| self.with(next))
    }

    /// The state after a delivery of `event` failed permanently, with the reason; `None` when nothing changes.
    pub fn after_failure(
        &self,
        webhook: DrivingWebhook<'_>,
        event: EventType,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Option<Self> {
        self.service(webhook, now).after_failure(event, reason, now).map(|next| self.with(next))
    }

    /// The state after a queued delivery of `event` was cancelled, with the reason; `None` when nothing changes.
    pub fn after_cancellation(
        &self,
        webhook: DrivingWebhook<'_>,
        event: EventType,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Option<Self> {
        self.service(webhook, now).after_cancellation(event, reason, now).map(|next| self.with(next))
    }

    /// The state after the reservation was changed and `notified` services receive the change.
    pub fn after_change(&self, notified: &[DrivingWebhook<'_>], now: DateTime<Utc>) -> Self {
        let known = |webhook: &&DrivingWebhook<'_>| {
            self.services.is_empty() || self.services.iter().any(|service| service.webhook_id == webhook.id)
        };
        notified
            .iter()
            .filter(known)
            .fold(self.clone(), |state, webhook| state.with(state.service(*webhook, now).after_change(now)))
    }

    /// The state after the reservation was cancelled or expired: each service is `releasing` when it is notified, else
    /// `released`.
    pub fn on_release(&self, notified: &[DrivingWebhook<'_>], now: DateTime<Utc>) -> Self {
        let is_notified = |id| notified.iter().any(|webhook| webhook.id == id);
        let mut state = self.clone();
        state.services =
            self.services.iter().map(|service| service.on_release(is_notified(service.webhook_id), now)).collect();
        for webhook in notified {
            state = state.with(ServiceProvisioning {
                // It has something to release, even if it did not provision.
                required: true,
                ..state.service(*webhook, now).on_release(true, now)
            });
        }
        if state.services.is_empty() {
            state.status = ProvisioningStatus::Released;
            state.message.clear();
            state.progress = None;
            state.updated_at = now;
            return state;
        }
        state.derived()
    }

    /// The state with a message of these services, unless they have responded: why they do not begin; `None` when nothing
    /// changes.
    #[must_use]
    pub fn with_wait(&self, webhooks: &[WebhookId], message: &str, now: DateTime<Utc>) -> Option<Self> {
        let waits = |service: &ServiceProvisioning| {
            service.status == ProvisioningStatus::Waiting
                && service.message != message
                && webhooks.contains(&service.webhook_id)
        };
        if !self.services.iter().any(waits) {
            return None;
        }
        let mut next = self.clone();
        for service in next.services.iter_mut().filter(|service| waits(service)) {
            message.clone_into(&mut service.message);
            service.updated_at = now;
        }
        Some(next.derived())
    }

    /// The state after someone has confirmed, with a message, that the resource is released. For reservations that have ended.
    #[must_use]
    pub fn with_confirmed_release(&self, message: &str, now: DateTime<Utc>) -> Self {
        let mut next = self.clone();
        for service in next.services.iter_mut().filter(|service| service.status != ProvisioningStatus::Released) {
            service.status = ProvisioningStatus::Released;
            message.clone_into(&mut service.message);
            service.progress = None;
            service.updated_at = now;
        }
        if next.services.is_empty() {
            next.status = ProvisioningStatus::Released;
            message.clone_into(&mut next.message);
            next.updated_at = now;
            return next;
        }
        next.derived()
    }

    /// Whether a service has not released the resource, or its release failed. For reservations that have ended.
    pub fn is_unreleased(&self) -> bool {
        self.status != ProvisioningStatus::Released
    }

    /// The state without access information and details of the services.
    #[must_use]
    pub fn without_access_info(mut self) -> Self {
        self.access_info = None;
        self.details = Map::new();
        for service in &mut self.services {
            service.access_info = None;
            service.details = Map::new();
        }
        self
    }

    /// The state without any text or value that services have sent. The statuses stay.
    #[must_use]
    pub fn without_received_texts(self) -> Self {
        let mut state = self.without_access_info();
        state.message.clear();
        state.estimated_ready_time = None;
        for service in &mut state.services {
            service.message.clear();
            service.estimated_ready_time = None;
            if let Some(change) = &mut service.pending_change {
                change.message.clear();
            }
        }
        state
    }

    /// The state of one service. A state that was stored before services were told apart belongs to the first one that
    /// changes it. A service that is not in the list was added later and is not required.
    fn service(&self, webhook: DrivingWebhook<'_>, now: DateTime<Utc>) -> ServiceProvisioning {
        if let Some(service) = self.services.iter().find(|service| service.webhook_id == webhook.id) {
            return ServiceProvisioning { webhook_name: webhook.name.to_owned(), ..service.clone() };
        }
        if self.services.is_empty() {
            return self.service_from_headline(webhook);
        }
        ServiceProvisioning::waiting(webhook, false, now)
    }

    /// The state with a new state of one service.
    fn with(&self, service: ServiceProvisioning) -> Self {
        let mut next = self.clone();
        match next.services.binary_search_by_key(&service.webhook_id, |other| other.webhook_id) {
            Ok(position) => next.services[position] = service,
            Err(position) => next.services.insert(position, service),
        }
        next.derived()
    }

    /// The state with the headline of its services. There is at least one.
    fn derived(mut self) -> Self {
        let any_required = self.services.iter().any(|service| service.required);
        let counted = || self.services.iter().filter(|service| service.required || !any_required);
        let failed = counted().find(|service| service.status == ProvisioningStatus::Failed);
        let Some(lead) = failed.or_else(|| counted().min_by_key(|service| service.status.position())) else {
            return self;
        };
        let access_info = counted().chain(&self.services).find_map(|service| service.access_info.clone());
        let updated_at = self.services.iter().map(|service| service.updated_at).max();
        (self.status, self.message, self.progress, self.estimated_ready_time, self.details) =
            (lead.status, lead.message.clone(), lead.progress, lead.estimated_ready_time.clone(), lead.details.clone());
        self.access_info = access_info;
        self.updated_at = updated_at.unwrap_or(self.updated_at);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::Duration;
    use proptest::prelude::*;
    use serde_json::json;

    const A: DrivingWebhook<'static> = DrivingWebhook { id: 1, name: "Machines" };
    const B: DrivingWebhook<'static> = DrivingWebhook { id: 2, name: "Network" };
    const LATER: DrivingWebhook<'static> = DrivingWebhook { id: 3, name: "Added later" };
    const CREATED: EventType = EventType::ReservationCreated;
    const UPDATED: EventType = EventType::ReservationUpdated;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + Duration::seconds(seconds)
    }

    fn answer(
        state: &Provisioning,
        webhook: DrivingWebhook<'_>,
        event: EventType,
        body: Value,
        seconds: i64,
    ) -> Provisioning {
        let response = ReceiverResponse::parse(event, 200, true, body.to_string().as_bytes());
        state.after_response(webhook, event, &response, at(seconds), at(seconds)).unwrap_or_else(|| state.clone())
    }

    fn ready(address: &str) -> Value {
        json!({"status": "success", "message": "Done", "details": {"access_info": {"ip_address": address}}})
    }

    fn update(status: &str, seconds: i64, progress: Option<u8>) -> StatusUpdate {
        let body = json!({"status": status, "timestamp": at(seconds), "progress": progress});
        StatusUpdate::parse(body.to_string().as_bytes()).unwrap()
    }

    fn address(state: &Provisioning, service: usize) -> Option<&str> {
        state.services[service].access_info.as_ref()?.ip_address.as_deref()
    }

    #[test]
    fn services_keep_their_own_state() {
        let state = Provisioning::waiting([B, A], at(0));
        let ids: Vec<_> = state.services.iter().map(|service| service.webhook_id).collect();
        assert_eq!(ids, [1, 2]);
        let state = answer(&state, A, CREATED, ready("192.0.2.1"), 1);
        assert_eq!((state.status, address(&state, 0)), (ProvisioningStatus::Waiting, Some("192.0.2.1")));
        let state = answer(&state, B, CREATED, ready("192.0.2.2"), 2);
        assert_eq!(state.status, ProvisioningStatus::Ready);
        assert_eq!((address(&state, 0), address(&state, 1)), (Some("192.0.2.1"), Some("192.0.2.2")));
        assert_eq!(state.access_info.as_ref().unwrap().ip_address.as_deref(), Some("192.0.2.1"));
        assert_eq!(state.updated_at, at(2));
    }

    #[test]
    fn headline_is_failed_if_a_required_service_failed_and_else_the_least_advanced() {
        let state = Provisioning::waiting([A, B], at(0));
        let state = answer(&state, A, CREATED, json!({"status": "accepted", "message": "Installing"}), 1);
        assert_eq!(state.status, ProvisioningStatus::Waiting);
        let state = answer(&state, B, CREATED, ready("192.0.2.2"), 2);
        assert_eq!((state.status, state.message.as_str()), (ProvisioningStatus::Provisioning, "Installing"));
        let failed = answer(&state, A, CREATED, json!({"status": "failed", "message": "No GPUs"}), 3);
        assert_eq!((failed.status, failed.message.as_str()), (ProvisioningStatus::Failed, "No GPUs"));
        assert_eq!(failed.services[1].status, ProvisioningStatus::Ready);
        let recovered = failed.after_update(A, &update("ready", 4, None), at(4)).unwrap().unwrap();
        assert_eq!(recovered.status, ProvisioningStatus::Ready);
    }

    #[test]
    fn failed_change_leaves_a_ready_service_ready() {
        let state = answer(&Provisioning::waiting([A], at(0)), A, CREATED, ready("192.0.2.1"), 1);
        let state = state.after_change(&[A], at(10));
        assert_eq!(state.services[0].pending_change.as_ref().unwrap().state, PendingChangeState::Sent);
        let retrying = state.after_retry(A, UPDATED, "500", at(12), at(11)).unwrap();
        let change = retrying.services[0].pending_change.clone().unwrap();
        assert_eq!(
            (change.state, change.next_attempt_at, change.since),
            (PendingChangeState::Retrying, Some(at(12)), at(10))
        );
        let failed = [
            retrying.after_failure(A, UPDATED, "500", at(13)).unwrap(),
            answer(&state, A, UPDATED, json!({"status": "failed", "message": "500"}), 11),
            state.after_cancellation(A, UPDATED, "500", at(13)).unwrap(),
        ];
        for state in failed {
            assert_eq!((state.status, address(&state, 0)), (ProvisioningStatus::Ready, Some("192.0.2.1")));
            assert_eq!(state.message, "Done", "a message changes only with the status");
            let change = state.services[0].pending_change.clone().unwrap();
            assert_eq!(
                (change.state, change.message.as_str(), change.since),
                (PendingChangeState::Failed, "500", at(10))
            );
            let confirmed = answer(&state, A, UPDATED, json!({"status": "success"}), 20);
            assert_eq!(confirmed.services[0].pending_change, None);
            assert_eq!(address(&confirmed, 0), Some("192.0.2.1"));
        }
        let doubtful = answer(&state, A, UPDATED, json!({"status": "exploded"}), 11);
        assert_eq!(doubtful.status, ProvisioningStatus::Ready);
        assert_eq!(doubtful.services[0].pending_change.as_ref().unwrap().state, PendingChangeState::Failed);
    }

    #[test]
    fn failed_delivery_of_created_leaves_a_ready_service_ready() {
        let state = answer(&Provisioning::waiting([A], at(0)), A, CREATED, ready("192.0.2.1"), 1);
        assert_eq!(state.after_failure(A, CREATED, "500", at(9)), None);
        for body in [json!({"status": "failed"}), json!({"status": "accepted"}), json!({"status": "exploded"})] {
            assert_eq!(answer(&state, A, CREATED, body, 9), state);
        }
        assert_eq!(address(&answer(&state, A, CREATED, ready("192.0.2.9"), 9), 0), Some("192.0.2.9"));
        // The service reports its work, but its responses are lost.
        let waiting = Provisioning::waiting([A], at(0));
        let working = waiting.after_update(A, &update("provisioning", 2, None), at(2)).unwrap().unwrap();
        assert_eq!(working.after_failure(A, CREATED, "timeout", at(9)), None);
        for event in [EventType::AccessRequested, EventType::ReservationStarted, EventType::ReservationEnding] {
            assert_eq!(
                waiting.after_failure(A, event, "timeout", at(9)),
                None,
                "{event} has no effect on provisioning"
            );
        }
        let failed = waiting.after_failure(A, CREATED, "timeout", at(9)).unwrap();
        assert_eq!(failed.status, ProvisioningStatus::Failed);
    }

    #[test]
    fn accepted_change_leaves_a_ready_service_ready_until_its_result() {
        let state = answer(&Provisioning::waiting([A], at(0)), A, CREATED, ready("192.0.2.1"), 1);
        let accepted = json!({"status": "accepted", "message": "Resizing"});
        let state = answer(&state.after_change(&[A], at(10)), A, UPDATED, accepted, 11);
        let change = state.services[0].pending_change.clone().unwrap();
        assert_eq!((change.state, change.message.as_str()), (PendingChangeState::Sent, "Resizing"));
        assert_eq!((state.status, address(&state, 0)), (ProvisioningStatus::Ready, Some("192.0.2.1")));
        let report = |status, seconds| state.after_update(A, &update(status, seconds, None), at(12)).unwrap().unwrap();
        assert!(report("ready", 9).services[0].pending_change.is_some(), "reported before the change");
        assert_eq!(report("ready", 12).services[0].pending_change, None);
        let failed = report("failed", 12);
        assert_eq!((failed.status, address(&failed, 0)), (ProvisioningStatus::Ready, Some("192.0.2.1")));
        assert_eq!(failed.services[0].pending_change.as_ref().unwrap().state, PendingChangeState::Failed);
        let broken = answer(&Provisioning::waiting([A], at(0)), A, CREATED, ready("192.0.2.1"), 1);
        let broken = broken.after_update(A, &update("failed", 12, None), at(12)).unwrap().unwrap();
        assert_eq!(broken.status, ProvisioningStatus::Failed, "without a change, the resource itself has failed");
    }

    #[test]
    fn change_is_confirmed_by_a_status_update_although_the_202_was_late() {
        let state =
            answer(&Provisioning::waiting([A], at(0)), A, CREATED, ready("192.0.2.1"), 1).after_change(&[A], at(10));
        let state = state.after_update(A, &update("provisioning", 12, None), at(12)).unwrap().unwrap();
        let response = ReceiverResponse::parse(UPDATED, 202, false, b"");
        assert_eq!(state.after_response(A, UPDATED, &response, at(11), at(13)), None);
        let state = state.after_update(A, &update("ready", 13, None), at(13)).unwrap().unwrap();
        assert_eq!(state.services[0].pending_change, None);
    }

    #[test]
    fn response_to_an_earlier_event_does_not_confirm_a_later_change() {
        let state = Provisioning::waiting([A], at(0)).after_change(&[A], at(10));
        let state = answer(&state, A, CREATED, ready("192.0.2.1"), 5);
        assert_eq!(state.status, ProvisioningStatus::Ready);
        assert!(state.services[0].pending_change.is_some());
        let state = answer(&state, A, UPDATED, json!({"status": "success"}), 5);
        assert!(state.services[0].pending_change.is_some());
        let state = answer(&state, A, UPDATED, json!({"status": "success"}), 11);
        assert!(state.services[0].pending_change.is_none());
    }

    #[test]
    fn late_202_applies_although_the_reservation_was_changed() {
        let state = Provisioning::waiting([A], at(0)).after_change(&[A], at(10));
        let state = answer(&state, A, CREATED, json!({"status": "accepted"}), 5);
        assert_eq!(state.status, ProvisioningStatus::Provisioning);
    }

    #[test]
    fn service_that_was_added_later_does_not_change_the_headline() {
        let state = answer(&Provisioning::waiting([A], at(0)), A, CREATED, ready("192.0.2.1"), 1);
        let changed = state.after_change(&[A, LATER], at(10));
        assert_eq!(changed.services.len(), 1, "it has not provisioned anything that could change");
        let state = state.after_failure(LATER, UPDATED, "500", at(11)).unwrap();
        assert_eq!((state.status, state.services[1].status), (ProvisioningStatus::Ready, ProvisioningStatus::Failed));
        assert!(!state.services[1].required);
        let state = answer(&state, LATER, UPDATED, ready("192.0.2.3"), 12);
        assert_eq!(state.status, ProvisioningStatus::Ready);
        assert_eq!(state.access_info.unwrap().ip_address.as_deref(), Some("192.0.2.1"));
    }

    #[test]
    fn state_without_services_belongs_to_the_first_that_changes_it() {
        let mut stored = answer(&Provisioning::waiting([A], at(0)), A, CREATED, ready("192.0.2.1"), 1);
        stored.services.clear();
        let text = serde_json::to_string(&stored).unwrap().replace(",\"services\":[]", "");
        let state: Provisioning = serde_json::from_str(&text).unwrap();
        let state = state.after_failure(A, UPDATED, "500", at(2)).unwrap();
        assert_eq!((state.status, address(&state, 0)), (ProvisioningStatus::Ready, Some("192.0.2.1")));
        // A reservation that no webhook provisioned when it was created.
        let state = Provisioning::waiting([], at(0));
        assert_eq!(state.after_failure(A, UPDATED, "500", at(1)).unwrap().status, ProvisioningStatus::Failed);
        assert_eq!(state.on_release(&[], at(1)).status, ProvisioningStatus::Released);
        assert_eq!(state.on_release(&[A], at(1)).status, ProvisioningStatus::Releasing);
    }

    #[test]
    fn release_is_complete_when_every_notified_service_has_released() {
        let state = Provisioning::waiting([A, B], at(0));
        let state = answer(&state, A, CREATED, ready("192.0.2.1"), 1).on_release(&[A, LATER], at(5));
        let statuses = |state: &Provisioning| state.services.iter().map(|s| s.status.as_str()).collect::<Vec<_>>();
        assert_eq!(statuses(&state), ["releasing", "released", "releasing"]);
        assert_eq!(state.status, ProvisioningStatus::Releasing);
        let state = answer(&state, A, EventType::ReservationCancelled, json!({}), 6);
        assert_eq!(state.status, ProvisioningStatus::Releasing);
        let state = answer(&state, LATER, EventType::ReservationCancelled, json!({}), 7);
        assert_eq!(state.status, ProvisioningStatus::Released);
    }

    #[test]
    fn cancellation_affects_only_the_service_of_the_webhook() {
        let state = answer(&Provisioning::waiting([A, B], at(0)), A, CREATED, ready("192.0.2.1"), 1);
        assert_eq!(state.after_cancellation(A, CREATED, "deleted", at(2)), None);
        let state = state.after_cancellation(B, CREATED, "deleted", at(2)).unwrap();
        assert_eq!((state.services[0].message.as_str(), state.services[1].message.as_str()), ("Done", "deleted"));
        assert_eq!(state.status, ProvisioningStatus::Failed);
    }

    #[test]
    fn older_status_update_changes_nothing() {
        let state = Provisioning::waiting([A], at(0));
        let state = state.after_update(A, &update("ready", 100, None), at(100)).unwrap().unwrap();
        assert_eq!(state.after_update(A, &update("provisioning", 70, Some(90)), at(101)).unwrap(), None);
        // Each service has its own order.
        assert!(state.after_update(B, &update("provisioning", 70, Some(90)), at(101)).unwrap().is_some());
    }

    #[test]
    fn progress_does_not_decrease_within_a_phase() {
        let apply = |state: &Provisioning, status: &str, seconds, progress| {
            state.after_update(A, &update(status, seconds, progress), at(seconds)).unwrap().unwrap()
        };
        let state = apply(&Provisioning::waiting([A], at(0)), "provisioning", 1, Some(60));
        assert_eq!(apply(&state, "provisioning", 2, Some(40)).progress, Some(60));
        assert_eq!(apply(&state, "provisioning", 2, None).progress, Some(60));
        assert_eq!(apply(&state, "provisioning", 2, Some(70)).progress, Some(70));
        let ready = apply(&state, "ready", 2, None);
        assert_eq!(ready.progress, None);
        assert_eq!(apply(&ready, "provisioning", 3, Some(5)).progress, Some(5), "a new phase");
    }

    proptest! {
        /// Whatever happens in whatever order, the headline follows from the services.
        #[test]
        fn headline_follows_from_the_services(steps in prop::collection::vec((0_usize..3, 0_usize..7, 0_i64..50), 0..30)) {
            let mut state = Provisioning::waiting([A, B], at(0));
            for (who, what, when) in steps {
                let webhook = [A, B, LATER][who];
                state = match what {
                    0 => answer(&state, webhook, CREATED, ready("192.0.2.9"), when),
                    1 => answer(&state, webhook, CREATED, json!({"status": "accepted"}), when),
                    2 => state.after_failure(webhook, CREATED, "down", at(when)).unwrap_or(state),
                    3 => state.after_failure(webhook, UPDATED, "down", at(when)).unwrap_or(state),
                    4 => state.after_update(webhook, &update("provisioning", when, Some(30)), at(when)).ok().flatten().unwrap_or(state),
                    5 => state.after_change(&[webhook], at(when)),
                    _ => answer(&state, webhook, UPDATED, json!({"status": "success"}), when),
                };
                let required: Vec<_> = state.services.iter().filter(|s| s.required).map(|s| s.status).collect();
                prop_assert_eq!(required.len(), 2);
                if required.contains(&ProvisioningStatus::Failed) {
                    prop_assert_eq!(state.status, ProvisioningStatus::Failed);
                } else {
                    prop_assert_eq!(Some(state.status), required.into_iter().min_by_key(|s| s.position()));
                }
                let stored = serde_json::to_string(&state).unwrap();
                prop_assert_eq!(&serde_json::from_str::<Provisioning>(&stored).unwrap(), &state);
            }
        }
    }
}
