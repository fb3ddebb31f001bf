//! Column types that the entities share: JSON in a TEXT column, and an enum by its wire name.

use domain::authorization::Scope;
use domain::delivery::DeliveryFilter;
use domain::event::EventType;
use domain::input::from_json;
use domain::payload::PayloadFormat;
use domain::retry::RetryPolicy;
use domain::routing::{DeliveryPaths, Layout};
use domain::webhook::{AuthView, CustomHeader, EventFilter};
use parking_lot::Mutex;
use sea_orm::sea_query::{self, ArrayType, ColumnType, Nullable, ValueType, ValueTypeErr};
use sea_orm::{ColIdx, DbErr, QueryResult, TryGetError, TryGetable};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeSet;

/// A value stored as JSON in a TEXT column, on both databases.
///
/// SeaORM's own JSON columns bind a `json` parameter, which PostgreSQL rejects for a TEXT column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct JsonText<T>(pub(crate) T);

/// An enum of `domain` stored in a TEXT column by its wire name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Text<T>(pub(crate) T);

/// An enum with one wire name for each variant.
pub(crate) trait WireName: Copy {
    /// The variant as which an unknown name is read: the one that permits least.
    ///
    /// After a rollback, rows can contain names that only the newer release knows. They must not make a list unreadable.
    const UNKNOWN: Self;
    /// The name of this variant.
    fn wire_name(self) -> &'static str;
    /// The variant with this name.
    fn from_wire_name(name: &str) -> Option<Self>;
}

macro_rules! wire_names {
    ($($name:ty => $unknown:ident),+ $(,)?) => {$(
        impl WireName for $name {
            const UNKNOWN: Self = Self::$unknown;

            fn wire_name(self) -> &'static str {
                self.as_str()
            }

            fn from_wire_name(name: &str) -> Option<Self> {
                Self::parse(name)
            }
        }
    )+};
}

wire_names!(
    domain::alert::AlertStatus => Ok,
    domain::alert::NoticeFormat => Berth,
    domain::authorization::Role => User,
    domain::delivery::DeliveryStatus => Cancelled,
    domain::provisioning::AccessBeforeStart => Hide,
    domain::replay::ReplaySource => Deliveries,
    // It neither runs nor has ended.
    domain::replay::ReplayStatus => Paused,
    // Claims and the log read event types as text. An unknown one is neither sent nor shown as an event of its own.
    domain::event::EventType => ReservationCreated,
    // [`is_deliverable`] prevents requests in another format than the stored one.
    domain::payload::PayloadFormat => Berth,
    domain::reservation::ReservationStatus => Cancelled,
    domain::resource::AccessStatus => Denied,
    domain::resource::ResourceStatus => Maintenance,
    // Deliveries of a mode that only a newer release knows are not sent.
    domain::webhook::DeliveryMode => Local,
    domain::webhook::HealthCheckStatus => Unknown,
    // An event that is held by mistake is sent at the start; one that is sent by mistake cannot be taken back.
    domain::webhook::ProvisionTime => Start,
    domain::webhook::WebhookState => Paused,
);

impl WireName for domain::delivery::Outcome {
    const UNKNOWN: Self = Self::Failed;

    fn wire_name(self) -> &'static str {
        self.as_str()
    }

    fn from_wire_name(name: &str) -> Option<Self> {
        [Self::Succeeded, Self::Failed].into_iter().find(|outcome| outcome.as_str() == name)
    }
}

impl WireName for domain::change::Severity {
    const UNKNOWN: Self = Self::Warning;

    fn wire_name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    fn from_wire_name(name: &str) -> Option<Self> {
        [Self::Info, Self::Warning, Self::Error].into_iter().find(|severity| severity.wire_name() == name)
    }
}

