//! Delivery paths: the URL for each event (docs/contract.md §1).

use crate::event::EventType;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The layout of a webhook's URLs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// A path per event: `/reservation`, `/reservation/cancel`, `/access-request` after the endpoint. The wire name is
    /// `guide`.
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
            },
        }
    }

    /// The full URL for `event`. The path is inserted before the endpoint's query, without doubling a trailing slash.
    /// With [`Layout::Single`] the endpoint is called exactly as entered.
    pub fn url(&self, endpoint: &str, event: EventType) -> String {
        let path = self.path(event);
        if path.is_empty() {
            return endpoint.to_owned();
        }
        let (base, query) = match endpoint.split_once('?') {
            Some((base, query)) => (base, Some(query)),
            None => (endpoint, None),
        };
        let mut url = format!("{}{}", base.trim_end_matches('/'), path);
        if let Some(query) = query {
            url.push('?');
            url.push_str(query);
        }
        url
    }

    /// Checks custom paths: each begins with `/`, is at most 512 characters of a URL path or query, without `..`.
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
                        && !path.split('/').any(|part| part == "..")
                        && path.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&b)));
                if !is_valid {
                    errors.push((
                        *event,
                        "Enter a path that begins with /, for example /reservation, without spaces, # or \"..\"."
                            .to_owned(),
                    ));
                }
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}
