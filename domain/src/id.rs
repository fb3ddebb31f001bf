//! Identifiers as newtypes, so that one cannot stand where another is meant (docs/contract.md §1 "Bodies").

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
            /// What every such id begins with.
            pub const PREFIX: &'static str = $prefix;

            /// The id of a ULID (26 characters of Crockford base 32), written in lower case.
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
    /// A reservation: `rsv-` + lower-case ULID; receivers make host names of it.
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
    /// A user's request for access to a resource: `acr_` + ULID.
    AccessRequestId,
    "acr_"
);
prefixed_id!(
    /// An API token's public id: `tok_` + ULID (not the secret).
    TokenId,
    "tok_"
);

/// A webhook's id: a positive integer (docs/contract.md §1).
pub type WebhookId = i64;
/// A resource's id: a positive integer.
pub type ResourceId = i64;