/// A type that is stored as JSON.
pub(crate) trait StoredJson: Serialize + DeserializeOwned {
    /// Parses a stored text. A type that contains an enum accepts values that only a newer release knows, for the same
    /// reason as [`WireName::UNKNOWN`].
    fn from_json(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// The text to store.
    fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

impl StoredJson for Value {}
impl StoredJson for serde_json::Map<String, Value> {}
impl StoredJson for Vec<CustomHeader> {}
impl StoredJson for Vec<super::entity::webhooks::OldSecret> {}
impl StoredJson for RetryPolicy {}

impl StoredJson for DeliveryFilter {
    /// A filter that only a newer release knows is read as none. It is only shown: the items of its replay are stored.
    fn from_json(text: &str) -> serde_json::Result<Self> {
        let stored: serde_json::Map<String, Value> = serde_json::from_str(text)?;
        Ok(serde_json::from_value(Value::Object(stored)).unwrap_or_default())
    }
}

impl StoredJson for Vec<EventType> {
    fn from_json(text: &str) -> serde_json::Result<Self> {
        known_elements(text)
    }
}

impl StoredJson for Vec<Scope> {
    fn from_json(text: &str) -> serde_json::Result<Self> {
        known_elements(text)
    }
}

impl StoredJson for AuthView {
    /// An unknown method is read as none. [`is_deliverable`] then prevents requests without authentication.
    fn from_json(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text).or_else(|error| {
            let stored: Value = serde_json::from_str(text)?;
            if stored.get("method").is_some_and(Value::is_string) { Ok(Self::None) } else { Err(error) }
        })
    }
}

impl StoredJson for EventFilter {
    /// A filter that only a newer release knows is read as none. [`is_deliverable`] then prevents requests.
    fn from_json(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text).or_else(|_| serde_json::from_str::<Value>(text).map(|_| Self::default()))
    }
}

impl StoredJson for DeliveryPaths {
    /// An unknown layout is read as the default. [`is_deliverable`] then prevents requests to other paths.
    fn from_json(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text).or_else(|_| {
            let mut stored: serde_json::Map<String, Value> = serde_json::from_str(text)?;
            if let Some(paths) = stored.get_mut("paths").and_then(Value::as_object_mut) {
                paths.retain(|event, _| EventType::parse(event).is_some());
            }
            let layout = stored.remove("layout").and_then(|layout| serde_json::from_value::<Layout>(layout).ok());
            stored.insert("layout".into(), serde_json::to_value(layout.unwrap_or_default())?);
            serde_json::from_value(Value::Object(stored))
        })
    }
}

/// The elements of an array that this release knows.
fn known_elements<T: DeserializeOwned>(text: &str) -> serde_json::Result<Vec<T>> {
    serde_json::from_str(text).or_else(|_| {
        let stored: Vec<Value> = serde_json::from_str(text)?;
        Ok(stored.into_iter().filter_map(|element| serde_json::from_value(element).ok()).collect())
    })
}

/// Whether this release knows the stored authentication method, layout, payload format and filter of a webhook, so that it
/// can send requests.
pub(crate) fn is_deliverable(auth: &str, delivery_paths: &str, payload_format: &str, filter: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct WithLayout {
        #[serde(rename = "layout")]
        _layout: Layout,
    }
    serde_json::from_str::<AuthView>(auth).is_ok()
        && serde_json::from_str::<WithLayout>(delivery_paths).is_ok()
        && PayloadFormat::parse(payload_format).is_some()
        // A part of the filter that this release does not know would be ignored.
        && from_json::<EventFilter>(filter.as_bytes()).is_ok()
}

/// Logs a name that only a newer release knows, once.
fn warn_about_unknown(name: &str) {
    static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if SEEN.lock().insert(name.to_owned()) {
        tracing::warn!(name, "the database contains a value that this release does not know");
    }
}

/// Conversion of a column type to and from text.
trait TextColumn: Sized {
    /// The text to store; `None` if the value has no text form.
    fn to_text(&self) -> Option<String>;
    /// The value of a stored text, or the reason why it has none.
    fn from_text(text: &str) -> Result<Self, String>;
}

impl<T: StoredJson> TextColumn for JsonText<T> {
    fn to_text(&self) -> Option<String> {
        self.0.to_json().inspect_err(|error| tracing::error!(%error, "a value has no JSON form")).ok()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        T::from_json(text).map(Self).map_err(|error| format!("invalid JSON: {error}"))
    }
}

impl<T: WireName> TextColumn for Text<T> {
    fn to_text(&self) -> Option<String> {
        Some(self.0.wire_name().to_owned())
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self(T::from_wire_name(text).unwrap_or_else(|| {
            warn_about_unknown(text);
            T::UNKNOWN
        })))
    }
}

