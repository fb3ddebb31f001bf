//! Access requests: a user requests access to a restricted resource.

use crate::id::{AccessRequestId, ResourceId};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// The status of an access request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr, strum::EnumString)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum AccessStatus {
    /// No administrator has decided yet.
    Pending,
    /// The user may reserve the resource.
    Approved,
    /// Denied, or revoked after an approval.
    Denied,
}

impl AccessStatus {
    /// The wire name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The status with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// A user's request for access to a restricted resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AccessRequest {
    /// Its id.
    pub id: AccessRequestId,
    /// Login name of the user.
    pub user_id: String,
    /// The requested resource.
    pub resource_id: ResourceId,
    /// The resource's name.
    pub resource_name: String,
    /// The resource type's slug.
    pub resource_type: String,
    /// The user's reason.
    pub reason: String,
    /// The current status.
    pub status: AccessStatus,
    /// Request time.
    pub requested_at: DateTime<Utc>,
    /// Login name of the administrator who decided.
    pub decided_by: Option<String>,
    /// Decision time.
    pub decided_at: Option<DateTime<Utc>>,
}

/// Body of `POST /api/v1/access-requests`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AccessRequestInput {
    /// The resource.
    pub resource_id: ResourceId,
    /// 1 to 1,000 characters.
    pub reason: String,
}
