//! Times in input. They are truncated to milliseconds, which the database stores. A leap second becomes the second after it.

use chrono::{DateTime, Utc};
use serde::{Deserialize as _, Deserializer};

/// Truncates a time to milliseconds. `23:59:60` becomes `00:00:00` of the next day.
pub fn to_millis(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(time.timestamp_millis()).unwrap_or(time)
}

/// Deserializes a time for `#[serde(deserialize_with)]`.
///
/// # Errors
/// Not a time in RFC 3339.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
    DateTime::deserialize(deserializer).map(to_millis)
}

/// Deserializes an optional time for `#[serde(default, deserialize_with)]`.
///
/// # Errors
/// Not a time in RFC 3339.
pub fn deserialize_optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    Ok(Option::deserialize(deserializer)?.map(to_millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leap_second_becomes_the_next_second() {
        for (text, normal) in [
            ("2027-06-30T23:59:60Z", "2027-07-01T00:00:00Z"),
            ("2027-07-01T01:59:60.25+02:00", "2027-07-01T00:00:00.250Z"),
            ("2027-06-30T23:59:59.9999Z", "2027-06-30T23:59:59.999Z"),
            ("1969-12-31T23:59:59.9999Z", "1969-12-31T23:59:59.999Z"),
        ] {
            let time = to_millis(text.parse().unwrap());
            assert_eq!(serde_json::to_value(time).unwrap(), normal, "{text}");
        }
    }
}
