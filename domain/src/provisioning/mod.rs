//! Provisioning: the state of the resource behind a reservation (docs/contract.md §§3–4).

mod receiver_response;
mod status_update;

pub use receiver_response::ReceiverResponse;
pub use status_update::StatusUpdate;

use crate::event::EventType;
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

/// Access information of a ready resource.
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
    /// User name on the resource.
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
    /// The current status.
    pub status: ProvisioningStatus,
    /// The receiver's message, `""` without one.
    pub message: String,
    /// Progress in percent, 0 to 100.
    pub progress: Option<u8>,
    /// The receiver's estimate as text, e.g. `"5 minutes"`.
    pub estimated_ready_time: Option<String>,
    /// Access information, once the receiver has sent it.
    pub access_info: Option<AccessInfo>,
    /// Further details from the receiver, for display.
    pub details: Map<String, Value>,
    /// Time of the last change.
    pub updated_at: DateTime<Utc>,
}

impl Provisioning {
    /// The state of a new reservation.
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

    /// The state after a receiver's 2xx response to a request sent at `sent`; `None` when nothing changes.
    pub fn after_response(&self, response: &ReceiverResponse, sent: DateTime<Utc>, now: DateTime<Utc>) -> Option<Self> {
        let status = response.status?;
        if !self.status.may_become(status) {
            return None;
        }
        // A receiver may send status updates before it responds (docs/contract.md §4). A late 202 is older than those
        // and must not override them; a late `success` still completes the work.
        let in_progress = matches!(status, ProvisioningStatus::Provisioning | ProvisioningStatus::Releasing);
        if in_progress && self.updated_at > sent {
            return None;
        }
        let mut next = self.clone();
        next.status = status;
        next.message = response.message.clone().unwrap_or_default();
        next.estimated_ready_time = response.estimated_ready_time.clone().or(next.estimated_ready_time);
        next.access_info = response.access_info.clone().or(next.access_info);
        if !response.details.is_empty() {
            next.details.clone_from(&response.details);
        }
        next.progress = match next.status {
            ProvisioningStatus::Provisioning => next.progress,
            _ => None,
        };
        next.updated_at = now;
        Some(next)
    }

    /// The state after a status update.
    ///
    /// # Errors
    /// 409 when the status cannot follow the current one.
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
            // The message belongs to the previous status.
            next.message.clear();
        }
        next.status = update.status;
        next.progress = update.progress;
        if let Some(message) = &update.message {
            next.message.clone_from(message);
        }
        if let Some(details) = &update.details {
            let (access_info, estimate, rest) = receiver_response::split_details(details);
            next.access_info = access_info.or(next.access_info);
            next.estimated_ready_time = estimate.or(next.estimated_ready_time);
            if !rest.is_empty() {
                next.details = rest;
            }
        }
        next.updated_at = now;
        Ok(next)
    }

    /// The state after a delivery of `event` failed permanently, with the reason; `None` when nothing changes.
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

    /// The state after a queued delivery of `event` was cancelled, with the reason; `None` when nothing changes.
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

    /// The state after the reservation was cancelled or expired: `releasing` when a receiver is notified, else
    /// `released`.
    pub fn on_release(&self, receiver_notified: bool, now: DateTime<Utc>) -> Self {
        let mut next = self.clone();
        next.status = if receiver_notified { ProvisioningStatus::Releasing } else { ProvisioningStatus::Released };
        next.message.clear();
        next.progress = None;
        next.updated_at = now;
        next
    }
}
