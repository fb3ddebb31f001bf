//! The search, the filters, the count and the selection of a list, and the heads of its columns.

use super::state::ListState;
use super::{Verb, count, phrase};
use crate::components::*;
use leptos::prelude::*;

/// The head of a column, with the button that sorts by it.
#[component]
pub fn ColumnHead(
    name: &'static str,
    label: &'static str,
    title: Option<&'static str>,
    is_sorted: bool,
    state: ListState,
) -> impl IntoView {
    let order = move || {
        state.sort.with(|sort| match sort.strip_prefix('-') {
            Some(column) if column == name => "descending",
            None if sort == name => "ascending",
            _ => "none",
        })
    };
    let class = format!("column-{name}");
    if !is_sorted {
        let hidden = if name == "actions" { "visually-hidden" } else { "" };
        return view! { <th class=class title=title><span class=hidden>{label}</span></th> }.into_any();
    }
    view! {
        <th class=class title=title aria-sort=order>
            <button type="button" class="sort" on:click=move |_| state.sort_by(name)>
                {label}
                <IconView icon=Icon::Chevron />
            </button>
        </th>
    }
    .into_any()
}

/// The choices of a filter, pairs of value and label.
type Choices = Signal<Vec<(String, String)>>;

/// The search field and the filters.
#[component]
pub fn Toolbar(
    label: &'static str,
    filters: Vec<(&'static str, Choices)>,
    sorts: Vec<(&'static str, &'static str)>,
    state: ListState,
) -> impl IntoView {
    let filter = |((label, options), value): ((&'static str, Choices), RwSignal<String>)| {
        let all = (String::new(), "All".to_owned());
        let options = Signal::derive(move || std::iter::once(all.clone()).chain(options.get()).collect::<Vec<_>>());
        view! { <Select label=label value=value options=options /> }
    };
    let filters = filters.into_iter().zip(state.filters.get_value()).map(filter).collect_view();
    let sort_options: Vec<_> = std::iter::once((String::new(), "Default".to_owned()))
        .chain(sorts.into_iter().flat_map(|(name, label)| {
            [(name.to_owned(), format!("{label}, ascending")), (format!("-{name}"), format!("{label}, descending"))]
        }))
        .collect();
    view! {
        <div class="list-tools" role="search" aria-label=label>
            <div class="field">
                <input
                    type="search"
                    aria-label=format!("Search {}", label.to_lowercase())
                    placeholder="Search"
                    autocomplete="off"
                    spellcheck="false"
                    prop:value=move || state.search.get()
                    on:input=move |event| state.search.set(event_target_value(&event))
                />
            </div>
            {filters}
            // Cards have no heads of columns.
            <div class="phone-only"><Select label="Sort" value=state.sort options=sort_options /></div>
        </div>
    }
}

/// The number of rows, and the actions on the selected ones.
#[component]
pub fn Selection(
    summary: Signal<String>,
    /// The number of shown rows.
    shown: Memo<usize>,
    /// Whether rows can be selected.
    selects: bool,
    /// The number of selected rows, and the verb of each action with the number of rows that it would change.
    actions: Memo<(usize, Vec<(Verb, usize)>)>,
    nouns: [&'static str; 2],
    /// The number of changed rows and of all, while a change runs.
    progress: Signal<Option<(usize, usize)>>,
    select_all: Callback<bool>,
    /// Runs the action at a position.
    run: Callback<usize>,
    state: ListState,
) -> impl IntoView {
    let has_selection = Memo::new(move |_| actions.with(|(selected, _)| *selected != 0));
    let has_all = Memo::new(move |_| has_selection.get() && actions.with(|(selected, _)| *selected == shown.get()));
    let is_running = Signal::derive(move || progress.get().is_some());
    let button = move |(position, (verb, number)): (usize, (Verb, usize))| {
        (number != 0).then(|| {
            let on_click = Callback::new(move |()| run.run(position));
            view! { <Button disabled=is_running on_click=on_click>{phrase(verb, &count(number, nouns))}</Button> }
        })
    };
    let clear = Callback::new(move |()| state.selected.set(Default::default()));
    let check_box = move || {
        view! {
            <label class="row small select-all">
                <input
                    type="checkbox"
                    prop:checked=move || has_all.get()
                    prop:indeterminate=move || has_selection.get() && !has_all.get()
                    on:change=move |event| select_all.run(event_target_checked(&event))
                />
                "Select all"
            </label>
        }
    };
    view! {
        <div class="list-bar" class:selecting=move || has_selection.get()>
            <Show when=move || selects && shown.get() != 0>{check_box()}</Show>
            <p class="small muted" role="status">
                {move || {
                    let selected = actions.with(|(selected, _)| *selected);
                    match progress.get() {
                        Some((done, all)) => {
                            format!("{} of {} done", crate::intl::number(done as u64), crate::intl::number(all as u64))
                        }
                        None if selected != 0 => format!("{} selected", crate::intl::number(selected as u64)),
                        None => summary.get(),
                    }
                }}
            </p>
            <Show when=move || has_selection.get()>
                <div class="row">
                    {move || actions.with(|(_, actions)| actions.iter().copied().enumerate().map(button).collect_view())}
                    <Button variant=ButtonVariant::Quiet on_click=clear>"Clear selection"</Button>
                </div>
            </Show>
        </div>
    }
}
