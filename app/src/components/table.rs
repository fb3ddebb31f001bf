//! Parts of lists.

use super::Button;
use crate::erased::ErasedMemo;
use domain::pagination::Page;
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
pub fn LoadMore<T: Clone + Send + Sync + 'static>(
    page: ErasedMemo<Page<T>>,
    #[prop(into)] pending: Signal<bool>,
    on_click: Callback<()>,
) -> impl IntoView {
    view! {
        <Show when=move || page.with(|page| page.next_cursor.is_some())>
            <div class="load-more">
                <Button pending=pending on_click=on_click>"Show more"</Button>
            </div>
        </Show>
    }
}
