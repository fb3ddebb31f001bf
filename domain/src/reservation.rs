//! Reservations: status, validation and wire types.

use crate::authorization::Action;
use crate::id::{ReservationId, ResourceId};
use crate::ownership::ResourceKey;
use crate::problem::{Problem, Validator};
use crate::provisioning::{EarlyAccess, Provisioning};
use crate::timestamp;
use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// The status of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr, strum::EnumString)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ReservationStatus {
    /// Upcoming or in progress.
    Active,
    /// Cancelled by its owner or an administrator.
    Cancelled,
    /// Its time has ended.
    Expired,
}

impl ReservationStatus {
    /// The wire name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The status with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    /// The status at `now` of a reservation that ends at `end`. An active one expires at its end, even before the expiry is recorded.
    pub fn at(self, end: DateTime<Utc>, now: DateTime<Utc>) -> Self {
        if self == Self::Active && end <= now { Self::Expired } else { self }
    }
}

/// A full reservation, for its owner and administrators.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Reservation {
    /// `rsv-<ulid>`.
    pub id: ReservationId,
    /// Login name of the owner.
    pub user_id: String,
    /// The resource.
    pub resource_id: ResourceId,
    /// The resource's name.
    pub resource_name: String,
    /// The resource type's slug.
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
    /// The current status.
    pub status: ReservationStatus,
    /// Login name of the user who cancelled.
    pub cancelled_by: Option<String>,
    /// The reason, `""` when none was given.
    pub cancel_reason: String,
    /// The provisioning state.
    pub provisioning: Provisioning,
    /// While `reservation.created` is held for a webhook with `provision: start`: when it is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioning_begins_at: Option<DateTime<Utc>>,
    /// After the end: when the release of the resource was confirmed, by its services or by someone who manages it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_at: Option<DateTime<Utc>>,
    /// Creation time.
    pub created_at: DateTime<Utc>,
    /// Time of the last change.
    pub updated_at: DateTime<Utc>,
}

impl Reservation {
    /// The permission to read it in full.
    pub fn read_action(&self) -> Action<'_> {
        let resource = ResourceKey::new(&self.resource_type, self.resource_id);
        Action::ReadReservation { user: &self.user_id, resource }
    }

    /// The permission to change it.
    pub fn write_action(&self) -> Action<'_> {
        let resource = ResourceKey::new(&self.resource_type, self.resource_id);
        Action::WriteReservation { user: &self.user_id, resource }
    }

    /// Whether and until when its access information can be hidden at `now`.
    pub fn early_access(&self, now: DateTime<Utc>) -> Option<EarlyAccess> {
        EarlyAccess::of(self.status == ReservationStatus::Cancelled, self.start_time, self.updated_at, now)
    }
}

/// Response of `GET /api/v1/reservations/{id}`: the reservation and its deliveries.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReservationDetail {
    /// The reservation.
    #[serde(flatten)]
    pub reservation: Reservation,
    /// Its first 500 deliveries, oldest first; also visible to the owner.
    pub deliveries: Vec<crate::delivery::DeliverySummary>,
    /// The `cursor` of `GET /api/v1/reservations/{id}/deliveries` for further deliveries; null if there are none.
    pub deliveries_next_cursor: Option<String>,
}

impl<'de> Deserialize<'de> for ReservationDetail {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Map::deserialize(deserializer)?;
        let deliveries = crate::json::take_field(&mut fields, "deliveries")?;
        // Absent in responses of the previous release.
        let deliveries_next_cursor = match fields.contains_key("deliveries_next_cursor") {
            true => crate::json::take_field(&mut fields, "deliveries_next_cursor")?,
            false => None,
        };
        Ok(Self { reservation: crate::json::from_object(fields)?, deliveries, deliveries_next_cursor })
    }
}

