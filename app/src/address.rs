//! What people chose on a page, kept in its address: it survives a reload, and a link can be sent to somebody.

use crate::values::{effect, on_change};
use leptos::prelude::*;
use leptos_router::NavigateOptions;
use leptos_router::hooks::{use_location, use_navigate, use_query_map};
use leptos_router::params::ParamsMap;

/// A parameter of the query: its name, and its value where the address says nothing.
type Parameter = (&'static str, &'static str);

/// A signal for each parameter of the query. The address follows the signals, and they follow the address when one goes back;
/// other parameters stay.
pub fn in_address<const N: usize>(parameters: [Parameter; N]) -> [RwSignal<String>; N] {
    let query = use_query_map();
    let signals = parameters.map(|parameter| RwSignal::new(untrack(|| stated(query, parameter))));
    follow_each_other(query, parameters.into_iter().zip(signals).collect());
    signals
}

/// What the address says.
fn stated(query: Memo<ParamsMap>, (name, default): Parameter) -> String {
    query.read().get(name).unwrap_or_else(|| default.to_owned())
}

fn follow_each_other(query: Memo<ParamsMap>, choices: Vec<(Parameter, RwSignal<String>)>) {
    let location = use_location();
    let navigate = use_navigate();
    let signals: Vec<_> = choices.iter().map(|(_, signal)| *signal).collect();
    let parameters: Vec<_> = choices.iter().map(|(parameter, _)| *parameter).collect();
    on_change(
        move || signals.iter().map(|signal| signal.get()).collect::<Vec<_>>(),
        move |now| {
            let others = query.get().into_iter().map(|(name, value)| (name.into_owned(), value));
            let others = others.filter(|(name, _)| parameters.iter().all(|(own, _)| own != name));
            let chosen = parameters.iter().zip(&now).filter(|((_, default), value)| default != value);
            let chosen = chosen.map(|((name, _), value)| ((*name).to_owned(), value.clone()));
            let pairs =
                others.chain(chosen).map(|(name, value)| format!("{name}={}", js_sys::encode_uri_component(&value)));
            let search = pairs.collect::<Vec<_>>().join("&");
            let path = location.pathname.get_untracked();
            let target = if search.is_empty() { path } else { format!("{path}?{search}") };
            navigate(&target, NavigateOptions { replace: true, scroll: false, ..Default::default() });
        },
    );
    effect(move || {
        for (parameter, signal) in &choices {
            let value = stated(query, *parameter);
            if signal.get_untracked() != value {
                signal.set(value);
            }
        }
    });
}
