//! Reads from the server that stay current, and writes to it.
//!
//! Both are built from signals. Leptos's `LocalResource` replaces its data by an error and does not report whether a
//! fetch is in progress when a live update arrives. Its `Action` starts a second request while the first is pending.

use crate::components::{ErrorState, FieldMessage, Skeleton, focus_first_invalid};
use crate::erased::{ErasedMemo, ErasedSignal};
use crate::live::{Live, LiveEvent};
use crate::rpc::RpcError;
use domain::{FieldError, Problem, ProblemKind};
use gloo_timers::callback::Timeout;
use leptos::prelude::*;
use leptos::task::spawn_local;
use std::pin::Pin;

/// The delay of [`Query::refetch_soon`], in milliseconds.
const REFETCH_DELAY_MS: u32 = 400;
/// The time in which the index of deliveries usually follows the log, in milliseconds.
const INDEX_DELAY_MS: u32 = 3_000;
/// The delay before a failed fetch is repeated, in milliseconds. It doubles with each failure.
const MIN_RETRY_MS: f64 = 1_000.0;
/// The longest delay before a failed fetch is repeated, in milliseconds.
const MAX_RETRY_MS: f64 = 30_000.0;

/// Data that is read from the server.
///
/// - A fetch starts at once, again when a signal that it reads changes, on [`Query::refetch`], and when live updates may be missing.
/// - A fetch that fails because Berth cannot be reached, or over the rate limit, is repeated.
/// - The data stays visible during a later fetch and after a failed one.
/// - An older response never replaces a newer one.
/// - A live update during a fetch causes another fetch, because the response can be older than the update.
pub struct Query<T> {
    /// The newest response.
    data: ErasedSignal<Option<T>>,
    state: QueryState,
}

/// The part of a query that does not depend on the type of its data.
#[derive(Clone, Copy)]
struct QueryState {
    /// The error of the last fetch, if it failed.
    problem: RwSignal<Option<Problem>>,
    /// Whether data has been received.
    has_data: RwSignal<bool>,
    refetch: Trigger,
    progress: StoredValue<Progress>,
}

/// The state of the fetches of a query.
#[derive(Clone, Copy, Default)]
struct Progress {
    /// The number of the last started fetch.
    latest: u64,
    fetching: bool,
    /// Whether a live update arrived during the fetch.
    updated: bool,
    /// Whether the timer of [`Query::refetch_soon`] runs.
    refetch_scheduled: bool,
    /// Whether the timer of [`Query::refetch_with_index`] runs.
    index_scheduled: bool,
    /// The number of failed fetches since the last successful one.
    failures: i32,
}

impl<T> Clone for Query<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Query<T> {}

/// Stores a response. Boxed, like the content, so that [`QueryState`] is compiled once.
type Response = Result<Box<dyn FnOnce()>, RpcError>;
type Fetch = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Response>>>>;

/// Whether another fetch would fail too: the object does not exist, or the user may not see it.
fn is_missing(kind: ProblemKind) -> bool {
    matches!(kind, ProblemKind::NotFound | ProblemKind::Forbidden)
}

impl QueryState {
    fn new() -> Self {
        Self {
            problem: RwSignal::new(None),
            has_data: RwSignal::new(false),
            refetch: Trigger::new(),
            progress: StoredValue::new(Progress::default()),
        }
    }

    fn start(self, fetch: Fetch) {
        if let Some(live) = use_context::<Live>() {
            live.on(move |event| {
                if matches!(event, LiveEvent::Resync) {
                    self.resync();
                }
            });
        }
        Effect::new(move |_| {
            self.refetch.track();
            self.progress.update_value(|progress| {
                progress.latest += 1;
                progress.fetching = true;
                progress.updated = false;
            });
            let number = self.progress.get_value().latest;
            let response = fetch();
            spawn_local(async move { self.receive(number, response.await) });
        });
    }

    /// Stores the response to fetch `number`, unless a newer fetch has started or the page is gone.
    fn receive(self, number: u64, response: Response) {
        let Some(progress) = self.progress.try_get_value().filter(|progress| progress.latest == number) else { return };
        let failed = response.is_err();
        self.progress.update_value(|progress| {
            progress.fetching = false;
            progress.failures = if failed { progress.failures + 1 } else { 0 };
        });
        match response {
            Ok(store) => {
                self.problem.set(None);
                store();
                self.has_data.set(true);
            }
            Err(RpcError(problem)) => {
                let kind = problem.kind;
                if matches!(kind, ProblemKind::Unavailable | ProblemKind::RateLimited) {
                    self.retry_later(number, &problem);
                }
                self.problem.set(Some(problem));
                if is_missing(kind) {
                    return;
                }
            }
        }
        if progress.updated {
            self.refetch.notify();
        }
    }

