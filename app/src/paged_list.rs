//! Lists that are read in pages and follow live updates, without moving the rows that somebody reads.

use crate::components::*;
use crate::erased::ErasedMemo;
use crate::focus;
use crate::history_entry::HistoryEntry;
use crate::live::{LiveEvent, use_live};
use crate::query::{Mutation, Query};
use crate::rpc::RpcError;
use domain::delivery::DeliverySummary;
use domain::pagination::{Page, PageQuery};
use domain::reservation::Reservation;
use domain::{Problem, ProblemKind};
use leptos::prelude::*;
use leptos_router::hooks::use_location;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

/// The number of rows of the first page.
const PAGE: usize = 50;
/// The number of rows from which *Show more* reads the largest page.
const MANY: usize = 200;
/// The largest number of rows that are restored from the history.
const MAX_RESTORED: usize = 2_000;
/// The scroll position in pixels from which the reader is not at the top of the page any more.
const TOP: f64 = 8.0;

/// A row of a list that is sorted by creation, newest first.
pub trait Row: Clone + Send + Sync + 'static {
    /// The identifier. It contains a ULID, so that identifiers are in the order of creation.
    fn id(&self) -> &str;
    /// Whether `other` is a later state of the same object.
    fn is_older_than(&self, other: &Self) -> bool;
}

impl Row for DeliverySummary {
    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn is_older_than(&self, other: &Self) -> bool {
        self.updated_at < other.updated_at
    }
}

impl Row for Reservation {
    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn is_older_than(&self, other: &Self) -> bool {
        self.updated_at < other.updated_at || self.provisioning.updated_at < other.provisioning.updated_at
    }
}

/// The position of a new row in a list. `None` if it belongs to a page that has not been read. `has_more`: there is one.
pub fn position<T: Row>(rows: &[T], new: &T, has_more: bool) -> Option<usize> {
    rows.iter().position(|row| row.id() < new.id()).or_else(|| (!has_more).then_some(rows.len()))
}

/// Replaces a row, unless the new state is older: a live update can arrive after a newer response. Returns a row that the list does
/// not contain.
pub fn replace<T: Row>(rows: &mut [T], new: T) -> Option<T> {
    let Some(old) = rows.iter_mut().find(|old| old.id() == new.id()) else { return Some(new) };
    if !new.is_older_than(old) {
        *old = new;
    }
    None
}

/// The rows that have been read.
#[derive(Clone)]
struct Rows<T> {
    /// New rows above the others that are not shown yet.
    newer: Vec<T>,
    /// Shared, because each reader of the list gets a copy of this structure.
    shown: Arc<Vec<T>>,
    next_cursor: Option<String>,
}

impl<T: Row> Rows<T> {
    /// Applies a live update. `holds`: new rows wait in `newer`.
    fn apply(&mut self, new: T, matches: bool, holds: bool) {
        if !matches {
            self.newer.retain(|row| row.id() != new.id());
            Arc::make_mut(&mut self.shown).retain(|row| row.id() != new.id());
            return;
        }
        let replaced =
            replace(&mut self.newer, new).and_then(|new| replace(Arc::make_mut(&mut self.shown).as_mut_slice(), new));
        let Some(new) = replaced else { return };
        match position(&self.shown, &new, self.next_cursor.is_some()) {
            None => {}
            Some(_) if holds && !self.shown.is_empty() => self.newer.insert(0, new),
            Some(position) => Arc::make_mut(&mut self.shown).insert(position, new),
        }
    }

    fn show_newer(&mut self) {
        let shown = Arc::make_mut(&mut self.shown);
        shown.append(&mut self.newer);
        shown.sort_by(|one, other| other.id().cmp(one.id()));
    }
}

type FetchPage<T> = Rc<dyn Fn(PageQuery) -> Pin<Box<dyn Future<Output = Result<Page<T>, RpcError>>>>>;

/// A list that is read in pages, newest first.
///
/// - Another fetch keeps the number of rows.
/// - While the reader is not at the top of the page or has selected a row, new rows wait until the reader asks for them.
/// - Going back in the history and reloading the page restore the number of rows.
pub struct PagedList<T> {
    query: Query<Rows<T>>,
    more: Mutation,
    fetch: StoredValue<FetchPage<T>, LocalStorage>,
    /// Whether the reader has selected a row.
    selected: StoredValue<bool>,
}

