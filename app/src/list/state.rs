//! The search, sort, filters and selection of a list.

use crate::erased::ErasedSignal;
use crate::query_signals::query_signals_of;
use gloo_timers::callback::Timeout;
use leptos::prelude::*;
use std::collections::BTreeSet;

/// The delay after which the search is written to the address, in milliseconds. Browsers limit how often the address changes.
const SEARCH_DELAY_MS: u32 = 300;

/// The state of a list.
#[derive(Clone, Copy)]
pub struct ListState {
    /// The text of the search field.
    pub search: RwSignal<String>,
    /// The name of a column, after `-` in descending order. Empty: the order of the server.
    pub sort: RwSignal<String>,
    /// The value of each filter. Empty: all rows.
    pub filters: StoredValue<Vec<RwSignal<String>>>,
    /// The identifiers of the selected rows.
    pub selected: ErasedSignal<BTreeSet<String>>,
    /// The row that was selected last, from which a press with Shift selects.
    pub anchor: StoredValue<String>,
}

impl ListState {
    /// Reads the state from the address.
    pub fn new([search, sort]: [&'static str; 2], filters: impl Iterator<Item = &'static str>) -> Self {
        let names: Vec<_> = [search, sort].into_iter().chain(filters).map(|name| (name, "")).collect();
        let mut signals = query_signals_of(names).into_iter();
        let mut next = || signals.next().unwrap_or_default();
        let (in_address, sort) = (next(), next());
        Self {
            search: delayed(in_address),
            sort,
            filters: StoredValue::new(signals.collect()),
            selected: ErasedSignal::new(BTreeSet::new()),
            anchor: StoredValue::new(String::new()),
        }
    }

    /// The values of the filters. Tracked.
    pub fn filter_values(self) -> Vec<String> {
        self.filters.get_value().into_iter().map(|filter| filter.get()).collect()
    }

    /// Shows all rows.
    pub fn show_all(self) {
        self.search.set(String::new());
        self.filters.get_value().into_iter().for_each(|filter| filter.set(String::new()));
    }

    /// Sorts by a column, or reverses the order if it is the one already.
    pub fn sort_by(self, column: &str) {
        self.sort.update(|sort| {
            let reversed = format!("-{column}");
            *sort = if sort == column { reversed } else { column.to_owned() };
        });
    }
}

/// A signal that follows `in_address` at once, and that it follows after a delay.
fn delayed(in_address: RwSignal<String>) -> RwSignal<String> {
    let signal = RwSignal::new(in_address.get_untracked());
    let timer = StoredValue::new_local(None::<Timeout>);
    Effect::watch(
        move || signal.get(),
        move |value, _, _| {
            let value = value.clone();
            let write = move || {
                if in_address.try_get_untracked().is_some_and(|old| old != value) {
                    in_address.set(value);
                }
            };
            timer.set_value(Some(Timeout::new(SEARCH_DELAY_MS, write)));
        },
        false,
    );
    Effect::watch(
        move || in_address.get(),
        move |value, _, _| {
            if signal.with_untracked(|signal| signal != value) {
                signal.set(value.clone());
            }
        },
        false,
    );
    signal
}
