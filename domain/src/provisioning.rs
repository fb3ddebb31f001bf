//! What the user sees of the resource being made ready (docs/contract.md §§3–4).

use crate::event::EventType;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Where provisioning stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProvisioningStatus {
    /// Nobody has answered yet.
    Waiting,
    /// The receiver is at work.
    Provisioning,
    /// The resource can be used.
    Ready,
    /// It went wrong; `message` says why.
    Failed,
    /// The resource is being given back.
    Releasing,
    /// The resource was given back.
    Released,
}

impl ProvisioningStatus {
    /// Every status, in order of life.
    pub const ALL: [Self; 6] =
        [Self::Waiting, Self::Provisioning, Self::Ready, Self::Failed, Self::Releasing, Self::Released];

    /// The wire name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Provisioning => "provisioning",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Releasing => "releasing",
            Self::Released => "released",
        }
    }

    /// The status with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }

    /// Whether `next` may follow. A status may follow itself (progress). After release nothing follows; once releasing
    /// began only its end or failure may; a failed one may recover, and a `waiting` one jump ahead.
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

/// How to reach the resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct AccessInfo {
    /// Address or host name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
    /// Port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Account on the resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The command to copy, e.g. `ssh user-alice@192.168.100.10`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_command: Option<String>,
}

/// The provisioning state of a reservation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Provisioning {
    /// Where it stands.
    pub status: ProvisioningStatus,
    /// What the receiver said, `""` when nothing.
    pub message: String,
    /// 0 to 100.
    pub progress: Option<u8>,
    /// What the receiver said, e.g. `"5 minutes"`.
    pub estimated_ready_time: Option<String>,
    /// How to reach the resource, once known.
    pub access_info: Option<AccessInfo>,
    /// Everything else the receiver told, for display.
    pub details: Map<String, Value>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// `POST /api/v1/reservations/{id}/status` (docs/contract.md §4), as sent; check with [`StatusUpdate::parse`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatusUpdate {
    /// The new status; not `waiting`.
    pub status: ProvisioningStatus,
    /// When the receiver says it was so; within 5 minutes of now.
    pub timestamp: DateTime<Utc>,
    /// 0 to 100.
    #[serde(default)]
    pub progress: Option<u8>,
    /// At most 500 characters.
    #[serde(default)]
    pub message: Option<String>,
    /// As in a receiver's answer.
    #[serde(default)]
    pub details: Option<Map<String, Value>>,
}

impl StatusUpdate {
    /// Reads a raw body.
    ///
    /// # Errors
    /// 400 when it is not a JSON object, 422 naming each invalid field.
    pub fn parse(body: &[u8]) -> Result<Self, crate::Problem> {
        crate::validation::receiver_response::parse_status_update(body)
    }
}

/// What a 2xx answer of a receiver means (docs/contract.md §3).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReceiverResponse {
    /// The status it implies for the event it answers; `None` where it says nothing about provisioning.
    pub status: Option<ProvisioningStatus>,
    /// `message`, at most 500 characters.
    pub message: Option<String>,
    /// `details.estimated_ready_time`.
    pub estimated_ready_time: Option<String>,
    /// `details.access_info`.
    pub access_info: Option<AccessInfo>,
    /// The rest of `details` and unknown top-level fields, for display.
    pub details: Map<String, Value>,
}

impl ReceiverResponse {
    /// Reads the body of a 2xx answer to `event`. Never fails: what cannot be read says nothing. A body that is not a
    /// JSON object still counts as success: `ready` on created/updated (202: `provisioning`), `released` on release.
    pub fn parse(event: EventType, status_code: u16, body: &[u8]) -> Self {
        crate::validation::receiver_response::parse_response(event, status_code, body)
    }
}

impl Provisioning {
    /// A new reservation's: waiting.
    pub fn waiting(now: DateTime<Utc>) -> Self {
        Self {
            status: ProvisioningStatus::Waiting,
            message: String::new(),
            progress: None,
            estimated_ready_time: None,
            access_info: None,
            details: Map::new(),
            updated_at: now,
        }
    }

