//! Signals for the parameters of the page's address.
//!
//! Filters in the address survive a reload and can be shared as a link.

use leptos::prelude::*;
use leptos_router::NavigateOptions;
use leptos_router::hooks::{use_location, use_navigate, use_query_map};
use leptos_router::params::ParamsMap;

/// The name of a parameter and its value when the address does not contain it.
type Parameter = (&'static str, &'static str);

/// Creates a signal for each parameter of the query string and keeps both equal.
///
/// A changed signal replaces the address in the history. Other parameters stay.
pub fn query_signals<const N: usize>(parameters: [Parameter; N]) -> [RwSignal<String>; N] {
    let query = use_query_map();
    let signals = parameters.map(|parameter| RwSignal::new(value_in(&query.read_untracked(), parameter)));
    connect(query, parameters.to_vec(), signals.to_vec());
    signals
}

/// Like [`query_signals`], for a number of parameters that is not constant.
pub fn query_signals_of(parameters: Vec<Parameter>) -> Vec<RwSignal<String>> {
    let query = use_query_map();
    let signal = |parameter: &Parameter| RwSignal::new(value_in(&query.read_untracked(), *parameter));
    let signals: Vec<_> = parameters.iter().map(signal).collect();
    connect(query, parameters, signals.clone());
    signals
}

fn connect(query: Memo<ParamsMap>, parameters: Vec<Parameter>, signals: Vec<RwSignal<String>>) {
    write_to_address(query, parameters.clone(), signals.clone());
    // Going back in the history changes the address.
    Effect::new(move |_| {
        for (parameter, signal) in parameters.iter().zip(&signals) {
            let value = value_in(&query.read(), *parameter);
            if signal.get_untracked() != value {
                signal.set(value);
            }
        }
    });
}

fn value_in(query: &ParamsMap, (name, default): Parameter) -> String {
    query.get(name).unwrap_or_else(|| default.to_owned())
}

/// Replaces the address when a signal changes. Parameters with their default are left out.
fn write_to_address(query: Memo<ParamsMap>, parameters: Vec<Parameter>, signals: Vec<RwSignal<String>>) {
    let location = use_location();
    let navigate = use_navigate();
    Effect::watch(
        move || signals.iter().map(|signal| signal.get()).collect::<Vec<_>>(),
        move |values, previous, _| {
            if Some(values) == previous {
                return;
            }
            let others = query.get_untracked().into_iter().map(|(name, value)| (name.into_owned(), value));
            let others = others.filter(|(name, _)| parameters.iter().all(|(own, _)| own != name));
            let own = parameters.iter().zip(values).filter(|((_, default), value)| default != value);
            let own = own.map(|((name, _), value)| ((*name).to_owned(), value.clone()));
            let search: Vec<_> = others
                .chain(own)
                .map(|(name, value)| format!("{name}={}", js_sys::encode_uri_component(&value)))
                .collect();
            let path = location.pathname.get_untracked();
            let target = if search.is_empty() { path } else { format!("{path}?{}", search.join("&")) };
            navigate(&target, NavigateOptions { replace: true, scroll: false, ..Default::default() });
        },
        false,
    );
}