    /// Repeats the failed fetch `number` after a delay, unless another fetch has started. The delay is random, so that the pages of
    /// many people do not fetch at once.
    fn retry_later(self, number: u64, problem: &Problem) {
        let failures = self.progress.get_value().failures;
        let delay = (MIN_RETRY_MS * 2_f64.powi(failures - 1)).min(MAX_RETRY_MS) * (0.5 + js_sys::Math::random());
        let delay = delay + problem.retry_after.unwrap_or_default() as f64 * 1_000.0;
        Timeout::new(delay as u32, move || {
            if self.progress.try_get_value().is_some_and(|progress| progress.latest == number) {
                self.refetch.notify();
            }
        })
        .forget();
    }

    /// Fetches again, because live updates may be missing: at once, or after the fetch in progress.
    fn resync(self) {
        let is_fetching = self.progress.try_update_value(|progress| {
            progress.updated |= progress.fetching;
            progress.fetching
        });
        let is_missing =
            self.problem.try_with_untracked(|problem| problem.as_ref().is_some_and(|p| is_missing(p.kind)));
        if (is_fetching, is_missing) == (Some(false), Some(false)) {
            self.refetch.notify();
        }
    }

    /// Fetches again after a delay, unless the timer with this flag runs.
    fn refetch_in(self, delay_ms: u32, scheduled: fn(&mut Progress) -> &mut bool) {
        let start = self.progress.try_update_value(|progress| !std::mem::replace(scheduled(progress), true));
        if start != Some(true) {
            return;
        }
        Timeout::new(delay_ms, move || {
            self.progress.try_update_value(|progress| *scheduled(progress) = false);
            self.refetch.notify();
        })
        .forget();
    }

    fn view(self, content: Box<dyn Fn() -> AnyView + Send + Sync>) -> impl IntoView {
        let has_data = Memo::new(move |_| self.has_data.get());
        // Without a session the content stays, with the input of its forms: the user can log in again.
        let replaces_data = move |problem: &Problem| !has_data.get() || is_missing(problem.kind);
        let instead = Memo::new(move |_| self.problem.get().filter(replaces_data));
        let above = Memo::new(move |_| self.problem.get().filter(|problem| !replaces_data(problem)));
        let retry = Callback::new(move |()| self.refetch.notify());
        move || match (instead.get(), has_data.get()) {
            (Some(problem), _) => view! { <ErrorState problem=problem retry=retry /> }.into_any(),
            (None, false) => Skeleton().into_any(),
            (None, true) => {
                let problem = move || {
                    let problem = above.get()?;
                    Some(view! { <div class="query-problem"><ErrorState problem=problem retry=retry /></div> })
                };
                view! {
                    {problem}
                    {content()}
                }
                .into_any()
            }
        }
    }
}

impl<T: Clone + Send + Sync + 'static> Query<T> {
    /// Starts to fetch. The signals that `fetch` reads before its first await are tracked.
    pub fn new<Fut>(fetch: impl Fn() -> Fut + 'static) -> Self
    where
        Fut: Future<Output = Result<T, RpcError>> + 'static,
    {
        Self::with_previous(move |_| fetch())
    }

    /// Starts to fetch. `fetch` receives the query, whose data it may read.
    pub fn with_previous<Fut>(fetch: impl Fn(Self) -> Fut + 'static) -> Self
    where
        Fut: Future<Output = Result<T, RpcError>> + 'static,
    {
        let query = Self { data: ErasedSignal::new(None), state: QueryState::new() };
        query.state.start(Box::new(move || {
            let response = fetch(query);
            Box::pin(async move {
                let data = response.await?;
                Ok(Box::new(move || query.data.set(Some(data))) as Box<dyn FnOnce()>)
            })
        }));
        query
    }

    /// Fetches again.
    pub fn refetch(self) {
        self.state.refetch.notify();
    }

    /// Fetches again after a short delay, once for all calls in the meantime. For data that many events change.
    pub fn refetch_soon(self) {
        self.state.refetch_in(REFETCH_DELAY_MS, |progress| &mut progress.refetch_scheduled);
    }

    /// Like [`Self::refetch_soon`], and once more when the index of deliveries has followed the log. For data from the index.
    pub fn refetch_with_index(self) {
        self.refetch_soon();
        self.state.refetch_in(INDEX_DELAY_MS, |progress| &mut progress.index_scheduled);
    }

    /// The data, once received. Tracked.
    pub fn get(self) -> Option<T> {
        self.data.get()
    }

    /// The data, once received. Not tracked.
    pub fn get_untracked(self) -> Option<T> {
        self.data.get_untracked()
    }

    /// The data, once received, unless the page is gone. For code that continues after a request. Not tracked.
    pub fn try_get_untracked(self) -> Option<T> {
        self.data.try_get_untracked().flatten()
    }

    /// Replaces the data by the response to a write.
    pub fn set(self, data: T) {
        self.data.set(Some(data));
        self.state.has_data.set(true);
    }

    /// Applies a live update to the data.
    pub fn update(self, apply: impl FnOnce(&mut T)) {
        self.state.progress.try_update_value(|progress| progress.updated |= progress.fetching);
        self.data.update(|data| {
            if let Some(data) = data {
                apply(data);
            }
        });
    }

    /// Shows the data, a skeleton until it arrives, or the problem.
    ///
    /// `content` runs once, so that a form in it keeps its input. It reads later data through its signal. The problem of a
    /// later fetch is shown above the content, unless the data is not available any more: it then replaces the content.
    pub fn view<V: IntoView + 'static>(
        self,
        content: impl Fn(ErasedMemo<T>) -> V + Send + Sync + 'static,
    ) -> impl IntoView {
        self.state.view(Box::new(move || {
            // Data is never removed, so the default is not used.
            let first = self.data.get_untracked();
            let data = first.map(|first| ErasedMemo::derive(move || self.data.get().unwrap_or_else(|| first.clone())));
            data.map(&content).into_any()
        }))
    }
}

