//! When a webhook receives `reservation.created` (docs/contract.md §10).

use serde::{Deserialize, Serialize};

/// When a webhook receives `reservation.created`.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr, strum::EnumString,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ProvisionTime {
    /// When the user reserves.
    #[default]
    Booking,
    /// At the start of the reserved time, or the lead time of the resource type earlier. Until then, changes are not
    /// sent, and a cancelled reservation sends nothing.
    Start,
}

impl ProvisionTime {
    /// Every time, in the order of the form.
    pub const ALL: [Self; 2] = [Self::Booking, Self::Start];

    /// The wire name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The time with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    /// The label in the form.
    pub fn label(self) -> &'static str {
        match self {
            Self::Booking => "At booking",
            Self::Start => "At start",
        }
    }

    /// The explanation in the form, one sentence.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Booking => "Reservation Created is sent when the user reserves.",
            Self::Start => {
                "Reservation Created is held until the start, or the lead time of the resource type before it."
            }
        }
    }
}
