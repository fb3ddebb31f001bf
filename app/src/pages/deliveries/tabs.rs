//! The tabs of a delivery.

use crate::focus;
use leptos::prelude::*;
use web_sys::KeyboardEvent;

/// A tab of a delivery.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tab {
    /// The response of the shown attempt.
    Response,
    /// Its request.
    Request,
    /// Its steps.
    Timing,
    /// All attempts.
    Attempts,
    /// The previous values of the event's fields.
    Changes,
}

impl Tab {
    const ALL: [Self; 5] = [Self::Response, Self::Request, Self::Timing, Self::Attempts, Self::Changes];

    /// The id of the element.
    pub fn id(self) -> &'static str {
        match self {
            Self::Response => "tab-response",
            Self::Request => "tab-request",
            Self::Timing => "tab-timing",
            Self::Attempts => "tab-attempts",
            Self::Changes => "tab-changes",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Response => "Response",
            Self::Request => "Request",
            Self::Timing => "Timing",
            Self::Attempts => "Attempts",
            Self::Changes => "Changes",
        }
    }
}

/// The list of tabs. Arrow keys move between them.
#[component]
pub fn Tabs(
    selected: Memo<Tab>,
    on_select: Callback<Tab>,
    /// The number of attempts.
    attempts: Memo<usize>,
    /// Whether the event has previous values.
    has_changes: Memo<bool>,
) -> impl IntoView {
    let tabs = move || Tab::ALL.into_iter().filter(|tab| *tab != Tab::Changes || has_changes.get()).collect::<Vec<_>>();
    let on_key = move |event: KeyboardEvent| {
        let tabs = untrack(tabs);
        let at = tabs.iter().position(|tab| *tab == selected.get_untracked()).unwrap_or_default();
        let next = match event.key().as_str() {
            "ArrowRight" => (at + 1) % tabs.len(),
            "ArrowLeft" => (at + tabs.len() - 1) % tabs.len(),
            "Home" => 0,
            "End" => tabs.len() - 1,
            _ => return,
        };
        event.prevent_default();
        if let Some(tab) = tabs.get(next) {
            on_select.run(*tab);
            if let Some(element) = document().get_element_by_id(tab.id()) {
                focus::move_to(&element);
            }
        }
    };
    let button = move |tab: Tab| {
        let is_selected = Memo::new(move |_| selected.get() == tab);
        let label = move || match (tab, attempts.get()) {
            (Tab::Attempts, number) if number > 0 => format!("Attempts · {number}"),
            (tab, _) => tab.label().to_owned(),
        };
        view! {
            <button
                type="button"
                role="tab"
                id=tab.id()
                aria-selected=move || is_selected.get().to_string()
                aria-controls="delivery-panel"
                tabindex=move || if is_selected.get() { "0" } else { "-1" }
                on:click=move |_| on_select.run(tab)
            >
                {label}
            </button>
        }
    };
    view! {
        <div class="tabs" role="tablist" aria-label="Exchange" on:keydown=on_key>
            {move || tabs().into_iter().map(button).collect_view()}
        </div>
    }
}
