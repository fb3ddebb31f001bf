//! Which URL an event goes to (docs/contract.md §1 "Where it goes").

use crate::event::EventType;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a webhook lays its URLs out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// The guide's: `/reservation`, `/reservation/cancel`, `/access-request` under the endpoint.
    #[default]
    #[serde(rename = "guide")]
    ByEvent,
    /// Everything to the endpoint itself.
    Single,
    /// The administrator's own path for each event.
    Custom,
}

/// A webhook's delivery paths.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliveryPaths {
    /// The layout.
    pub layout: Layout,
    /// For [`Layout::Custom`]: event name → path to append to the endpoint, beginning with `/`; absent or `""` = the
    /// endpoint itself.
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

    /// The full URL called for `event`. The path goes before the endpoint's query; a trailing slash of the endpoint does
    /// not double. With [`Layout::Single`] the endpoint is called exactly as written.
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
    /// (event, sentence) for each path at fault.
    pub fn check(&self) -> Result<(), Vec<(EventType, String)>> {
        let mut faults = Vec::new();
        if self.layout == Layout::Custom {
            for (event, path) in &self.paths {
                let sound = path.is_empty()
                    || (path.starts_with('/')
                        && path.len() <= 512
                        && !path.split('/').any(|part| part == "..")
                        && path.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&b)));
                if !sound {
                    faults.push((
                        *event,
                        "Write a path that begins with /, e.g. /reservation, without spaces, # or \"..\".".to_owned(),
                    ));
                }
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}
