//! Content filters: the events that a webhook receives, by resource and by configuration (docs/contract.md §6).

use crate::event::EventBody;
use crate::id::ResourceId;
use crate::problem::Validator;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Maximum number of resources in a filter.
pub const MAX_RESOURCES: usize = 500;
/// Maximum number of conditions in a filter.
pub const MAX_CONDITIONS: usize = 20;
/// Maximum number of values in a condition.
const MAX_VALUES: usize = 50;
/// Maximum length of a value in characters.
const MAX_VALUE: usize = 500;

/// Limits the events of a webhook to those that match. An empty filter matches every event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct EventFilter {
    /// The resources, at most 500; empty = every resource.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_ids: Vec<ResourceId>,
    /// Conditions on the configuration of the reservation, at most 20; all of them must hold. They do not apply to access
    /// requests, which have no configuration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldCondition>,
}

/// A condition on one configuration field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldCondition {
    /// The name of the field in `additional_config`.
    pub field: String,
    /// The comparison.
    pub operator: FilterOperator,
    /// The values as text, e.g. `nvidia-a100`, `4` or `true`: exactly one for `equals`, 1 to 50 for `one_of`.
    pub values: Vec<String>,
}

/// The comparison of a configuration field with values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FilterOperator {
    /// The field has the value.
    Equals,
    /// The field has one of the values.
    OneOf,
}

/// The part of an event that a filter compares.
#[derive(Debug, Clone, Copy)]
pub struct FilterSubject<'a> {
    /// The resource.
    pub resource_id: ResourceId,
    /// The configuration; `None` for access requests.
    pub config: Option<&'a Map<String, Value>>,
}

impl<'a> FilterSubject<'a> {
    /// The subject of an event.
    pub fn of(event: &'a EventBody) -> Self {
        match event {
            EventBody::Reservation(body) => {
                Self { resource_id: body.resource_id, config: Some(&body.additional_config) }
            }
            EventBody::AccessRequest(body) => Self { resource_id: body.resource_id, config: None },
        }
    }
}

impl EventFilter {
    /// Whether the filter matches every event.
    pub fn is_empty(&self) -> bool {
        self.resource_ids.is_empty() && self.fields.is_empty()
    }

    /// Whether an event matches.
    pub fn matches(&self, subject: FilterSubject<'_>) -> bool {
        let resource_matches = self.resource_ids.is_empty() || self.resource_ids.contains(&subject.resource_id);
        resource_matches
            && subject.config.is_none_or(|config| self.fields.iter().all(|condition| condition.holds(config)))
    }

    /// Checks the parts of a filter that need no database: `filter.resource_ids`, `filter.fields`,
    /// `filter.fields.<n>.field` and `filter.fields.<n>.values`.
    pub fn check(&self, validator: &mut Validator) {
        if self.resource_ids.len() > MAX_RESOURCES {
            validator.error("filter.resource_ids", format!("Use at most {MAX_RESOURCES} resources."));
        }
        if self.resource_ids.iter().collect::<BTreeSet<_>>().len() < self.resource_ids.len() {
            validator.error("filter.resource_ids", "A resource appears twice. Remove one.");
        }
        if self.fields.len() > MAX_CONDITIONS {
            validator.error("filter.fields", format!("Use at most {MAX_CONDITIONS} conditions."));
        }
        for (n, condition) in self.fields.iter().enumerate() {
            if condition.field.trim().is_empty() || crate::validation::text(&condition.field, 100).is_err() {
                let message = "Enter the name of a configuration field, 1 to 100 characters.";
                validator.error(format!("filter.fields.{n}.field"), message);
            }
            validator.check(format!("filter.fields.{n}.values"), condition.check_values());
        }
    }
}

impl FieldCondition {
    fn holds(&self, config: &Map<String, Value>) -> bool {
        config.get(&self.field).and_then(text_of).is_some_and(|text| self.values.iter().any(|value| *value == text))
    }

    fn check_values(&self) -> Result<(), String> {
        // The form has one value in each line, and trims it.
        let is_valid = |value: &String| {
            crate::validation::text(value, MAX_VALUE).is_ok() && !value.contains(['\n', '\r']) && value.trim() == value
        };
        if !self.values.iter().all(is_valid) {
            return Err(format!(
                "Use values of at most {MAX_VALUE} characters on one line, without spaces at the ends."
            ));
        }
        match (self.operator, self.values.len()) {
            (FilterOperator::Equals, 1) | (FilterOperator::OneOf, 1..=MAX_VALUES) => Ok(()),
            (FilterOperator::Equals, _) => Err("Enter exactly one value, or choose one_of.".to_owned()),
            (FilterOperator::OneOf, _) => Err(format!("Enter 1 to {MAX_VALUES} values.")),
        }
    }
}