/// A reserved span in the calendar. Only the owner and administrators see its details.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BusySpan {
    /// The resource.
    pub resource_id: ResourceId,
    /// Start.
    pub start_time: DateTime<Utc>,
    /// End, exclusive.
    pub end_time: DateTime<Utc>,
    /// Another reservation of the resource must end then at the latest; absent = at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy_from: Option<DateTime<Utc>>,
    /// Another reservation of the resource can start then; absent = at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy_until: Option<DateTime<Utc>>,
    /// The reservation, if the caller may see it.
    pub reservation_id: Option<ReservationId>,
    /// Login name of its owner, if the caller may see it.
    pub user_id: Option<String>,
    /// Its title, if the caller may see it.
    pub title: Option<String>,
}

impl BusySpan {
    /// The span that another reservation of the resource cannot overlap.
    pub fn busy(&self) -> (DateTime<Utc>, DateTime<Utc>) {
        (self.busy_from.unwrap_or(self.start_time), self.busy_until.unwrap_or(self.end_time))
    }
}

/// Body of `POST /api/v1/reservations`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ReservationInput {
    /// The resource.
    pub resource_id: ResourceId,
    /// At most 200 characters.
    #[serde(default)]
    pub title: Option<String>,
    /// Start; not in the past (5 minutes of tolerance for slow forms and clock skew).
    #[serde(deserialize_with = "timestamp::deserialize")]
    pub start_time: DateTime<Utc>,
    /// End, exclusive; at most 366 days after the start.
    #[serde(deserialize_with = "timestamp::deserialize")]
    pub end_time: DateTime<Utc>,
    /// An OpenSSH public key.
    #[serde(default)]
    pub user_ssh_key: Option<String>,
    /// The fields of the type's config schema.
    #[serde(default)]
    pub additional_config: Option<Map<String, Value>>,
}

/// Body of `PATCH /api/v1/reservations/{id}`; absent fields are unchanged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ReservationPatch {
    /// At most 200 characters.
    pub title: Option<String>,
    /// Start; can be changed only before the reservation starts.
    #[serde(deserialize_with = "timestamp::deserialize_optional")]
    pub start_time: Option<DateTime<Utc>>,
    /// End, exclusive; after the start and in the future.
    #[serde(deserialize_with = "timestamp::deserialize_optional")]
    pub end_time: Option<DateTime<Utc>>,
    /// An OpenSSH public key, `""` to remove.
    pub user_ssh_key: Option<String>,
    /// Replaces the configuration. An unchanged one is accepted even if it no longer matches the type's config schema.
    pub additional_config: Option<Map<String, Value>>,
}

/// Body of `POST /api/v1/reservations/{id}/extend`: one of both fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ExtendInput {
    /// Minutes that are added to the end, 1 to 527,040.
    pub minutes: Option<u32>,
    /// The new end, exclusive; not before the present one.
    #[serde(deserialize_with = "timestamp::deserialize_optional")]
    pub end_time: Option<DateTime<Utc>>,
}

impl ExtendInput {
    /// The new end of a reservation that ends at `end`.
    ///
    /// # Errors
    /// 422 naming the invalid field.
    pub fn new_end(self, end: DateTime<Utc>) -> Result<DateTime<Utc>, Problem> {
        match (self.minutes, self.end_time) {
            (Some(minutes), None) => {
                let added = Duration::minutes(minutes.into());
                if added.is_zero() || added > MAX_LENGTH {
                    return Err(Problem::field("minutes", "Choose 1 to 527040 minutes."));
                }
                Ok(end + added)
            }
            (None, Some(new)) if new < end => Err(Problem::field(
                "end_time",
                "An extension does not end before the present end. Choose a later time.",
            )),
            (None, Some(new)) => Ok(new),
            _ => Err(Problem::field("end_time", "Send either minutes or end_time.")),
        }
    }
}

/// Filters of `GET /api/v1/reservations`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(default)]
pub struct ReservationFilter {
    /// Reservations of this resource.
    pub resource_id: Option<ResourceId>,
    /// Reservations with this status.
    pub status: Option<ReservationStatus>,
    /// Only the caller's reservations; administrators see all without it.
    pub mine: Option<bool>,
    /// Reservations that end after this time.
    #[serde(deserialize_with = "timestamp::deserialize_optional")]
    pub from: Option<DateTime<Utc>>,
    /// Reservations that start before this time.
    #[serde(deserialize_with = "timestamp::deserialize_optional")]
    pub to: Option<DateTime<Utc>>,
}