impl<T> Clone for PagedList<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for PagedList<T> {}

impl<T: Row> PagedList<T> {
    /// Starts to fetch. `filter` is tracked: another filter starts a new list.
    pub fn new<F, Fut>(filter: impl Fn() -> F + Copy + 'static, fetch: impl Fn(F, PageQuery) -> Fut + 'static) -> Self
    where
        F: Clone + PartialEq + Send + Sync + 'static,
        Fut: Future<Output = Result<Page<T>, RpcError>> + 'static,
    {
        let location = use_location();
        let fetch: FetchPage<T> = Rc::new(move |page| Box::pin(fetch(untrack(filter), page)));
        let last_filter = StoredValue::new(None::<F>);
        let pages = fetch.clone();
        let selected = StoredValue::new(false);
        let query = Query::with_previous(move |query: Query<Rows<T>>| {
            let filter = filter();
            let last = last_filter.try_update_value(|last| last.replace(filter.clone())).flatten();
            let start = match last {
                None => {
                    let (path, search) = (location.pathname.get_untracked(), location.search.get_untracked());
                    Start::First(
                        HistoryEntry::of(&path, &search).map_or(PAGE, |entry| entry.rows.clamp(PAGE, MAX_RESTORED)),
                    )
                }
                Some(last) if last == filter => Start::Again,
                Some(_) => Start::First(PAGE),
            };
            fetch_rows(query, start, pages.clone(), selected)
        });
        let list = Self { query, more: Mutation::new(), fetch: StoredValue::new_local(fetch), selected };
        // *Show more* is repeated when the connection is back.
        use_live().on(move |event| {
            let failed =
                |problem: &Option<Problem>| problem.as_ref().is_some_and(|p| p.kind == ProblemKind::Unavailable);
            if matches!(event, LiveEvent::Resync) && list.more.problem.with_untracked(failed) {
                list.fetch_more();
            }
        });
        list
    }

    /// Applies a live update. A row that does not match the filter leaves the list.
    pub fn apply(self, new: T, matches: bool) {
        self.query.update(move |rows| {
            let holds = holds(rows, self.selected);
            rows.apply(new, matches, holds);
        });
    }

    /// The rows that are shown. Not tracked.
    pub fn shown(self) -> Option<Arc<Vec<T>>> {
        self.query.get_untracked().map(|rows| rows.shown)
    }

    /// Sets whether the reader has selected a row, whose place new rows must not move.
    pub fn set_selected(self, selected: bool) {
        self.selected.set_value(selected);
    }

    /// Fetches the list again.
    pub fn refetch(self) {
        self.query.refetch();
    }

    /// Fetches the list again after a short delay, once for all calls in the meantime.
    pub fn refetch_soon(self) {
        self.query.refetch_soon();
    }

    fn show_newer(self) {
        let first = self.query.get_untracked().and_then(|rows| Some(rows.newer.first()?.id().to_owned()));
        self.query.update(Rows::show_newer);
        window().scroll_to_with_x_and_y(0.0, 0.0);
        focus_row(first);
    }

    fn fetch_more(self) {
        let Some(cursor) = self.query.get_untracked().and_then(|rows| rows.next_cursor) else { return };
        // A reader who asks again wants many rows.
        let shown = self.query.get_untracked().map_or(PAGE, |rows| rows.shown.len());
        let limit = if shown < MANY { PAGE as u32 } else { PageQuery::MAX };
        let response = (self.fetch.get_value())(PageQuery { limit: Some(limit), cursor: Some(cursor.clone()) });
        self.more.run(response, move |next| {
            let first = next.items.first().map(|row| row.id().to_owned());
            self.query.update(|rows| {
                // Another fetch in the meantime can have read these rows.
                if rows.next_cursor.as_ref() == Some(&cursor) {
                    Arc::make_mut(&mut rows.shown).extend(next.items);
                    rows.next_cursor = next.next_cursor;
                }
            });
            HistoryEntry::save_rows(self.query.try_get_untracked().map_or(0, |rows| rows.shown.len()));
            focus_row(first);
        });
    }

