//! States as chips: icon, word and colour, never colour alone.

use super::{Icon, IconView};
use domain::delivery::DeliveryStatus;
use domain::provisioning::ProvisioningStatus;
use domain::reservation::ReservationStatus;
use domain::resource::{AccessStatus, ResourceStatus};
use domain::webhook::{WebhookHealth, WebhookState};
use leptos::prelude::*;

/// A tone of a chip.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    Neutral,
    /// Under way.
    Active,
    /// Good.
    Good,
    /// Look at it.
    Warn,
    /// Bad.
    Bad,
}

/// Something that a chip can show.
pub trait State: Copy {
    /// Its word.
    fn word(self) -> &'static str;
    /// Its tone.
    fn tone(self) -> Tone;
}

impl State for DeliveryStatus {
    fn word(self) -> &'static str {
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

impl State for ProvisioningStatus {
    fn word(self) -> &'static str {
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

impl State for ReservationStatus {
    fn word(self) -> &'static str {
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

impl State for ResourceStatus {
    fn word(self) -> &'static str {
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

impl State for AccessStatus {
    fn word(self) -> &'static str {
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

impl State for WebhookState {
    fn word(self) -> &'static str {
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

impl State for WebhookHealth {
    fn word(self) -> &'static str {
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

/// A state as a chip.
#[component]
pub fn Chip<S: State>(state: S) -> impl IntoView {
    let class = match state.tone() {
        Tone::Neutral => "chip",
        Tone::Active => "chip active",
        Tone::Good => "chip good",
        Tone::Warn => "chip warn",
        Tone::Bad => "chip bad",
    };
    let icon = match state.tone() {
        Tone::Neutral => Icon::Clock,
        Tone::Active => Icon::Retry,
        Tone::Good => Icon::Check,
        Tone::Warn => Icon::Warning,
        Tone::Bad => Icon::Cross,
    };
    view! {
        <span class=class>
            <IconView icon=icon />
            {state.word()}
        </span>
    }
}