/// Filters of `GET /api/v1/calendar`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalendarFilter {
    /// Start of the requested span.
    pub from: DateTime<Utc>,
    /// End of the requested span, at most 62 days after its start.
    pub to: DateTime<Utc>,
    /// Only resources of the type with this slug.
    pub resource_type: Option<String>,
    /// Only this resource.
    pub resource_id: Option<ResourceId>,
}

/// Tolerance for a start in the past.
pub const START_GRACE: Duration = Duration::minutes(5);
/// Maximum duration of a reservation.
pub const MAX_LENGTH: Duration = Duration::days(366);

/// Whether two half-open spans overlap.
pub fn overlaps(a: (DateTime<Utc>, DateTime<Utc>), b: (DateTime<Utc>, DateTime<Utc>)) -> bool {
    a.0 < b.1 && b.0 < a.1
}

/// Checks the span of a new reservation; adds errors for `start_time` and `end_time`.
pub fn check_span(validator: &mut Validator, start: DateTime<Utc>, end: DateTime<Utc>, now: DateTime<Utc>) {
    if start < now - START_GRACE {
        validator.error("start_time", "The start is in the past. Choose a later time.");
    }
    check_end(validator, start, end, now);
}

fn check_end(validator: &mut Validator, start: DateTime<Utc>, end: DateTime<Utc>, now: DateTime<Utc>) {
    if end <= start {
        validator.error("end_time", "The end must be after the start.");
    } else if end <= now {
        validator.error("end_time", "The end is in the past. Choose a later time.");
    } else if end - start > MAX_LENGTH {
        validator.error("end_time", "A reservation lasts at most 366 days. Choose an earlier end.");
    }
}

