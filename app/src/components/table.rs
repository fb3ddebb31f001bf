//! Parts of lists.

use super::Button;
use leptos::prelude::*;

/// A wide table, which scrolls horizontally on a narrow screen.
#[component]
pub fn ScrollableTable(#[prop(into)] label: String, children: Children) -> impl IntoView {
    view! {
        <div class="table-box" role="region" aria-label=label tabindex="0">
            {children()}
        </div>
    }
}

/// The button that loads the next page of a list. Hidden on the last page.
#[component]
pub fn LoadMore(
    #[prop(into)] has_more: Signal<bool>,
    #[prop(into)] pending: Signal<bool>,
    on_click: Callback<()>,
) -> impl IntoView {
    view! {
        <Show when=move || has_more.get()>
            <div class="load-more">
                <Button pending=pending on_click=on_click>"Show more"</Button>
            </div>
        </Show>
    }
}