    /// Shows the rows with `content`, the number of new rows above it, and *Show more* below it.
    pub fn view<V: IntoView + 'static>(
        self,
        content: impl Fn(ErasedMemo<Vec<T>>) -> V + Send + Sync + 'static,
    ) -> impl IntoView {
        self.view_shared(move |rows| content(ErasedMemo::derive(move || rows.with(|rows| rows.to_vec()))))
    }

    /// Like [`Self::view`], for content that reads a part of many rows.
    pub fn view_shared<V: IntoView + 'static>(
        self,
        content: impl Fn(ErasedMemo<Arc<Vec<T>>>) -> V + Send + Sync + 'static,
    ) -> impl IntoView {
        self.query.view(move |rows| {
            let shown = ErasedMemo::derive(move || rows.with(|rows| rows.shown.clone()));
            let newer = Signal::derive(move || rows.with(|rows| rows.newer.len()));
            let has_more = Signal::derive(move || rows.with(|rows| rows.next_cursor.is_some()));
            view! {
                <NewRows count=newer on_click=Callback::new(move |()| self.show_newer()) />
                {content(shown)}
                <LoadMore has_more=has_more pending=self.more.pending on_click=Callback::new(move |()| self.fetch_more()) />
                <FormProblem problem=self.more.problem />
            }
        })
    }
}

/// Whether new rows wait instead of moving the others: the reader has scrolled down or selected a row, or other rows wait.
fn holds<T>(rows: &Rows<T>, selected: StoredValue<bool>) -> bool {
    !rows.newer.is_empty() || selected.try_get_value() == Some(true) || window().scroll_y().unwrap_or_default() > TOP
}

/// The reason of a fetch.
#[derive(Clone, Copy)]
enum Start {
    /// A new list, with its number of rows.
    First(usize),
    /// The same list again.
    Again,
}

/// Fetches the first pages: the new rows, and as many others as the list shows.
async fn fetch_rows<T: Row>(
    query: Query<Rows<T>>,
    start: Start,
    fetch: FetchPage<T>,
    selected: StoredValue<bool>,
) -> Result<Rows<T>, RpcError> {
    // *Show more* can add rows during the fetch.
    let current = move || query.try_get_untracked().filter(|_| matches!(start, Start::Again));
    let mut items: Vec<T> = Vec::new();
    let mut cursor = None;
    loop {
        let wanted = match (start, current()) {
            (Start::First(rows), _) => rows,
            (Start::Again, Some(rows)) => rows.shown.len().max(PAGE) + new_rows(&items, &rows.shown),
            (Start::Again, None) => PAGE,
        };
        if items.len() >= wanted {
            break;
        }
        let limit = u32::try_from(wanted - items.len()).unwrap_or(PageQuery::MAX).min(PageQuery::MAX);
        let page = fetch(PageQuery { limit: Some(limit), cursor }).await?;
        items.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let newer = match current() {
        // If no row is left, the position cannot be kept.
        Some(rows) if holds(&rows, selected) => {
            Some(new_rows(&items, &rows.shown)).filter(|new| *new < items.len()).unwrap_or(0)
        }
        _ => 0,
    };
    let shown = items.split_off(newer);
    Ok(Rows { newer: items, shown: Arc::new(shown), next_cursor: cursor })
}

/// The number of rows above the first one that is shown.
fn new_rows<T: Row>(rows: &[T], shown: &[T]) -> usize {
    let Some(first) = shown.first() else { return 0 };
    rows.iter().take_while(|row| row.id() > first.id()).count()
}

/// Focuses the link of a row, once it is rendered. The button that was pressed can be gone.
fn focus_row(id: Option<String>) {
    let Some(id) = id else { return };
    request_animation_frame(move || {
        if let Ok(Some(link)) = document().query_selector(&format!("#main a[href$=\"/{id}\"]")) {
            focus::move_to(&link);
        }
    });
}

/// The number of new rows above the list, and the button that shows them. It takes no space, so that it moves no row.
#[component]
fn NewRows(count: Signal<usize>, on_click: Callback<()>) -> impl IntoView {
    let text = move || format!("{} new", crate::intl::number(count.get() as u64));
    view! {
        <div class="new-rows" role="status">
            <Show when=move || count.get() != 0>
                <Button variant=ButtonVariant::Primary on_click=on_click>{text}</Button>
            </Show>
        </div>
    }
}
