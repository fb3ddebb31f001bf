//! The input of a new reservation. It stays when the user selects another resource.

use super::calendar::Span;
use crate::components::{TimeValue, entered_span};
use crate::session::use_session;
use crate::time;
use leptos::prelude::*;
use serde_json::{Map, Value};

/// The input of a new reservation.
#[derive(Clone, Copy)]
pub struct Draft {
    /// The title.
    pub title: RwSignal<String>,
    /// The SSH public key.
    pub key: RwSignal<String>,
    /// The start.
    pub start: TimeValue,
    /// The end.
    pub end: TimeValue,
    /// The values that were entered last, by field. Several types can have a field of the same name.
    pub config: StoredValue<Map<String, Value>>,
    /// The span that the page has suggested.
    suggested: StoredValue<Option<Span>>,
}

impl Draft {
    /// An empty input with the user's stored key.
    pub fn new() -> Self {
        let stored_key = use_session().info.with_untracked(|info| info.as_ref().map(|info| info.user.ssh_key.clone()));
        Self {
            title: RwSignal::new(String::new()),
            key: RwSignal::new(stored_key.unwrap_or_default()),
            start: TimeValue::new(None),
            end: TimeValue::new(None),
            config: StoredValue::new(Map::new()),
            suggested: StoredValue::new(None),
        }
    }

    /// Fills in the parameters of a link. A span in the past is left out.
    pub fn fill_in(self, parameter: impl Fn(&str) -> Option<String>) {
        let time = |name| parameter(name).and_then(|value| time::from_parameter(&value));
        if let (Some(start), Some(end)) = (time("start"), time("end"))
            && start < end
            && end > time::now()
        {
            self.set_span((start, end));
        }
        if let Some(title) = parameter("title") {
            self.title.set(title);
        }
    }

    /// The entered span, if it is valid. Tracked.
    pub fn span(self) -> Option<Span> {
        entered_span(self.start, self.end).ok().filter(|(start, end)| start < end)
    }

    /// Enters a span.
    pub fn set_span(self, (start, end): Span) {
        self.start.set(start);
        self.end.set(end);
    }

    /// Enters a span, unless the user has entered one. A start that the user has entered gets an end.
    pub fn suggest(self, span: Span) {
        let is_untouched = match self.suggested.get_value() {
            None => self.start.is_empty() && self.end.is_empty(),
            Some(suggested) => untrack(|| self.span()) == Some(suggested),
        };
        if is_untouched {
            self.suggested.set_value(Some(span));
            self.set_span(span);
        } else if self.end.is_empty()
            && let Ok(start) = untrack(|| self.start.get())
        {
            self.end.set(start + (span.1 - span.0));
        }
    }
}
