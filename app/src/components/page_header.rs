//! The header of a page.

use crate::focus;
use leptos::html;
use leptos::prelude::*;
use std::cell::Cell;

thread_local! {
    /// Whether the page that is being opened gets the focus at its title.
    static AWAITED: Cell<bool> = const { Cell::new(false) };
}

/// Focuses the title of a page that is being opened, where screen readers start to read: at once, or when the page has its title.
pub fn focus_title() {
    AWAITED.set(true);
    request_animation_frame(|| {
        let title = document().query_selector("#app h1").ok().flatten();
        if let Some(title) = title.filter(|_| AWAITED.replace(false)) {
            focus::move_to(&title);
        }
    });
}

/// The title of a page, also in the browser's tab, with an introduction and the page's actions.
#[component]
pub fn PageHeader(
    #[prop(into)] title: TextProp,
    #[prop(optional, into)] lead: Option<TextProp>,
    #[prop(optional)] children: Option<Children>,
) -> impl IntoView {
    let tab_title = title.clone();
    let heading = NodeRef::<html::H1>::new();
    heading.on_load(|heading| {
        request_animation_frame(move || {
            if AWAITED.replace(false) {
                focus::move_to(&heading);
            }
        });
    });
    view! {
        <leptos_meta::Title text=move || format!("{} · Berth", tab_title.get()) />
        <header class="page-header">
            <div>
                <h1 tabindex="-1" node_ref=heading>{move || title.get().to_string()}</h1>
                {lead.map(|lead| view! { <p class="lead">{move || lead.get().to_string()}</p> })}
            </div>
            {children.map(|children| view! { <div class="actions">{children()}</div> })}
        </header>
    }
}