/// Checks the fields of a new reservation that need no database; the form runs the same code.
///
/// # Errors
/// [`crate::ProblemKind::Invalid`] naming every invalid field (config fields as `additional_config.<name>`).
pub fn check_input(
    input: &ReservationInput,
    schema: &crate::resource::ConfigSchema,
    now: DateTime<Utc>,
) -> Result<Map<String, Value>, Problem> {
    let mut validator = Validator::new();
    check_span(&mut validator, input.start_time, input.end_time, now);
    validator.check("title", crate::validation::label(input.title.as_deref().unwrap_or_default(), 200));
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

/// Applies a patch. Returns the changed reservation and `previous`, the old values of the changed fields
/// (docs/contract.md §1).
///
/// # Errors
/// 409 when the reservation has ended or is cancelled; 422 naming the invalid fields.
pub fn apply_patch(
    current: &Reservation,
    patch: &ReservationPatch,
    schema: &crate::resource::ConfigSchema,
    now: DateTime<Utc>,
) -> Result<(Reservation, Map<String, Value>), Problem> {
    let status = current.status.at(current.end_time, now);
    if status != ReservationStatus::Active {
        return Err(Problem::conflict(format!(
            "This reservation is {}; it can no longer be changed.",
            status.as_str()
        )));
    }
    let mut validator = Validator::new();
    let mut next = current.clone();
    let mut previous = Map::new();
    let time = |t: DateTime<Utc>| serde_json::to_value(t).unwrap_or(Value::Null);
    if let Some(start) = patch.start_time.filter(|s| *s != current.start_time) {
        if current.start_time <= now {
            validator.error("start_time", "The reservation has started, so its start cannot be changed.");
        } else if start < now - START_GRACE {
            validator.error("start_time", "The start is in the past. Choose a later time.");
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
        validator.check("title", crate::validation::label(title, 200));
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
    // The schema may have changed since the configuration was accepted.
    if let Some(config) = patch.additional_config.as_ref().filter(|config| **config != current.additional_config) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::ProblemKind;
    use crate::resource::ConfigSchema;
    use serde_json::json;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn reservation() -> Reservation {
        serde_json::from_value(json!({
            "id": "rsv-1", "user_id": "alice", "resource_id": 1, "resource_name": "node-1", "resource_type": "gpu-cluster",
            "title": "Before", "start_time": "2027-06-30T20:00:00Z", "end_time": "2027-06-30T22:00:00Z", "user_ssh_key": "",
            "additional_config": {"gpu_type": "nvidia-v100"}, "status": "active", "cancelled_by": null, "cancel_reason": "",
            "provisioning": {"status": "waiting", "message": "", "details": {}, "updated_at": "2027-06-30T19:00:00Z"},
            "created_at": "2027-06-30T19:00:00Z", "updated_at": "2027-06-30T19:00:00Z",
        }))
        .unwrap()
    }

    /// A schema without the option `nvidia-v100` of the reservation.
    fn schema() -> ConfigSchema {
        let gpu_type = json!({"type": "string", "enum": ["nvidia-a100", "nvidia-h100"], "default": "nvidia-a100"});
        ConfigSchema::parse(&json!({"properties": {"gpu_type": gpu_type}})).unwrap()
    }

    fn patched(patch: Value, now: &str) -> Result<(Reservation, Map<String, Value>), Problem> {
        apply_patch(&reservation(), &serde_json::from_value(patch).unwrap(), &schema(), time(now))
    }

    #[test]
    fn unchanged_configuration_is_accepted_after_its_schema_has_changed() {
        let patch = json!({"title": "After", "additional_config": {"gpu_type": "nvidia-v100"}});
        let (next, previous) = patched(patch, "2027-06-30T19:30:00Z").unwrap();
        assert_eq!((next.title.as_str(), Value::Object(previous)), ("After", json!({"title": "Before"})));
        assert_eq!(next.additional_config, reservation().additional_config);
        let problem = patched(json!({"additional_config": {"gpu_type": "nvidia-p100"}}), "2027-06-30T19:30:00Z");
        assert_eq!(problem.unwrap_err().errors[0].field, "additional_config.gpu_type");
    }

    #[test]
    fn reservation_cannot_be_changed_from_its_end_on() {
        for patch in [json!({"title": "After"}), json!({"end_time": "2027-06-30T23:00:00Z"})] {
            assert!(patched(patch.clone(), "2027-06-30T21:59:59.999Z").is_ok(), "{patch}");
            let problem = patched(patch, "2027-06-30T22:00:00Z").unwrap_err();
            assert_eq!(problem.kind, ProblemKind::Conflict);
            assert!(problem.detail.contains("expired"), "{problem}");
        }
    }

    #[test]
    fn extension_names_either_minutes_or_an_end_that_is_not_earlier() {
        let end = time("2027-06-30T22:00:00Z");
        let new_end = |body: Value| serde_json::from_value::<ExtendInput>(body).unwrap().new_end(end);
        assert_eq!(new_end(json!({"minutes": 30})).unwrap(), time("2027-06-30T22:30:00Z"));
        assert_eq!(new_end(json!({"end_time": "2027-06-30T23:00:00Z"})).unwrap(), time("2027-06-30T23:00:00Z"));
        assert_eq!(new_end(json!({"end_time": "2027-06-30T22:00:00Z"})).unwrap(), end, "repeated");
        let both = json!({"minutes": 30, "end_time": "2027-06-30T23:00:00Z"});
        for (body, field) in [
            (json!({}), "end_time"),
            (both, "end_time"),
            (json!({"end_time": "2027-06-30T21:59:59Z"}), "end_time"),
            (json!({"minutes": 0}), "minutes"),
            (json!({"minutes": 527_041}), "minutes"),
        ] {
            assert_eq!(new_end(body.clone()).unwrap_err().errors[0].field, field, "{body}");
        }
    }

    #[test]
    fn leap_second_in_the_input_of_a_reservation_becomes_the_next_second() {
        let leap = "2027-06-30T23:59:60Z";
        let input = json!({"resource_id": 1, "start_time": leap, "end_time": leap});
        let input: ReservationInput = serde_json::from_value(input).unwrap();
        let midnight = time("2027-07-01T00:00:00Z");
        assert_eq!((input.start_time, input.end_time), (midnight, midnight));
        let patch: ReservationPatch = serde_json::from_value(json!({"start_time": leap, "end_time": leap})).unwrap();
        assert_eq!((patch.start_time, patch.end_time), (Some(midnight), Some(midnight)));
    }
}