/// Implements the traits that SeaORM requires of a column type, in terms of [`TextColumn`].
macro_rules! text_column {
    ($name:ident, $($bound:path),+) => {
        impl<T: $($bound +)+> From<$name<T>> for sea_orm::Value {
            /// A value without a text form becomes NULL, so that the NOT NULL constraint rejects the row.
            fn from(column: $name<T>) -> Self {
                Self::String(column.to_text())
            }
        }

        impl<T: $($bound +)+> TryGetable for $name<T> {
            fn try_get_by<I: ColIdx>(row: &QueryResult, index: I) -> Result<Self, TryGetError> {
                let text = String::try_get_by(row, index)?;
                Self::from_text(&text)
                    .map_err(|reason| TryGetError::DbErr(DbErr::Type(format!("column {index:?}: {reason}"))))
            }
        }

        impl<T: $($bound +)+> ValueType for $name<T> {
            fn try_from(value: sea_orm::Value) -> Result<Self, ValueTypeErr> {
                let text = <String as ValueType>::try_from(value)?;
                Self::from_text(&text).map_err(|_| ValueTypeErr)
            }

            fn type_name() -> String {
                stringify!($name).to_owned()
            }

            fn array_type() -> ArrayType {
                ArrayType::String
            }

            fn column_type() -> ColumnType {
                ColumnType::Text
            }
        }

        impl<T: $($bound +)+> Nullable for $name<T> {
            fn null() -> sea_orm::Value {
                sea_orm::Value::String(None)
            }
        }

        impl<T: $($bound +)+> sea_orm::IntoActiveValue<Self> for $name<T> {
            fn into_active_value(self) -> sea_orm::ActiveValue<Self> {
                sea_orm::ActiveValue::Set(self)
            }
        }

        impl<T> sea_query::postgres_array::NotU8 for $name<T> {}
    };
}

text_column!(JsonText, StoredJson);
text_column!(Text, WireName);

#[cfg(test)]
mod tests {
    use super::*;
    use sea_orm::Value as Stored;

    #[test]
    fn json_column_rejects_text_of_another_shape() {
        let stored = Stored::from(JsonText(vec![EventType::ReservationCreated]));
        assert_eq!(stored, Stored::from(r#"["reservation.created"]"#));
        assert!(<JsonText<Vec<EventType>> as ValueType>::try_from(stored).is_ok());
        assert!(<JsonText<Vec<EventType>> as ValueType>::try_from(Stored::from("{}")).is_err());
        assert!(<JsonText<AuthView> as ValueType>::try_from(Stored::from("{}")).is_err());
    }

    #[test]
    fn values_of_a_newer_release_are_read_as_those_that_permit_least() {
        use domain::authorization::Role;
        use domain::resource::ResourceStatus;
        use domain::webhook::WebhookState;
        assert_eq!(Text::<Role>::from_text("owner").unwrap().0, Role::User);
        assert_eq!(Text::<ResourceStatus>::from_text("draining").unwrap().0, ResourceStatus::Maintenance);
        assert_eq!(Text::<WebhookState>::from_text("throttled").unwrap().0, WebhookState::Paused);
        let events = JsonText::<Vec<EventType>>::from_text(r#"["reservation.moved","reservation.created"]"#);
        assert_eq!(events.unwrap().0, [EventType::ReservationCreated]);
        let scopes = JsonText::<Vec<Scope>>::from_text(r#"["read","audit"]"#);
        assert_eq!(scopes.unwrap().0, [Scope::Read]);
        let auth = r#"{"method":"mtls","certificate":"x"}"#;
        assert_eq!(JsonText::<AuthView>::from_text(auth).unwrap().0, AuthView::None);
        let paths = r#"{"layout":"regional","paths":{"reservation.moved":"/m","reservation.created":"/c"}}"#;
        let read = JsonText::<DeliveryPaths>::from_text(paths).unwrap().0;
        assert_eq!((read.layout, read.paths.len()), (Layout::ByEvent, 1));
    }

    #[test]
    fn webhook_with_unknown_settings_is_not_deliverable() {
        let (auth, paths) = (r#"{"method":"none"}"#, r#"{"layout":"guide","paths":{"reservation.moved":"/m"}}"#);
        assert!(is_deliverable(auth, paths, "thin", r#"{"resource_ids":[1]}"#));
        assert!(!is_deliverable(r#"{"method":"mtls"}"#, paths, "berth", "{}"));
        assert!(!is_deliverable(auth, r#"{"layout":"regional"}"#, "berth", "{}"));
        assert!(!is_deliverable(auth, paths, "avro", "{}"));
        assert!(!is_deliverable(auth, paths, "berth", r#"{"users":["alice"]}"#));
        let filter = r#"{"fields":[{"field":"a","operator":"matches","values":[]}]}"#;
        assert!(!is_deliverable(auth, paths, "berth", filter));
        assert!(JsonText::<EventFilter>::from_text(filter).unwrap().0.is_empty());
    }
}
