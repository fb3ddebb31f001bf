//! JSON of the wire types, with little code per type, for the page.
//!
//! `serde_json` compiles code for each type to read it from an object or an array, with names as text or bytes, and to
//! describe errors. Here one function parses text into a [`Value`], and a structure is read from an object only. Errors
//! have no details, because the user cannot correct a response of the server.
//!
//! The standard library formats decimal numbers: `serde_json`'s faster method needs tables of 10 KB.
//! `docs/adr/0005-page-size.md` has the measured effect on the page.

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor, value::StrDeserializer,
};
use serde::{Serialize, forward_to_deserialize_any};
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use serde_json::{Map, Value};
use std::{fmt, io};

/// The error of JSON that does not match the expected type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidJson;

impl fmt::Display for InvalidJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("The JSON does not have the expected structure.")
    }
}

impl std::error::Error for InvalidJson {}

impl serde::de::Error for InvalidJson {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// Writes a value as JSON.
///
/// # Errors
/// When JSON cannot represent it: a map whose keys are not texts.
pub fn to_text(value: &impl Serialize) -> serde_json::Result<String> {
    serialize(value, Compact)
}

/// Writes a value as JSON with line breaks.
///
/// # Errors
/// As [`to_text`].
pub fn to_pretty_text(value: &impl Serialize) -> serde_json::Result<String> {
    serialize(value, Pretty(PrettyFormatter::new()))
}

fn serialize(value: &impl Serialize, formatter: impl Formatter) -> serde_json::Result<String> {
    let mut text = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut text, formatter))?;
    String::from_utf8(text).map_err(serde::ser::Error::custom)
}

/// Writes a finite number in its shortest form that parses to the same number.
fn write_number<W: io::Write + ?Sized>(writer: &mut W, number: f64) -> io::Result<()> {
    writer.write_all(format!("{number:?}").as_bytes())
}

struct Compact;

impl Formatter for Compact {
    fn write_f64<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        write_number(writer, value)
    }
}

struct Pretty(PrettyFormatter<'static>);

macro_rules! delegate_to_pretty {
    ($($method:ident ($($argument:ident: $type:ty),*)),* $(,)?) => {$(
        fn $method<W: io::Write + ?Sized>(&mut self, writer: &mut W $(, $argument: $type)*) -> io::Result<()> {
            self.0.$method(writer $(, $argument)*)
        }
    )*};
}

impl Formatter for Pretty {
    fn write_f64<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        write_number(writer, value)
    }

    delegate_to_pretty! {
        begin_array(),
        end_array(),
        begin_array_value(first: bool),
        end_array_value(),
        begin_object(),
        end_object(),
        begin_object_key(first: bool),
        begin_object_value(),
        end_object_value(),
    }
}

/// Reads a value from JSON text.
///
/// # Errors
/// When the text is not JSON or does not match `T`.
pub fn from_text<T: DeserializeOwned>(text: &str) -> Result<T, InvalidJson> {
    from_value(parse(text)?)
}

/// Not generic, so that it is compiled once.
#[inline(never)]
fn parse(text: &str) -> Result<Value, InvalidJson> {
    serde_json::from_str(text).map_err(|_| InvalidJson)
}

/// Reads a value from JSON.
///
/// # Errors
/// When it does not match `T`.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, InvalidJson> {
    T::deserialize(Json(value))
}

/// Removes the field `name` from an object, for types that contain the fields of another. `serde(flatten)` would copy
/// all fields and generate much code.
///
/// # Errors
/// When the field is missing or does not match `T`.
pub fn take_field<T: DeserializeOwned, E: serde::de::Error>(
    object: &mut Map<String, Value>,
    name: &'static str,
) -> Result<T, E> {
    let value = object.shift_remove(name).ok_or_else(|| E::missing_field(name))?;
    from_value(value).map_err(E::custom)
}

/// Removes the field `name` from an object; the default if it is missing. During an upgrade, the page can read the response of
/// the last version.
///
/// # Errors
/// When the field does not match `T`.
pub fn take_field_or_default<T: DeserializeOwned + Default, E: serde::de::Error>(
    object: &mut Map<String, Value>,
    name: &str,
) -> Result<T, E> {
    object.shift_remove(name).map_or_else(|| Ok(T::default()), |value| from_value(value).map_err(E::custom))
}

/// Reads the fields of an object that [`take_field`] did not remove.
///
/// # Errors
/// When they do not match `T`.
pub fn from_object<T: DeserializeOwned, E: serde::de::Error>(object: Map<String, Value>) -> Result<T, E> {
    from_value(Value::Object(object)).map_err(E::custom)
}

/// A deserializer that reads a [`Value`].
struct Json(Value);

