//! The overview of keyboard shortcuts.

use crate::components::*;
use crate::shortcuts::{EVERYWHERE, Keys, Shortcuts, use_shortcuts};
use leptos::prelude::*;

/// The content of the overview.
#[component]
pub fn ShortcutList() -> impl IntoView {
    let shortcuts = use_shortcuts();
    let Shortcuts { is_on, of_screen, .. } = shortcuts;
    let set = Callback::new(move |on| shortcuts.enable(on));
    let row = |(key, action): &(&'static str, &'static str)| view! { <dt><kbd>{*key}</kbd></dt><dd>{*action}</dd> };
    let rows = move |keys: Keys| view! { <dl class="details-list">{keys.iter().map(row).collect_view()}</dl> };
    view! {
        {move || {
            let of_screen = of_screen.get();
            let on_every = (!of_screen.is_empty()).then(|| view! { <h3>"On every screen"</h3> });
            let on_this = (!of_screen.is_empty()).then(|| view! { <h3>"On this screen"</h3> });
            view! {
                {on_this}
                {of_screen.into_iter().map(rows).collect_view()}
                {on_every}
                {rows(EVERYWHERE)}
            }
        }}
        <div class="row">
            <Switch label="Keyboard shortcuts" on=is_on on_change=set />
            <span>"Use keyboard shortcuts"</span>
        </div>
    }
}