/// A write to the server: whether it is pending, and the problem of the last one.
#[derive(Clone, Copy)]
pub struct Mutation {
    /// Whether a request is pending.
    pub pending: RwSignal<bool>,
    /// Why the last request failed.
    pub problem: RwSignal<Option<Problem>>,
}

impl Mutation {
    /// A mutation that has not run.
    pub fn new() -> Self {
        Self { pending: RwSignal::new(false), problem: RwSignal::new(None) }
    }

    /// Sends a request and calls `on_success` with the response, unless the user has left the screen meanwhile: its signals and
    /// callbacks are gone then. Does nothing while a request is pending.
    pub fn run<T: 'static>(
        self,
        request: impl Future<Output = Result<T, RpcError>> + 'static,
        on_success: impl FnOnce(T) + 'static,
    ) {
        self.run_to_end(request, move |data| {
            if !self.pending.is_disposed() {
                on_success(data);
            }
        });
    }

    /// Like [`Self::run`], but calls `on_success` also after the user has left the screen. For responses that concern the whole page,
    /// e.g. a log-in or a secret that is shown once. `on_success` must not read what belongs to the screen.
    pub fn run_to_end<T: 'static>(
        self,
        request: impl Future<Output = Result<T, RpcError>> + 'static,
        on_success: impl FnOnce(T) + 'static,
    ) {
        if self.pending.get_untracked() {
            return;
        }
        self.send(Box::pin(async move {
            let data = request.await?;
            Ok(Box::new(move || on_success(data)) as Box<dyn FnOnce()>)
        }));
    }

    fn send(self, request: Pin<Box<dyn Future<Output = Response>>>) {
        self.pending.set(true);
        self.problem.set(None);
        spawn_local(async move {
            let response = request.await;
            self.pending.set(false);
            match response {
                Ok(on_success) => on_success(),
                Err(RpcError(problem)) => self.reject(problem),
            }
        });
    }

    /// Shows a problem. Pages also report input errors with it before they send a request.
    pub fn reject(self, problem: Problem) {
        let has_field_errors = !problem.errors.is_empty();
        self.problem.set(Some(problem));
        if has_field_errors {
            focus_first_invalid();
        }
    }

    /// The problem if it has no field errors. For forms in which every field shows its own error.
    pub fn problem_without_fields(self) -> Signal<Option<Problem>> {
        Signal::derive(move || self.problem.get().filter(|problem| problem.errors.is_empty()))
    }

    /// The problem without the errors of `fields`, which show them themselves.
    pub fn problem_except(self, fields: &'static [&'static str]) -> Signal<Option<Problem>> {
        Signal::derive(move || {
            let mut problem = self.problem.get()?;
            if problem.errors.is_empty() {
                return Some(problem);
            }
            problem.errors.retain(|error| !fields.contains(&error.field.as_str()));
            problem.detail = problem.errors.first()?.message.clone();
            Some(problem)
        })
    }

    /// The error message of a field. It disappears when the user edits the field.
    pub fn field_error(self, field: impl Into<String>) -> FieldMessage {
        let field = field.into();
        let edited = field.clone();
        let text = Signal::derive(move || {
            self.problem.with(|problem| problem.as_ref().and_then(|p| p.message_for(&field)).map(str::to_owned))
        });
        FieldMessage::new(text, Callback::new(move |()| self.clear_errors(&[&edited])))
    }

    /// Removes the errors of fields, after the user has edited them.
    pub fn clear_errors(self, fields: &[&str]) {
        let is_listed = |error: &FieldError| fields.contains(&error.field.as_str());
        let has_any = |problem: &Option<Problem>| problem.as_ref().is_some_and(|p| p.errors.iter().any(is_listed));
        if !self.problem.with_untracked(has_any) {
            return;
        }
        self.problem.update(|problem| {
            if let Some(shown) = problem {
                shown.errors.retain(|error| !is_listed(error));
                if shown.errors.is_empty() {
                    *problem = None;
                }
            }
        });
    }
}
