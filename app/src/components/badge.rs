//! Badges for statuses. Each has an icon and a label, because colour alone is not accessible.

use super::{Icon, IconView};
use domain::delivery::DeliveryStatus;
use domain::provisioning::ProvisioningStatus;
use domain::reservation::ReservationStatus;
use domain::resource::{AccessStatus, ResourceStatus};
use domain::webhook::{WebhookHealth, WebhookState};
use leptos::prelude::*;

/// The colour and icon of a badge.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// No special meaning.
    Neutral,
    /// In progress.
    Active,
    /// Success.
    Good,
    /// Needs attention.
    Warn,
    /// Failure.
    Bad,
}

/// A status that a badge can show.
pub trait Status: Copy {
    /// The text.
    fn label(self) -> &'static str;
    /// The colour and icon.
    fn tone(self) -> Tone;
}

impl Status for DeliveryStatus {
    fn label(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Sending => "Sending",
            Self::Retrying => "Retrying",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Pending | Self::Cancelled => Tone::Neutral,
            Self::Sending => Tone::Active,
            Self::Retrying => Tone::Warn,
            Self::Succeeded => Tone::Good,
            Self::Failed => Tone::Bad,
        }
    }
}

impl Status for ProvisioningStatus {
    fn label(self) -> &'static str {
        match self {
            Self::Waiting => "Waiting",
            Self::Provisioning => "Provisioning",
            Self::Ready => "Ready",
            Self::Failed => "Failed",
            Self::Releasing => "Releasing",
            Self::Released => "Released",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Waiting | Self::Released => Tone::Neutral,
            Self::Provisioning | Self::Releasing => Tone::Active,
            Self::Ready => Tone::Good,
            Self::Failed => Tone::Bad,
        }
    }
}

impl Status for ReservationStatus {
    fn label(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Cancelled => "Cancelled",
            Self::Expired => "Expired",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Active => Tone::Good,
            Self::Cancelled | Self::Expired => Tone::Neutral,
        }
    }
}

impl Status for ResourceStatus {
    fn label(self) -> &'static str {
        match self {
            Self::Available => "Available",
            Self::Restricted => "Restricted",
            Self::Maintenance => "Maintenance",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Available => Tone::Good,
            Self::Restricted => Tone::Warn,
            Self::Maintenance => Tone::Neutral,
        }
    }
}

impl Status for AccessStatus {
    fn label(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Approved => "Approved",
            Self::Denied => "Denied",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Pending => Tone::Active,
            Self::Approved => Tone::Good,
            Self::Denied => Tone::Neutral,
        }
    }
}

impl Status for WebhookState {
    fn label(self) -> &'static str {
        match self {
            Self::Enabled => "Enabled",
            Self::Paused => "Paused",
            Self::Gone => "Disabled",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Enabled => Tone::Good,
            Self::Paused => Tone::Neutral,
            Self::Gone => Tone::Bad,
        }
    }
}

impl Status for WebhookHealth {
    fn label(self) -> &'static str {
        match self {
            Self::Unknown => "No data",
            Self::Healthy => "Healthy",
            Self::Degraded => "Degraded",
            Self::Failing => "Failing",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Unknown => Tone::Neutral,
            Self::Healthy => Tone::Good,
            Self::Degraded => Tone::Warn,
            Self::Failing => Tone::Bad,
        }
    }
}

/// A status as a badge.
#[component]
pub fn Badge<S: Status>(status: S) -> impl IntoView {
    let class = match status.tone() {
        Tone::Neutral => "badge",
        Tone::Active => "badge active",
        Tone::Good => "badge good",
        Tone::Warn => "badge warn",
        Tone::Bad => "badge bad",
    };
    let icon = match status.tone() {
        Tone::Neutral => Icon::Clock,
        Tone::Active => Icon::Retry,
        Tone::Good => Icon::Check,
        Tone::Warn => Icon::Warning,
        Tone::Bad => Icon::Cross,
    };
    view! {
        <span class=class>
            <IconView icon=icon />
            {status.label()}
        </span>
    }
}
