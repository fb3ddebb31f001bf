//! The table of a list. On a narrow screen, its rows are cards.

use super::order::{order, texts};
use super::state::ListState;
use super::toolbar::{ColumnHead, Selection, Toolbar};
use super::{ListSpec, count};
use crate::components::*;
use crate::erased::ErasedMemo;
use crate::virtual_rows::{ALL_RENDERED, RowHeight, VirtualRows};
use leptos::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use web_sys::MouseEvent;

/// The height of a row in a long list in pixels, as in `style/list.css`: with one line, and with two.
const ROW_HEIGHT: [f64; 2] = [45.0, 57.0];
/// The height of a card in a long list without its cells, as in `style/list.css`.
const CARD_SPACE: f64 = 25.0;
/// The height of the cell with the check box in a card.
const CARD_CHECK_BOX: f64 = 30.0;

/// Renders the cells of a row, without the one of its check box.
pub type Cells<T> = Arc<dyn Fn(ErasedMemo<T>) -> AnyView + Send + Sync>;

/// A row with its identifier.
type Identified<T> = (String, T);

/// What a list and its rows share.
struct Shared<T: 'static> {
    spec: StoredValue<Arc<ListSpec<T>>>,
    state: ListState,
    all: ErasedMemo<Arc<Vec<T>>>,
    /// The positions of the shown rows, in their order.
    order: ErasedMemo<Arc<Vec<u32>>>,
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

impl<T: Clone + Send + Sync + 'static> Shared<T> {
    fn spec(self) -> Arc<ListSpec<T>> {
        self.spec.get_value()
    }

    /// The shown rows that are selected. Tracked.
    fn selected_rows(self) -> Vec<T> {
        let spec = self.spec();
        self.state.selected.with(|selected| {
            if selected.is_empty() {
                return Vec::new();
            }
            self.in_order(|row| selected.contains(&(spec.id)(row)).then(|| row.clone()))
        })
    }

    /// Calls `read` on the shown rows in their order. Tracked.
    fn in_order<U>(self, read: impl Fn(&T) -> Option<U>) -> Vec<U> {
        self.all.with(|all| {
            let rows = |order: &Arc<Vec<u32>>| {
                order.iter().filter_map(|position| all.get(*position as usize)).filter_map(&read).collect()
            };
            self.order.with(rows)
        })
    }

    /// Selects a row or takes it out of the selection. With Shift: all rows from the last one to it.
    fn toggle(self, id: &str, with_range: bool) {
        let selects = !self.state.selected.with_untracked(|selected| selected.contains(id));
        let anchor = self.state.anchor.get_value();
        let spec = self.spec();
        let range = if with_range && anchor != id {
            let ids = untrack(|| self.in_order(|row| Some((spec.id)(row))));
            let position = |wanted: &str| ids.iter().position(|id| id == wanted);
            position(&anchor)
                .zip(position(id))
                .and_then(|(one, other)| Some(ids.get(one.min(other)..=one.max(other))?.to_vec()))
        } else {
            None
        };
        self.state.selected.update(|selected| {
            for id in range.unwrap_or_else(|| vec![id.to_owned()]) {
                if selects {
                    selected.insert(id);
                } else {
                    selected.remove(&id);
                }
            }
        });
        self.state.anchor.set_value(id.to_owned());
    }

    /// The rows near the window.
    fn rows_in(self, visible: VirtualRows) -> ErasedMemo<Vec<Identified<T>>>
    where
        T: PartialEq,
    {
        ErasedMemo::new(move |_| {
            let range = visible.range.get();
            let spec = self.spec();
            let row = |row: &T| ((spec.id)(row), row.clone());
            self.all.with(|all| {
                let positions = |order: &Arc<Vec<u32>>| order.get(range.clone()).map(<[_]>::to_vec).unwrap_or_default();
                let positions = self.order.with(positions).into_iter();
                positions.filter_map(|position| all.get(position as usize).map(row)).collect::<Vec<_>>()
            })
        })
    }

    /// The number of shown rows, and of all.
    fn summary(self) -> String {
        let nouns = self.spec().nouns;
        match (self.order.with(|order| order.len()), self.all.with(|all| all.len())) {
            (shown, all) if shown == all => count(all, nouns),
            (shown, all) => format!("{} of {}", crate::intl::number(shown as u64), count(all, nouns)),
        }
    }

    fn select_all(self, select: bool) {
        let spec = self.spec();
        let ids = if select { untrack(|| self.in_order(|row| Some((spec.id)(row)))) } else { Vec::new() };
        self.state.selected.set(ids.into_iter().collect::<BTreeSet<_>>());
    }
}