impl Json {
    fn number<T>(&self, read: impl Fn(&serde_json::Number) -> Option<T>) -> Result<T, InvalidJson> {
        match &self.0 {
            Value::Number(number) => read(number).ok_or(InvalidJson),
            _ => Err(InvalidJson),
        }
    }

    fn text(self) -> Result<String, InvalidJson> {
        match self.0 {
            Value::String(text) => Ok(text),
            _ => Err(InvalidJson),
        }
    }
}

macro_rules! numbers {
    ($($method:ident: $read:ident => $visit:ident),* $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidJson> {
            visitor.$visit(self.number(serde_json::Number::$read)?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Json {
    type Error = InvalidJson;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidJson> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => {
                if let Some(integer) = number.as_u64() {
                    visitor.visit_u64(integer)
                } else if let Some(integer) = number.as_i64() {
                    visitor.visit_i64(integer)
                } else {
                    visitor.visit_f64(number.as_f64().ok_or(InvalidJson)?)
                }
            }
            Value::String(text) => visitor.visit_string(text),
            Value::Array(items) => visitor.visit_seq(Items(items.into_iter())),
            Value::Object(fields) => visitor.visit_map(Fields::of(fields)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidJson> {
        match self.0 {
            Value::Bool(value) => visitor.visit_bool(value),
            _ => Err(InvalidJson),
        }
    }

    numbers! {
        deserialize_i8: as_i64 => visit_i64,
        deserialize_i16: as_i64 => visit_i64,
        deserialize_i32: as_i64 => visit_i64,
        deserialize_i64: as_i64 => visit_i64,
        deserialize_u8: as_u64 => visit_u64,
        deserialize_u16: as_u64 => visit_u64,
        deserialize_u32: as_u64 => visit_u64,
        deserialize_u64: as_u64 => visit_u64,
        deserialize_f32: as_f64 => visit_f64,
        deserialize_f64: as_f64 => visit_f64,
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidJson> {
        visitor.visit_str(&self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidJson> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidJson> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidJson> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidJson> {
        if self.0.is_null() { visitor.visit_unit() } else { Err(InvalidJson) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, InvalidJson> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidJson> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(Items(items.into_iter())),
            _ => Err(InvalidJson),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidJson> {
        match self.0 {
            Value::Object(fields) => visitor.visit_map(Fields::of(fields)),
            _ => Err(InvalidJson),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, InvalidJson> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, InvalidJson> {
        match self.0 {
            Value::String(name) => visitor.visit_enum(Variant(name, None)),
            Value::Object(fields) => {
                let (name, content) = fields.into_iter().next().ok_or(InvalidJson)?;
                visitor.visit_enum(Variant(name, Some(content)))
            }
            _ => Err(InvalidJson),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidJson> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { i128 u128 char bytes byte_buf unit_struct tuple tuple_struct }
}

struct Items(std::vec::IntoIter<Value>);

impl<'de> SeqAccess<'de> for Items {
    type Error = InvalidJson;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, InvalidJson> {
        match self.0.next() {
            Some(item) => seed.deserialize(Json(item)).map(Some),
            None => Ok(None),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Fields {
    rest: serde_json::map::IntoIter,
    value: Value,
}

impl Fields {
    fn of(fields: Map<String, Value>) -> Self {
        Self { rest: fields.into_iter(), value: Value::Null }
    }

    #[inline(never)]
    fn next_name(&mut self) -> Option<String> {
        let (name, value) = self.rest.next()?;
        self.value = value;
        Some(name)
    }

    #[inline(never)]
    fn value(&mut self) -> Value {
        self.value.take()
    }
}

impl<'de> MapAccess<'de> for Fields {
    type Error = InvalidJson;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, InvalidJson> {
        match self.next_name() {
            Some(name) => seed.deserialize(Json(Value::String(name))).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, InvalidJson> {
        seed.deserialize(Json(self.value()))
    }
}

/// The name and content of an enum variant.
struct Variant(String, Option<Value>);

impl<'de> EnumAccess<'de> for Variant {
    type Error = InvalidJson;
    type Variant = Content;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Content), InvalidJson> {
        let name: StrDeserializer<'_, InvalidJson> = self.0.as_str().into_deserializer();
        Ok((seed.deserialize(name)?, Content(self.1)))
    }
}

/// The content of an enum variant; `None` for a unit variant.
struct Content(Option<Value>);

impl Content {
    fn required(self) -> Result<Json, InvalidJson> {
        self.0.map(Json).ok_or(InvalidJson)
    }
}

impl<'de> VariantAccess<'de> for Content {
    type Error = InvalidJson;

    fn unit_variant(self) -> Result<(), InvalidJson> {
        if self.0.is_none() { Ok(()) } else { Err(InvalidJson) }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, InvalidJson> {
        seed.deserialize(self.required()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, InvalidJson> {
        self.required()?.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, InvalidJson> {
        self.required()?.deserialize_map(visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{Attempt, DeliveryDetail, Timings};
    use crate::endpoint::{Network, UrlPolicy};
    use crate::routing::DeliveryPaths;
    use crate::webhook::AuthView;
    use proptest::prelude::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn summary() -> Value {
        json!({
            "id": "dlv_1", "event_id": "evt_1", "event_type": "reservation.created", "webhook_id": 7,
            "webhook_name": "GPU", "reservation_id": null, "status": "retrying", "test": false, "attempts": 2,
            "max_attempts": 4, "status_code": 503, "duration_ms": 12, "problem": "503", "next_attempt_at": null,
            "created_at": "2026-11-24T10:00:00Z", "updated_at": "2026-11-24T10:00:01.5Z", "redelivery_of": null,
        })
    }

    fn attempt() -> Value {
        json!({
            "delivery_id": "dlv_1", "attempt": 1, "started_at": "2026-11-24T10:00:00Z", "outcome": "failed",
            "status_code": null, "duration_ms": 0.25, "timings": { "dns_ms": 0.1, "total_ms": 1 },
            "request": { "method": "POST", "url": "https://a.example/", "headers": [{ "name": "A", "value": "b" }], "body": "{}" },
            "response": null, "diagnosis": { "code": "dns_failed", "message": "m", "hint": "h" },
        })
    }

    /// Asserts that this module and `serde_json` read the same value, and returns it.
    fn assert_same_as_serde_json<T: DeserializeOwned + PartialEq + fmt::Debug>(json: Value) -> T {
        let expected: T = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(from_text::<T>(&json.to_string()), Ok(from_value(json).unwrap()));
        expected
    }

    #[test]
    fn structures_enums_options_and_maps_are_read() {
        let read: Attempt = assert_same_as_serde_json(attempt());
        assert_eq!(read.timings, Timings { dns_ms: Some(0.1), total_ms: 1.0, ..Default::default() });
        assert_same_as_serde_json::<UrlPolicy>(json!({ "allow_http": true, "allow_networks": ["::1/128"] }));
        assert_same_as_serde_json::<Option<Network>>(Value::Null);
        assert_same_as_serde_json::<AuthView>(json!({ "method": "api_key", "header": "X-API-Key" }));
        assert_same_as_serde_json::<AuthView>(json!({ "method": "none" }));
        assert_same_as_serde_json::<DeliveryPaths>(
            json!({ "layout": "custom", "paths": { "reservation.created": "/a" } }),
        );
        assert_same_as_serde_json::<Vec<Result<i64, bool>>>(json!([{ "Ok": -3 }, { "Err": true }]));
        assert_same_as_serde_json::<BTreeMap<String, Value>>(json!({ "b": [1, -2, 3.5, null, "x"], "a": {} }));
        assert_same_as_serde_json::<(u8, String)>(json!([1, "x"]));
    }

    #[test]
    fn structure_with_the_fields_of_another_round_trips() {
        let mut object = summary();
        object["body"] = json!("{}");
        object["attempt_log"] = json!([attempt()]);
        let detail: DeliveryDetail = assert_same_as_serde_json(object.clone());
        assert_eq!((detail.delivery.attempts, detail.attempt_log.len()), (2, 1));
        assert_eq!(from_text(&to_text(&detail).unwrap()), Ok(detail));
        object.as_object_mut().unwrap().remove("attempt_log");
        assert!(from_value::<DeliveryDetail>(object).is_err());
    }

    #[test]
    fn json_of_another_structure_is_rejected() {
        assert!(from_text::<Attempt>("{}").is_err());
        assert!(from_text::<Attempt>("[]").is_err());
        assert!(from_text::<u8>("256").is_err());
        assert!(from_text::<u64>("-1").is_err());
        assert!(from_text::<String>("1").is_err());
        assert!(from_text::<bool>("null").is_err());
        assert!(from_text::<Vec<i64>>("[1,").is_err());
        assert!(from_value::<AuthView>(json!({ "method": "magic" })).is_err());
        assert!(from_value::<crate::delivery::Outcome>(json!("perhaps")).is_err());
    }

    #[test]
    fn output_equals_that_of_serde_json() {
        let value = json!({ "a": [1, 2.5], "b": {}, "c": [], "d": { "e": "f" } });
        assert_eq!(to_pretty_text(&value).unwrap(), serde_json::to_string_pretty(&value).unwrap());
        assert_eq!(to_text(&value).unwrap(), value.to_string());
    }

    proptest! {
        #[test]
        fn every_finite_number_round_trips(bits: u64) {
            let number = f64::from_bits(bits);
            prop_assume!(number.is_finite());
            let text = to_text(&number).unwrap();
            prop_assert!(serde_json::from_str::<Value>(&text).is_ok());
            prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits);
        }
    }
}