    /// The state after a receiver's 2xx answer to a request that was sent at `sent`; `None` when nothing changes.
    pub fn after_response(&self, answer: &ReceiverResponse, sent: DateTime<Utc>, now: DateTime<Utc>) -> Option<Self> {
        let status = answer.status?;
        if !self.status.may_become(status) {
            return None;
        }
        // The receiver may have sent status updates before it answered (docs/contract.md §4 allows it): that it has begun is then no
        // news, and undoes none of them. A plain `success` may complete.
        let begun = matches!(status, ProvisioningStatus::Provisioning | ProvisioningStatus::Releasing);
        if begun && self.updated_at > sent {
            return None;
        }
        let mut next = self.clone();
        next.status = status;
        next.message = answer.message.clone().unwrap_or_default();
        next.estimated_ready_time = answer.estimated_ready_time.clone().or(next.estimated_ready_time);
        next.access_info = answer.access_info.clone().or(next.access_info);
        if !answer.details.is_empty() {
            next.details.clone_from(&answer.details);
        }
        next.progress = match next.status {
            ProvisioningStatus::Provisioning => next.progress,
            _ => None,
        };
        next.updated_at = now;
        Some(next)
    }

    /// The state after a status update of the receiver.
    ///
    /// # Errors
    /// 409 when the status cannot follow the present one.
    pub fn after_update(&self, update: &StatusUpdate, now: DateTime<Utc>) -> Result<Self, crate::Problem> {
        if !self.status.may_become(update.status) {
            return Err(crate::Problem::conflict(format!(
                "\"{}\" cannot follow \"{}\".",
                update.status.as_str(),
                self.status.as_str()
            )));
        }
        let mut next = self.clone();
        if update.status != self.status {
            // What was said of the status before is not true of this one.
            next.message.clear();
        }
        next.status = update.status;
        next.progress = update.progress;
        if let Some(message) = &update.message {
            next.message.clone_from(message);
        }
        if let Some(details) = &update.details {
            let (access_info, estimate, rest) = crate::validation::receiver_response::split_details(details);
            next.access_info = access_info.or(next.access_info);
            next.estimated_ready_time = estimate.or(next.estimated_ready_time);
            if !rest.is_empty() {
                next.details = rest;
            }
        }
        next.updated_at = now;
        Ok(next)
    }

    /// The state after a delivery of `event` failed for good, with the reason in plain words. `None` when nothing changes.
    pub fn after_failure(&self, event: EventType, reason: &str, now: DateTime<Utc>) -> Option<Self> {
        if event == EventType::AccessRequested || !self.status.may_become(ProvisioningStatus::Failed) {
            return None;
        }
        let mut next = self.clone();
        next.status = ProvisioningStatus::Failed;
        next.message = reason.chars().take(500).collect();
        next.progress = None;
        next.updated_at = now;
        Some(next)
    }

    /// The state after a delivery of `event` was cancelled before the receiver took it, with the reason in plain words. `None`
    /// when nothing changes.
    pub fn after_cancellation(&self, event: EventType, reason: &str, now: DateTime<Utc>) -> Option<Self> {
        let mut next = self.clone();
        next.status = match self.status {
            ProvisioningStatus::Releasing if event.releases() => ProvisioningStatus::Released,
            ProvisioningStatus::Waiting if event.provisions() => ProvisioningStatus::Failed,
            ProvisioningStatus::Provisioning | ProvisioningStatus::Ready if event.provisions() => self.status,
            _ => return None,
        };
        next.message = reason.to_owned();
        next.updated_at = now;
        Some(next)
    }

    /// The state when the reservation is cancelled or expires: releasing, where a receiver is told; else released.
    pub fn on_release(&self, receiver_told: bool, now: DateTime<Utc>) -> Self {
        let mut next = self.clone();
        next.status = if receiver_told { ProvisioningStatus::Releasing } else { ProvisioningStatus::Released };
        next.message.clear();
        next.progress = None;
        next.updated_at = now;
        next
    }
}
