//! The header of a page.

use leptos::prelude::*;

/// The title of a page, also in the browser's tab, with an introduction and the page's actions.
#[component]
pub fn PageHeader(
    #[prop(into)] title: TextProp,
    #[prop(optional, into)] lead: Option<TextProp>,
    #[prop(optional)] children: Option<Children>,
) -> impl IntoView {
    let tab_title = title.clone();
    view! {
        <leptos_meta::Title text=move || format!("{} · Berth", tab_title.get()) />
        <header class="page-header">
            <div>
                <h1 tabindex="-1">{move || title.get().to_string()}</h1>
                {lead.map(|lead| view! { <p class="lead">{move || lead.get().to_string()}</p> })}
            </div>
            {children.map(|children| view! { <div class="actions">{children()}</div> })}
        </header>
    }
}
