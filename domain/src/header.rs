//! HTTP headers: the custom headers of a webhook, and the headers recorded with an attempt.

use serde::{Deserialize, Serialize};

/// One header of a request or a response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Header {
    /// The name, a token of RFC 9110 §5.6.2.
    pub name: String,
    /// The value; visible to administrators.
    pub value: String,
}
