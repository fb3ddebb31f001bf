//! What people chose on a page, kept in its address: it survives a reload, and a link can be sent to somebody.

use leptos::prelude::*;
use leptos_router::NavigateOptions;
use leptos_router::hooks::{use_location, use_navigate, use_query_map};

/// A signal for each parameter of the query: (its name, its value where the address says nothing). The address follows the
/// signals, and they follow the address when one goes back; other parameters stay.
pub fn in_address<const N: usize>(parameters: [(&'static str, &'static str); N]) -> [RwSignal<String>; N] {
    let query = use_query_map();
    let location = use_location();
    let navigate = use_navigate();
    let stated = move |(name, default): (&str, &str)| query.read().get(name).unwrap_or_else(|| default.to_owned());
    let signals = parameters.map(|parameter| RwSignal::new(untrack(|| stated(parameter))));
    Effect::new(move |before: Option<[String; N]>| {
        let now = signals.map(|signal| signal.get());
        if before.is_some_and(|before| before != now) {
            let others = untrack(|| query.get()).into_iter().map(|(name, value)| (name.into_owned(), value));
            let others = others.filter(|(name, _)| parameters.iter().all(|(own, _)| own != name));
            let chosen = parameters.iter().zip(&now).filter(|((_, default), value)| default != value);
            let chosen = chosen.map(|((name, _), value)| ((*name).to_owned(), value.clone()));
            let pairs =
                others.chain(chosen).map(|(name, value)| format!("{name}={}", js_sys::encode_uri_component(&value)));
            let search = pairs.collect::<Vec<_>>().join("&");
            let path = location.pathname.get_untracked();
            let target = if search.is_empty() { path } else { format!("{path}?{search}") };
            navigate(&target, NavigateOptions { replace: true, scroll: false, ..Default::default() });
        }
        now
    });
    Effect::new(move |_| {
        for (parameter, signal) in parameters.into_iter().zip(signals) {
            let value = stated(parameter);
            if signal.get_untracked() != value {
                signal.set(value);
            }
        }
    });
    signals
}
