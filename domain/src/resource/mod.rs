//! The catalogue: resource types with their config schemas, and resources.

mod config_schema;

pub use crate::access_request::{AccessRequest, AccessRequestInput, AccessStatus};
pub use config_schema::{ConfigField, ConfigSchema, FieldKind};

use crate::id::ResourceId;
use crate::problem::{Problem, Validator};
use crate::provisioning::AccessBeforeStart;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::ops::RangeInclusive;

/// Range of the lead time and the ending notice of a resource type, in minutes.
pub const NOTICE_MINUTES: RangeInclusive<u32> = 0..=1_440;
/// The ending notice of a resource type without a setting, in minutes.
pub const DEFAULT_ENDING_NOTICE: u32 = 15;

/// Minutes after the end of a reservation when its release is late, unless the type says otherwise.
pub const DEFAULT_LATE_RELEASE: u32 = 15;

fn default_late_release() -> u32 {
    DEFAULT_LATE_RELEASE
}

fn default_ending_notice() -> u32 {
    DEFAULT_ENDING_NOTICE
}

/// A kind of resource, e.g. `gpu-cluster`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResourceType {
    /// Same as `slug`.
    pub id: String,
    /// `[a-z0-9]([a-z0-9-]{0,62})`. It cannot be changed, because receivers match on it.
    pub slug: String,
    /// The display name.
    pub name: String,
    /// `#rrggbb`, for the calendar.
    pub color: String,
    /// JSON Schema (a flat subset) of the reservation's configuration fields; `{}` = none.
    pub config_schema: Value,
    /// Number of resources of this type.
    pub resources: u64,
    /// Minutes before the start at which `reservation.created` is sent to webhooks with `provision: start`.
    // Optional, because a replica of the previous release does not send it during an upgrade.
    #[serde(default)]
    pub lead_minutes: u32,
    /// Minutes before the end at which `reservation.ending` is sent.
    #[serde(default = "default_ending_notice")]
    pub ending_notice_minutes: u32,
    /// Minutes after a reservation in which its resource cannot be reserved, and after its release before the next one is
    /// provisioned at the start.
    #[serde(default)]
    pub turnaround_minutes: u32,
    /// Minutes after the end of a reservation when its release is late: the managers of the resource are notified that the
    /// next reservation waits.
    #[serde(default = "default_late_release")]
    pub late_release_minutes: u32,
    /// Whether access information is shown before the start of a reservation.
    #[serde(default)]
    pub access_before_start: AccessBeforeStart,
}

/// A new resource type.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ResourceTypeInput {
    /// `[a-z0-9]([a-z0-9-]{0,62})`.
    pub slug: String,
    /// 1 to 100 characters.
    pub name: String,
    /// `#rrggbb`; a default when absent.
    #[serde(default)]
    pub color: Option<String>,
    /// JSON Schema (a flat subset) of the reservation's configuration fields.
    #[serde(default)]
    pub config_schema: Option<Value>,
    /// Minutes before the start at which `reservation.created` is sent to webhooks with `provision: start`, 0 to 1,440; 0
    /// when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lead_minutes: Option<u32>,
    /// Minutes before the end at which `reservation.ending` is sent, 0 to 1,440; 15 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending_notice_minutes: Option<u32>,
    /// Minutes after a reservation in which its resource cannot be reserved, 0 to 1,440; 0 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turnaround_minutes: Option<u32>,
    /// Minutes after the end of a reservation when its release is late, 0 to 1,440; 15 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_release_minutes: Option<u32>,
    /// Whether access information is shown before the start of a reservation; `automatic` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_before_start: Option<AccessBeforeStart>,
}

/// A change to a resource type; absent fields are unchanged.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ResourceTypePatch {
    /// 1 to 100 characters.
    pub name: Option<String>,
    /// `#rrggbb`.
    pub color: Option<String>,
    /// JSON Schema (a flat subset) of the reservation's configuration fields.
    pub config_schema: Option<Value>,
    /// Minutes before the start at which `reservation.created` is sent to webhooks with `provision: start`, 0 to 1,440. Held
    /// events move.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lead_minutes: Option<u32>,
    /// Minutes before the end at which `reservation.ending` is sent, 0 to 1,440. Events that are not sent yet move.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ending_notice_minutes: Option<u32>,
    /// Minutes after a reservation in which its resource cannot be reserved, 0 to 1,440. Earlier reservations keep theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turnaround_minutes: Option<u32>,
    /// Minutes after the end of a reservation when its release is late, 0 to 1,440.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_release_minutes: Option<u32>,
    /// Whether access information is shown before the start of a reservation. Applies to existing reservations too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_before_start: Option<AccessBeforeStart>,
}

