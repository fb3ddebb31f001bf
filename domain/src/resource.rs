//! The catalogue: resource types with their config schemas, and resources.

use crate::id::ResourceId;
use crate::problem::{FieldError, Problem};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A kind of resource, e.g. `gpu-cluster`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResourceType {
    /// Same as `slug`.
    pub id: String,
    /// `[a-z0-9]([a-z0-9-]{0,62})`; never changes, receivers match on it.
    pub slug: String,
    /// What people call it.
    pub name: String,
    /// `#rrggbb`, for the calendar.
    pub color: String,
    /// JSON Schema subset of the fields a reservation fills ([`ConfigSchema::parse`]); `{}` = none.
    pub config_schema: Value,
    /// How many resources there are of it.
    pub resources: u64,
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
    /// See [`ConfigSchema::parse`].
    #[serde(default)]
    pub config_schema: Option<Value>,
}

/// A change to a resource type; absent fields stay.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ResourceTypePatch {
    /// 1 to 100 characters.
    pub name: Option<String>,
    /// `#rrggbb`.
    pub color: Option<String>,
    /// See [`ConfigSchema::parse`].
    pub config_schema: Option<Value>,
}

/// Whether a resource can be reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ResourceStatus {
    /// Everyone may reserve it.
    Available,
    /// Only administrators and people with granted access may; others request access.
    Restricted,
    /// Nobody may reserve it now; reservations that stand, stand.
    Maintenance,
}

impl ResourceStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Available, Self::Restricted, Self::Maintenance];

    /// The wire name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Restricted => "restricted",
            Self::Maintenance => "maintenance",
        }
    }

    /// The status with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

/// Something that can be reserved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Resource {
    /// A positive integer.
    pub id: ResourceId,
    /// 1 to 100 characters.
    pub name: String,
    /// The type's slug.
    pub resource_type: String,
    /// Where it stands, `""` when not given.
    pub location: String,
    /// Free text or facts, shown to people, `""` when not given.
    pub specs: String,
    /// Whether it can be reserved.
    pub status: ResourceStatus,
    /// Whether the person who asks may reserve it (status and granted access considered).
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

/// A change to a resource; absent fields stay.
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
    /// Whether it can be reserved.
    pub status: Option<ResourceStatus>,
}

/// The kind of one config field.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldKind {
    /// A text, at most `max_length` characters (4,096 when the schema does not say).
    Text {
        /// `maxLength`.
        max_length: u32,
    },
    /// One of these texts (`enum`).
    Choice {
        /// The choices, in order.
        options: Vec<String>,
    },
    /// A whole number.
    Integer {
        /// `minimum`.
        minimum: Option<i64>,
        /// `maximum`.
        maximum: Option<i64>,
    },
    /// A number.
    Number {
        /// `minimum`.
        minimum: Option<f64>,
        /// `maximum`.
        maximum: Option<f64>,
    },
    /// Yes or no.
    Boolean,
}

/// One field of a config schema, as the generated form shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigField {
    /// The key in `additional_config`.
    pub name: String,
    /// `title`, or the name.
    pub title: String,
    /// `description`, `""` when absent.
    pub description: String,
    /// What values it takes.
    pub kind: FieldKind,
    /// `default`, if any; the form starts with it.
    pub default: Option<Value>,
    /// Whether the schema's `required` names it.
    pub required: bool,
}

/// A parsed config schema: the flat subset of JSON Schema (`type: object`, `properties` of string, integer, number,
/// boolean and enum; `title`, `description`, `default`, `minimum`, `maximum`, `maxLength`, `required`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConfigSchema {
    /// The fields in the schema's order.
    pub fields: Vec<ConfigField>,
}

impl ConfigSchema {
    /// Reads a schema; `{}` and null are the schema without fields.
    ///
    /// # Errors
    /// Says what keyword or value is not supported and what to write instead, with the dotted path as field.
    pub fn parse(schema: &Value) -> Result<Self, Vec<FieldError>> {
        crate::validation::config::parse_schema(schema)
    }

    /// Checks `config` against the schema and fills absent fields that have a default.
    ///
    /// # Errors
    /// The fields at fault: unknown, missing, of the wrong type, out of range.
    pub fn check(&self, config: &Map<String, Value>) -> Result<Map<String, Value>, Vec<FieldError>> {
        crate::validation::config::check(self, config)
    }

    /// A valid configuration made from defaults and the least allowed values, for test events (docs/contract.md §1).
    pub fn sample(&self) -> Map<String, Value> {
        crate::validation::config::sample(self)
    }
}

/// Where an access request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AccessStatus {
    /// Not decided.
    Pending,
    /// The person may reserve the resource.
    Approved,
    /// Refused, or withdrawn after it was approved.
    Denied,
}

impl AccessStatus {
    /// The wire name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
        }
    }

    /// The status with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Approved, Self::Denied].into_iter().find(|s| s.as_str() == text)
    }
}

/// A user's request for access to a resource they may not book.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AccessRequest {
    /// Its id.
    pub id: crate::id::AccessRequestId,
    /// Who asks.
    pub user_id: String,
    /// For which resource.
    pub resource_id: ResourceId,
    /// Its name.
    pub resource_name: String,
    /// Its type.
    pub resource_type: String,
    /// Why.
    pub reason: String,
    /// Where it stands.
    pub status: AccessStatus,
    /// When they asked.
    pub requested_at: DateTime<Utc>,
    /// Who decided.
    pub decided_by: Option<String>,
    /// When it was decided.
    pub decided_at: Option<DateTime<Utc>>,
}

/// `POST /api/v1/access-requests`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AccessRequestInput {
    /// The resource.
    pub resource_id: ResourceId,
    /// 1 to 1,000 characters.
    pub reason: String,
}

/// Checks a new type and parses its schema.
///
/// # Errors
/// [`crate::ProblemKind::Invalid`] naming every field at fault.
pub fn check_type(input: &ResourceTypeInput) -> Result<ConfigSchema, Problem> {
    let mut validator = crate::problem::Validator::new();
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
    validator.finish()?;
    Ok(schema)
}

/// Checks a new resource's own fields (that the type exists is for the service).
///
/// # Errors
/// [`crate::ProblemKind::Invalid`] naming every field at fault.
pub fn check_resource(input: &ResourceInput) -> Result<(), Problem> {
    let mut validator = crate::problem::Validator::new();
    validator.check("name", crate::validation::name(&input.name));
    if input.resource_type.is_empty() {
        validator.error("resource_type", "Choose a resource type.");
    } else if crate::validation::slug(&input.resource_type).is_err() {
        validator.error("resource_type", "There is no such resource type. Choose an existing one.");
    }
    validator.check("location", crate::validation::text(input.location.as_deref().unwrap_or_default(), 200));
    validator.check("specs", crate::validation::text(input.specs.as_deref().unwrap_or_default(), 2_000));
    validator.finish()
}
