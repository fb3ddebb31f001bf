//! Reservations: their states, rules and shapes.

use crate::id::{ReservationId, ResourceId};
use crate::problem::{Problem, Validator};
use crate::provisioning::Provisioning;
use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// Where a reservation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReservationStatus {
    /// It stands: to come or under way.
    Active,
    /// Cancelled by its owner or an administrator.
    Cancelled,
    /// Its time is over.
    Expired,
}

impl ReservationStatus {
    /// The wire name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// The status with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Cancelled, Self::Expired].into_iter().find(|s| s.as_str() == text)
    }
}

/// A reservation in full, for its owner and administrators.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Reservation {
    /// `rsv-<ulid>`.
    pub id: ReservationId,
    /// Login name of the owner.
    pub user_id: String,
    /// The resource.
    pub resource_id: ResourceId,
    /// Its name.
    pub resource_name: String,
    /// Its type's slug.
    pub resource_type: String,
    /// `""` when absent.
    pub title: String,
    /// Start.
    pub start_time: DateTime<Utc>,
    /// End, exclusive.
    pub end_time: DateTime<Utc>,
    /// SSH public key, `""` when absent.
    pub user_ssh_key: String,
    /// The values of the type's config schema.
    pub additional_config: Map<String, Value>,
    /// Where it stands.
    pub status: ReservationStatus,
    /// Who cancelled.
    pub cancelled_by: Option<String>,
    /// Why, `""` when not said.
    pub cancel_reason: String,
    /// What the receiver made of it.
    pub provisioning: Provisioning,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// `GET /api/v1/reservations/{id}`: the reservation and its deliveries.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReservationDetail {
    /// The reservation.
    #[serde(flatten)]
    pub reservation: Reservation,
    /// Its deliveries, oldest first. For its owner too: what was sent on their behalf.
    pub deliveries: Vec<crate::delivery::DeliverySummary>,
}

impl<'de> Deserialize<'de> for ReservationDetail {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Map::deserialize(deserializer)?;
        let deliveries = crate::json::take(&mut fields, "deliveries")?;
        Ok(Self { reservation: crate::json::rest(fields)?, deliveries })
    }
}

/// A busy span on the calendar; whose it is shows only to the owner and administrators.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BusySpan {
    /// The resource.
    pub resource_id: ResourceId,
    /// Start.
    pub start_time: DateTime<Utc>,
    /// End, exclusive.
    pub end_time: DateTime<Utc>,
    /// The reservation, where the person who asks may see it.
    pub reservation_id: Option<ReservationId>,
    /// Its owner, likewise.
    pub user_id: Option<String>,
    /// Its title, likewise.
    pub title: Option<String>,
}

/// `POST /api/v1/reservations`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ReservationInput {
    /// The resource.
    pub resource_id: ResourceId,
    /// At most 200 characters.
    #[serde(default)]
    pub title: Option<String>,
    /// Not in the past (5 minutes of grace for slow forms and clocks).
    pub start_time: DateTime<Utc>,
    /// After the start, at most 366 days later.
    pub end_time: DateTime<Utc>,
    /// An OpenSSH public key.
    #[serde(default)]
    pub user_ssh_key: Option<String>,
    /// The fields of the type's config schema.
    #[serde(default)]
    pub additional_config: Option<Map<String, Value>>,
}

/// `PATCH /api/v1/reservations/{id}`; absent fields stay.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ReservationPatch {
    /// At most 200 characters.
    pub title: Option<String>,
    /// May be moved only before it has begun.
    pub start_time: Option<DateTime<Utc>>,
    /// After the start and in the future.
    pub end_time: Option<DateTime<Utc>>,
    /// An OpenSSH public key, `""` to remove.
    pub user_ssh_key: Option<String>,
    /// Replaces the configuration.
    pub additional_config: Option<Map<String, Value>>,
}

/// Filters of `GET /api/v1/reservations`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[serde(default)]
pub struct ReservationFilter {
    /// Only of this resource.
    pub resource_id: Option<ResourceId>,
    /// Only with this status.
    pub status: Option<ReservationStatus>,
    /// Only one's own (administrators see everyone's otherwise).
    pub mine: Option<bool>,
    /// Ending after.
    pub from: Option<DateTime<Utc>>,
    /// Starting before.
    pub to: Option<DateTime<Utc>>,
}

/// How far in the past a start may lie.
pub const START_GRACE: Duration = Duration::minutes(5);
/// The longest reservation.
pub const LONGEST: Duration = Duration::days(366);

/// Whether two half-open spans overlap.
pub fn overlaps(a: (DateTime<Utc>, DateTime<Utc>), b: (DateTime<Utc>, DateTime<Utc>)) -> bool {
    a.0 < b.1 && b.0 < a.1
}