/// The height of the rows of a long list.
fn row_height<T>(spec: &ListSpec<T>) -> RowHeight {
    let cells: f64 = spec.columns.iter().map(|column| column.cell.card_height()).sum();
    let check_box = if spec.actions.is_empty() { 0.0 } else { CARD_CHECK_BOX };
    RowHeight { table: ROW_HEIGHT[usize::from(spec.has_two_lines())], card: CARD_SPACE + cells + check_box }
}

/// Replaces the table, if no row matches.
fn no_match(noun: &'static str, state: ListState) -> impl IntoView {
    let show_all = Callback::new(move |()| state.show_all());
    view! {
        <div class="empty">
            <p>{format!("No {noun} matches.")}</p>
            <Button on_click=show_all>"Show all"</Button>
        </div>
    }
}

/// A list with its search, filters and selection.
#[component]
pub fn List<T>(rows: ErasedMemo<Arc<Vec<T>>>, spec: ListSpec<T>, cells: Cells<T>) -> impl IntoView
where
    T: Clone + PartialEq + Send + Sync + 'static,
{
    let state = ListState::new(spec.parameters, spec.filters.iter().map(|filter| filter.parameter));
    let spec = Arc::new(spec);
    let stored = StoredValue::new(spec.clone());
    // Only a search needs the texts.
    let searches = Memo::new(move |_| state.search.with(|search| !search.trim().is_empty()));
    let texts = ErasedMemo::new(move |_| {
        if searches.get() { Arc::new(rows.with(|rows| texts(rows, &stored.get_value()))) } else { Arc::default() }
    });
    let order = ErasedMemo::new(move |_| {
        let (search, sort, filters) = (state.search.get(), state.sort.get(), state.filter_values());
        let order =
            |rows: &Arc<Vec<T>>| texts.with(|texts| order(rows, texts, &stored.get_value(), &search, &sort, &filters));
        Arc::new(rows.with(order))
    });
    let shared = Shared { spec: stored, state, all: rows, order };
    let length = Memo::new(move |_| order.with(|order| order.len()));
    let selects = !spec.actions.is_empty();
    let columns = spec.columns.len() + usize::from(selects);
    let visible = VirtualRows::new(length, row_height(&spec));
    let start = Memo::new(move |_| visible.range.get().start);
    let window_rows = shared.rows_in(visible);
    let ids =
        ErasedMemo::new(move |_| window_rows.with(|rows| rows.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>()));
    let class = move || {
        let long = if length.get() > ALL_RENDERED { " long" } else { "" };
        let lines = if stored.get_value().has_two_lines() { " two-line-rows" } else { "" };
        format!("cards-on-phone list{long}{lines}")
    };
    let nouns = spec.nouns;
    let summary = Signal::derive(move || shared.summary());
    let heads = move || {
        let head = |column: &super::Column<T>| {
            let (name, label, title) = (column.name, column.label, column.title);
            view! { <ColumnHead name=name label=label title=title is_sorted=column.compare.is_some() state=state /> }
        };
        stored.get_value().columns.iter().map(head).collect_view()
    };
    let filters = spec.filters.iter().map(|filter| (filter.label, filter.options)).collect();
    let sorts = spec.columns.iter().filter(|column| column.compare.is_some());
    let sorts = sorts.map(|column| (column.name, column.label)).collect();
    let actions = Memo::new(move |_| {
        let selected = shared.selected_rows();
        let spec = stored.get_value();
        let action =
            |action: &super::Action<T>| (action.verb, selected.iter().filter(|row| (action.applies)(row)).count());
        (selected.len(), spec.actions.iter().map(action).collect::<Vec<_>>())
    });
    let run = Callback::new(move |position: usize| {
        let selected = untrack(|| shared.selected_rows());
        if let Some(action) = stored.get_value().actions.get(position) {
            action.run.run(selected.into_iter().filter(action.applies).collect());
        }
    });
    let change = spec.change;
    let progress = Signal::derive(move || change.progress());
    let select_all = Callback::new(move |select: bool| shared.select_all(select));
    view! {
        <Toolbar label=spec.label filters=filters sorts=sorts state=state />
        <Selection
            summary=summary
            shown=length
            selects=selects
            actions=actions
            nouns=nouns
            progress=progress
            select_all=select_all
            run=run
            state=state
        />
        <Show
            when=move || length.get() != 0
            fallback=move || no_match(nouns[0], state)
        >
            {
                let cells = cells.clone();
                view! {
                    <ScrollableTable label=spec.label>
                        <table class=class aria-rowcount=move || length.get() + 1>
                            <thead>
                                <tr>
                                    {selects.then(|| view! { <th class="list-select"><span class="visually-hidden">"Select"</span></th> })}
                                    {heads()}
                                </tr>
                            </thead>
                            <tbody node_ref=visible.body>
                                {visible.space_above(columns)}
                                <For each=move || ids.get() key=|id| id.clone() let:id>
                                    <Row id=id rows=window_rows start=start shared=shared cells=cells.clone() />
                                </For>
                                {visible.space_below(columns)}
                            </tbody>
                        </table>
                    </ScrollableTable>
                }
            }
        </Show>
    }
}

