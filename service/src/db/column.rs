//! Column types that the entities share: JSON in a TEXT column, and an enum by its wire name.

use sea_orm::sea_query::{self, ArrayType, ColumnType, Nullable, ValueType, ValueTypeErr};
use sea_orm::{ColIdx, DbErr, QueryResult, TryGetError, TryGetable, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

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
    /// The name of this variant.
    fn wire_name(self) -> &'static str;
    /// The variant with this name.
    fn from_wire_name(name: &str) -> Option<Self>;
}

macro_rules! wire_names {
    ($($name:ty),+ $(,)?) => {$(
        impl WireName for $name {
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
    domain::authorization::Role,
    domain::delivery::DeliveryStatus,
    domain::event::EventType,
    domain::reservation::ReservationStatus,
    domain::resource::AccessStatus,
    domain::resource::ResourceStatus,
    domain::webhook::WebhookState,
);

impl WireName for domain::delivery::Outcome {
    fn wire_name(self) -> &'static str {
        self.as_str()
    }

    fn from_wire_name(name: &str) -> Option<Self> {
        [Self::Succeeded, Self::Failed].into_iter().find(|outcome| outcome.as_str() == name)
    }
}

impl WireName for domain::change::Severity {
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

/// Conversion of a column type to and from text.
trait TextColumn: Sized {
    /// The text to store; `None` if the value has no text form.
    fn to_text(&self) -> Option<String>;
    /// The value of a stored text, or the reason why it has none.
    fn from_text(text: &str) -> Result<Self, String>;
}

impl<T: Serialize + DeserializeOwned> TextColumn for JsonText<T> {
    fn to_text(&self) -> Option<String> {
        serde_json::to_string(&self.0).inspect_err(|error| tracing::error!(%error, "a value has no JSON form")).ok()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map(Self).map_err(|error| format!("invalid JSON: {error}"))
    }
}

impl<T: WireName> TextColumn for Text<T> {
    fn to_text(&self) -> Option<String> {
        Some(self.0.wire_name().to_owned())
    }

    fn from_text(text: &str) -> Result<Self, String> {
        T::from_wire_name(text).map(Self).ok_or_else(|| format!("unknown value {text:?}"))
    }
}

/// Implements the traits that SeaORM requires of a column type, in terms of [`TextColumn`].
macro_rules! text_column {
    ($name:ident, $($bound:path),+) => {
        impl<T: $($bound +)+> From<$name<T>> for Value {
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
            fn try_from(value: Value) -> Result<Self, ValueTypeErr> {
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
            fn null() -> Value {
                Value::String(None)
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

text_column!(JsonText, Serialize, DeserializeOwned);
text_column!(Text, WireName);

#[cfg(test)]
mod tests {
    use super::*;
    use domain::event::EventType;

    #[test]
    fn json_column_rejects_text_of_another_shape() {
        let stored = Value::from(JsonText(vec![EventType::ReservationCreated]));
        assert_eq!(stored, Value::from(r#"["reservation.created"]"#));
        assert!(<JsonText<Vec<EventType>> as ValueType>::try_from(stored).is_ok());
        assert!(<JsonText<Vec<EventType>> as ValueType>::try_from(Value::from("{}")).is_err());
    }

    #[test]
    fn enum_column_rejects_unknown_wire_name() {
        let stored = Value::from(Text(EventType::ReservationCancelled));
        assert_eq!(stored, Value::from("reservation.cancelled"));
        assert!(<Text<EventType> as ValueType>::try_from(stored).is_ok());
        assert!(<Text<EventType> as ValueType>::try_from(Value::from("reservation.moved")).is_err());
    }
}