/// Checks the span of a new reservation, adding faults under `start_time` and `end_time`.
pub fn check_span(validator: &mut Validator, start: DateTime<Utc>, end: DateTime<Utc>, now: DateTime<Utc>) {
    if start < now - START_GRACE {
        validator.error("start_time", "The start is in the past. Choose a time from now on.");
    }
    check_end(validator, start, end, now);
}

fn check_end(validator: &mut Validator, start: DateTime<Utc>, end: DateTime<Utc>, now: DateTime<Utc>) {
    if end <= start {
        validator.error("end_time", "The end must be after the start.");
    } else if end <= now {
        validator.error("end_time", "The end is in the past. Choose a time from now on.");
    } else if end - start > LONGEST {
        validator.error("end_time", "A reservation lasts at most 366 days. Choose an earlier end.");
    }
}

/// Checks the parts of a new reservation that need no database; the same code runs in the form.
///
/// # Errors
/// [`crate::ProblemKind::Invalid`] naming every field at fault (config fields as `additional_config.<name>`).
pub fn check_input(
    input: &ReservationInput,
    schema: &crate::resource::ConfigSchema,
    now: DateTime<Utc>,
) -> Result<Map<String, Value>, Problem> {
    let mut validator = Validator::new();
    check_span(&mut validator, input.start_time, input.end_time, now);
    validator.check("title", crate::validation::text(input.title.as_deref().unwrap_or_default(), 200));
    if let Some(key) = input.user_ssh_key.as_deref().filter(|k| !k.is_empty()) {
        validator.check("user_ssh_key", crate::validation::ssh_key(key));
    }
    let config = match schema.check(input.additional_config.as_ref().unwrap_or(&Map::new())) {
        Ok(config) => config,
        Err(errors) => {
            validator.nest("additional_config", errors);
            Map::new()
        }
    };
    validator.finish()?;
    Ok(config)
}

/// What a patch makes of a reservation, and `previous` (the changed fields with their old values, docs/contract.md §1).
///
/// # Errors
/// 409 when it is no longer active; 422 naming the fields at fault.
pub fn apply_patch(
    current: &Reservation,
    patch: &ReservationPatch,
    schema: &crate::resource::ConfigSchema,
    now: DateTime<Utc>,
) -> Result<(Reservation, Map<String, Value>), Problem> {
    if current.status != ReservationStatus::Active {
        return Err(Problem::conflict(format!(
            "This reservation is {}; it can no longer be changed.",
            current.status.as_str()
        )));
    }
    let mut validator = Validator::new();
    let mut next = current.clone();
    let mut previous = Map::new();
    let time = |t: DateTime<Utc>| serde_json::to_value(t).unwrap_or(Value::Null);
    if let Some(start) = patch.start_time.filter(|s| *s != current.start_time) {
        if current.start_time <= now {
            validator.error("start_time", "The reservation has begun; its start can no longer be moved.");
        } else if start < now - START_GRACE {
            validator.error("start_time", "The start is in the past. Choose a time from now on.");
        }
        previous.insert("start_time".into(), time(current.start_time));
        next.start_time = start;
    }
    if let Some(end) = patch.end_time.filter(|e| *e != current.end_time) {
        previous.insert("end_time".into(), time(current.end_time));
        next.end_time = end;
    }
    if previous.contains_key("start_time") || previous.contains_key("end_time") {
        check_end(&mut validator, next.start_time, next.end_time, now);
    }
    if let Some(title) = patch.title.as_ref().filter(|t| **t != current.title) {
        validator.check("title", crate::validation::text(title, 200));
        previous.insert("title".into(), Value::String(current.title.clone()));
        next.title.clone_from(title);
    }
    if let Some(key) = patch.user_ssh_key.as_ref().map(|k| k.trim()).filter(|k| *k != current.user_ssh_key) {
        if !key.is_empty() {
            validator.check("user_ssh_key", crate::validation::ssh_key(key));
        }
        previous.insert("user_ssh_key".into(), Value::String(current.user_ssh_key.clone()));
        next.user_ssh_key = key.to_owned();
    }
    if let Some(config) = &patch.additional_config {
        match schema.check(config) {
            Ok(config) if config != current.additional_config => {
                previous.insert("additional_config".into(), Value::Object(current.additional_config.clone()));
                next.additional_config = config;
            }
            Ok(_) => {}
            Err(errors) => validator.nest("additional_config", errors),
        }
    }
    validator.finish()?;
    if !previous.is_empty() {
        next.updated_at = now;
    }
    Ok((next, previous))
}