#[component]
fn Row<T>(
    id: String,
    rows: ErasedMemo<Vec<Identified<T>>>,
    /// The position of the first of these rows in the list.
    start: Memo<usize>,
    shared: Shared<T>,
    cells: Cells<T>,
) -> impl IntoView
where
    T: Clone + PartialEq + Send + Sync + 'static,
{
    let of_row = StoredValue::new(id);
    let position = move |rows: &Vec<Identified<T>>| of_row.with_value(|id| rows.iter().position(|(of, _)| of == id));
    // The head is the first row of the table.
    let row_number = move || rows.with(position).map(|position| start.get() + position + 2);
    let find = move |rows: &Vec<Identified<T>>| position(rows).and_then(|n| rows.get(n)).map(|(_, row)| row.clone());
    let first = rows.with_untracked(find)?;
    let spec = shared.spec();
    let name = (spec.name)(&first);
    // A removed row keeps its last content until it disappears.
    let item =
        ErasedMemo::new(move |last: Option<&T>| rows.with(find).unwrap_or_else(|| last.unwrap_or(&first).clone()));
    let is_selected =
        Memo::new(move |_| shared.state.selected.with(|selected| of_row.with_value(|id| selected.contains(id))));
    let check_box = (!spec.actions.is_empty()).then(|| {
        view! {
            <td class="list-select" data-label="Selected">
                <input
                    type="checkbox"
                    aria-label=format!("Select {name}")
                    prop:checked=move || is_selected.get()
                    on:click=move |event: MouseEvent| of_row.with_value(|id| shared.toggle(id, event.shift_key()))
                />
            </td>
        }
    });
    Some(view! {
        <tr aria-rowindex=row_number class:selected=move || is_selected.get()>
            {check_box}
            {cells(item)}
        </tr>
    })
}