/// The status of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr, strum::EnumString)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ResourceStatus {
    /// Every user may reserve it.
    Available,
    /// Administrators and users with granted access may reserve it; others request access.
    Restricted,
    /// No user may reserve it. Existing reservations are kept.
    Maintenance,
}

impl ResourceStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Available, Self::Restricted, Self::Maintenance];

    /// The wire name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The status with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// A resource that can be reserved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Resource {
    /// A positive integer.
    pub id: ResourceId,
    /// 1 to 100 characters.
    pub name: String,
    /// The type's slug.
    pub resource_type: String,
    /// The location, `""` when absent.
    pub location: String,
    /// Free text for users, `""` when absent.
    pub specs: String,
    /// The status.
    pub status: ResourceStatus,
    /// Whether the caller may reserve it, by status and granted access.
    pub bookable: bool,
}

/// A new resource.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ResourceInput {
    /// 1 to 100 characters, unique within its type.
    pub name: String,
    /// The slug of an existing type.
    pub resource_type: String,
    /// At most 200 characters.
    #[serde(default)]
    pub location: Option<String>,
    /// At most 2,000 characters.
    #[serde(default)]
    pub specs: Option<String>,
    /// Available when absent.
    #[serde(default)]
    pub status: Option<ResourceStatus>,
}

/// A change to a resource; absent fields are unchanged.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ResourcePatch {
    /// 1 to 100 characters.
    pub name: Option<String>,
    /// At most 200 characters.
    pub location: Option<String>,
    /// At most 2,000 characters.
    pub specs: Option<String>,
    /// The status.
    pub status: Option<ResourceStatus>,
}

/// Checks a new resource type and parses its schema.
///
/// # Errors
/// [`crate::ProblemKind::Invalid`] naming every invalid field.
pub fn check_type(input: &ResourceTypeInput) -> Result<ConfigSchema, Problem> {
    let mut validator = Validator::new();
    validator.check("slug", crate::validation::slug(&input.slug));
    validator.check("name", crate::validation::name(&input.name));
    if let Some(color) = &input.color {
        validator.check("color", crate::validation::color(color));
    }
    let mut schema = ConfigSchema::default();
    if let Some(raw) = &input.config_schema {
        match ConfigSchema::parse(raw) {
            Ok(parsed) => schema = parsed,
            Err(errors) => validator.nest("config_schema", errors),
        }
    }
    for (field, minutes) in [
        ("lead_minutes", input.lead_minutes),
        ("ending_notice_minutes", input.ending_notice_minutes),
        ("turnaround_minutes", input.turnaround_minutes),
        ("late_release_minutes", input.late_release_minutes),
    ] {
        if minutes.is_some_and(|minutes| !NOTICE_MINUTES.contains(&minutes)) {
            validator.error(field, "Choose 0 to 1440 minutes.");
        }
    }
    validator.finish()?;
    Ok(schema)
}

/// Checks the fields of a new resource. The service checks whether the type exists.
///
/// # Errors
/// [`crate::ProblemKind::Invalid`] naming every invalid field.
pub fn check_resource(input: &ResourceInput) -> Result<(), Problem> {
    let mut validator = Validator::new();
    validator.check("name", crate::validation::name(&input.name));
    if input.resource_type.is_empty() {
        validator.error("resource_type", "Choose a resource type.");
    } else if crate::validation::slug(&input.resource_type).is_err() {
        validator.error("resource_type", "This resource type does not exist. Choose an existing one.");
    }
    validator.check("location", crate::validation::label(input.location.as_deref().unwrap_or_default(), 200));
    validator.check("specs", crate::validation::text(input.specs.as_deref().unwrap_or_default(), 2_000));
    validator.finish()
}