/// A value of a configuration field as text; `None` for null and structures. A whole number has no fraction, e.g. `4`
/// for 4.0.
fn text_of(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(text.into()),
        Value::Bool(value) => Some(if *value { "true" } else { "false" }.into()),
        Value::Number(number) => {
            let whole = number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 1e15);
            Some(whole.map_or_else(|| number.to_string(), |number| format!("{number:.0}")).into())
        }
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn condition(field: &str, operator: FilterOperator, values: &[&str]) -> FieldCondition {
        FieldCondition {
            field: field.into(),
            operator,
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        }
    }

    fn matches(filter: &EventFilter, resource_id: ResourceId, config: Option<Value>) -> bool {
        let config = config.map(|config| config.as_object().unwrap().clone());
        filter.matches(FilterSubject { resource_id, config: config.as_ref() })
    }

    fn errors(filter: &EventFilter) -> Vec<String> {
        let mut validator = Validator::new();
        filter.check(&mut validator);
        validator.errors().iter().map(|error| error.field.clone()).collect()
    }

    #[test]
    fn empty_filter_matches_every_event() {
        let filter = EventFilter::default();
        assert!(filter.is_empty() && matches(&filter, 7, None) && matches(&filter, 7, Some(json!({"a": 1}))));
        assert_eq!(serde_json::to_string(&filter).unwrap(), "{}");
    }

    #[test]
    fn resource_and_all_conditions_must_match() {
        use FilterOperator::{Equals, OneOf};
        let filter = EventFilter {
            resource_ids: vec![7, 8],
            fields: vec![condition("gpu", OneOf, &["a100", "h100"]), condition("count", Equals, &["4"])],
        };
        let config = |gpu: &str, count: Value| Some(json!({"gpu": gpu, "count": count}));
        assert!(matches(&filter, 8, config("h100", json!(4))));
        assert!(matches(&filter, 8, config("h100", json!("4"))), "values are compared as text");
        assert!(!matches(&filter, 9, config("h100", json!(4))), "another resource");
        assert!(!matches(&filter, 8, config("l40", json!(4))));
        assert!(!matches(&filter, 8, config("h100", json!(5))));
        assert!(!matches(&filter, 8, Some(json!({"gpu": "h100"}))), "an absent field");
        assert!(matches(&filter, 8, None), "conditions do not apply to access requests");
        assert!(!matches(&filter, 9, None), "resources do");
    }

    #[test]
    fn values_are_compared_in_their_shortest_text() {
        for (value, text) in [
            (json!("x"), Some("x")),
            (json!(true), Some("true")),
            (json!(4), Some("4")),
            (json!(4.0), Some("4")),
            (json!(-2), Some("-2")),
            (json!(0.5), Some("0.5")),
            (json!(u64::MAX), Some("18446744073709551615")),
            (Value::Null, None),
            (json!([]), None),
            (json!({}), None),
        ] {
            assert_eq!(text_of(&value).as_deref(), text, "{value}");
        }
    }

    #[test]
    fn invalid_parts_are_named() {
        use FilterOperator::{Equals, OneOf};
        let filter = EventFilter {
            resource_ids: vec![7, 7],
            fields: vec![
                condition("", Equals, &["1"]),
                condition("a", Equals, &["1", "2"]),
                condition("b", OneOf, &[]),
                condition("c", OneOf, &["1", "2"]),
                condition("d", Equals, &["\u{7}"]),
                condition("e", OneOf, &["a, b", "c\nd"]),
                condition("f", Equals, &[" a"]),
            ],
        };
        let expected = [
            "filter.resource_ids",
            "filter.fields.0.field",
            "filter.fields.1.values",
            "filter.fields.2.values",
            "filter.fields.4.values",
            "filter.fields.5.values",
            "filter.fields.6.values",
        ];
        assert_eq!(errors(&filter), expected);
        let long = EventFilter {
            resource_ids: (1..=501).collect(),
            fields: vec![condition("a", Equals, &["1"]); MAX_CONDITIONS + 1],
        };
        assert_eq!(errors(&long), ["filter.resource_ids", "filter.fields"]);
    }
}
