//! Delivery paths: the URL for each event (docs/contract.md §1).

use crate::event::EventType;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The layout of a webhook's URLs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// A path per event: `/reservation`, `/reservation/cancel`, `/access-request`, `/reservation/start`,
    /// `/reservation/ending` after the endpoint. The wire name is `guide`.
    #[default]
    #[serde(rename = "guide")]
    ByEvent,
    /// Every event goes to the endpoint.
    Single,
    /// The administrator's path for each event.
    Custom,
}

/// A webhook's delivery paths.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliveryPaths {
    /// The layout.
    pub layout: Layout,
    /// Layout `custom`: the path appended to the endpoint, by event. It begins with `/`; absent or `""` = the endpoint.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = std::collections::HashMap<String, String>))]
    pub paths: BTreeMap<EventType, String>,
}

impl DeliveryPaths {
    /// The path appended to the endpoint for `event`; `""` = none.
    pub fn path(&self, event: EventType) -> &str {
        match self.layout {
            Layout::Single => "",
            Layout::Custom => self.paths.get(&event).map_or("", String::as_str),
            Layout::ByEvent => match event {
                EventType::ReservationCreated | EventType::ReservationUpdated => "/reservation",
                EventType::ReservationCancelled | EventType::ReservationExpired => "/reservation/cancel",
                EventType::AccessRequested => "/access-request",
                EventType::ReservationStarted => "/reservation/start",
                EventType::ReservationEnding => "/reservation/ending",
            },
        }
    }

    /// The full URL for `event`. The path is inserted before the endpoint's query, without doubling a trailing slash. A
    /// query of the path comes first. With [`Layout::Single`] the endpoint is called as entered.
    pub fn url(&self, endpoint: &str, event: EventType) -> String {
        let path = self.path(event);
        if path.is_empty() {
            return endpoint.to_owned();
        }
        let (base, endpoint_query) = split_query(endpoint);
        let (path, path_query) = split_query(path);
        let mut url = format!("{}{path}", base.trim_end_matches('/'));
        let queries = [path_query, endpoint_query].into_iter().flatten().filter(|query| !query.is_empty());
        for (query, separator) in queries.zip(['?', '&']) {
            url.push(separator);
            url.push_str(query);
        }
        url
    }

    /// Checks custom paths: each begins with `/`, is at most 512 characters of a URL path or query, without a segment
    /// `.` or `..`, also when it is percent-encoded.
    ///
    /// # Errors
    /// The event and a message for each invalid path.
    pub fn check(&self) -> Result<(), Vec<(EventType, String)>> {
        let mut errors = Vec::new();
        if self.layout == Layout::Custom {
            for (event, path) in &self.paths {
                let is_valid = path.is_empty()
                    || (path.starts_with('/')
                        && path.len() <= 512
                        && !has_dot_segment(split_query(path).0)
                        && path.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&b)));
                if !is_valid {
                    errors.push((
                        *event,
                        "Enter a path that begins with /, for example /reservation, without spaces, #, or the segments \".\" and \"..\"."
                            .to_owned(),
                    ));
                }
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

/// Splits a URL or path at its first `?`.
fn split_query(text: &str) -> (&str, Option<&str>) {
    match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    }
}

/// Whether a path has a segment `.` or `..`. URL parsers and servers remove such segments, so another path would be
/// called. Parsers decode `%2e` for that (WHATWG URL §4.4), and servers also `%2f` and `%5c`.
fn has_dot_segment(path: &str) -> bool {
    let decoded = ["%2e", "%2E"].iter().fold(path.to_owned(), |path, code| path.replace(code, "."));
    let decoded = ["%2f", "%2F", "%5c", "%5C"].iter().fold(decoded, |path, code| path.replace(code, "/"));
    decoded.split('/').any(|segment| matches!(segment, "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn custom(path: &str) -> DeliveryPaths {
        DeliveryPaths { layout: Layout::Custom, paths: [(EventType::ReservationCreated, path.to_owned())].into() }
    }

    #[test]
    fn path_and_query_are_joined_with_those_of_the_endpoint() {
        for (endpoint, path, expected) in [
            ("https://a.example/hook", "/my", "https://a.example/hook/my"),
            ("https://a.example/hook/", "/my", "https://a.example/hook/my"),
            ("https://a.example/hook?a=1", "/my", "https://a.example/hook/my?a=1"),
            ("https://a.example/hook", "/my?x=1", "https://a.example/hook/my?x=1"),
            ("https://a.example/hook?a=1", "/my?x=1", "https://a.example/hook/my?x=1&a=1"),
            ("https://a.example?a=1", "/my?x=1&y=2", "https://a.example/my?x=1&y=2&a=1"),
            ("https://a.example/hook?a=1?b", "/my?", "https://a.example/hook/my?a=1?b"),
            ("https://a.example/hook?", "/my?x=1", "https://a.example/hook/my?x=1"),
            ("https://a.example/hook?a=1", "", "https://a.example/hook?a=1"),
        ] {
            assert_eq!(custom(path).url(endpoint, EventType::ReservationCreated), expected, "{endpoint} {path}");
        }
    }

    #[test]
    fn dot_segments_are_rejected_in_every_encoding() {
        for bad in [
            "/..",
            "/a/../b",
            "/./b",
            "/a/.",
            "/%2e%2e",
            "/%2E%2e/b",
            "/.%2E/b",
            "/%2e./b",
            "/%2e",
            "/a%2f..%2fb",
            "/..%5cb",
            "/%2e%2e?x=1",
        ] {
            assert!(custom(bad).check().is_err(), "{bad}");
        }
        for good in ["/my", "/v1.2/...", "/a..b", "/.well-known/hook", "/my?next=../other", "/my?x=%2e%2e", ""] {
            assert_eq!(custom(good).check(), Ok(()), "{good}");
        }
    }
}
