//! Identifiers as newtypes, so that they cannot be confused (docs/contract.md §1, "Bodies").

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! prefixed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// The prefix of every id of this type.
            pub const PREFIX: &'static str = $prefix;

            /// The id for a ULID (26 characters of Crockford base 32), in lower case.
            pub fn from_ulid(ulid: ulid::Ulid) -> Self {
                Self(format!(concat!($prefix, "{}"), ulid.to_string().to_ascii_lowercase()))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    };
}

prefixed_id!(
    /// A reservation: `rsv-` + lower-case ULID. Receivers derive host names from it.
    ReservationId,
    "rsv-"
);
prefixed_id!(
    /// An event: `evt_` + ULID; the `webhook-id` of every request that carries it.
    EventId,
    "evt_"
);
prefixed_id!(
    /// A delivery of one event to one webhook: `dlv_` + ULID; stable across its retries.
    DeliveryId,
    "dlv_"
);
prefixed_id!(
    /// An access request: `acr_` + ULID.
    AccessRequestId,
    "acr_"
);
prefixed_id!(
    /// The public id of an API token: `tok_` + ULID. It is not the secret.
    TokenId,
    "tok_"
);

prefixed_id!(
    /// A replay of deliveries: `rpl_` + ULID.
    ReplayId,
    "rpl_"
);

/// A webhook's id: a positive integer (docs/contract.md §1).
pub type WebhookId = i64;
/// A resource's id: a positive integer.
pub type ResourceId = i64;
/// The id of a group of users: a positive integer.
pub type GroupId = i64;
