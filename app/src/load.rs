//! Reading from the server: what is shown while it loads, what stays shown while it is read again, what is said when it
//! fails.

use crate::components::{ErrorState, Skeleton, focus_first_invalid};
use crate::rpc::RpcError;
use domain::Problem;
use domain::page::{Page, PageQuery};
use gloo_timers::callback::Timeout;
use leptos::prelude::*;
use leptos::task::spawn_local;

/// A value that is read from the server, and again whenever the signals it was read with change or [`Load::again`] says so.
pub struct Load<T: Send + Sync + 'static> {
    /// The last that could be read.
    value: RwSignal<Option<T>>,
    /// Why the last reading failed, if it did.
    problem: RwSignal<Option<Problem>>,
    version: RwSignal<u64>,
    /// Whether [`Load::again_soon`] is about to read.
    soon: StoredValue<bool>,
    reading: StoredValue<Reading>,
}

/// What goes on while a value is read.
#[derive(Clone, Copy, Default)]
struct Reading {
    /// Counts the readings: a slower answer to an older question must not replace a newer one.
    latest: u64,
    under_way: bool,
    /// Whether the feed told of a change meanwhile, which the answer may not hold yet.
    stale: bool,
}

/// How soon [`Load::again_soon`] reads.
const SOON_MS: u32 = 400;

impl<T: Send + Sync + 'static> Clone for Load<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Send + Sync + 'static> Copy for Load<T> {}

/// Reads by `source`, whose signals are tracked.
pub fn load<T, F, Fut>(source: F) -> Load<T>
where
    T: Send + Sync + 'static,
    F: Fn() -> Fut + 'static,
    Fut: Future<Output = Result<T, RpcError>> + 'static,
{
    let load = Load {
        value: RwSignal::new(None),
        problem: RwSignal::new(None),
        version: RwSignal::new(0),
        soon: StoredValue::new(false),
        reading: StoredValue::new(Reading::default()),
    };
    read_by(load, move || Box::pin(source()));
    load
}

/// A reading under way. Boxed, as the work of a [`Write`]: one piece of code for each type of value, not for each function.
type Work<T> = std::pin::Pin<Box<dyn Future<Output = Result<T, RpcError>>>>;

fn read_by<T: Send + Sync + 'static>(load: Load<T>, source: impl Fn() -> Work<T> + 'static) {
    let source: Box<dyn Fn() -> Work<T>> = Box::new(source);
    Effect::new(move |_| {
        load.version.track();
        load.reading.update_value(|reading| {
            *reading = Reading { latest: reading.latest + 1, under_way: true, stale: false };
        });
        let mine = load.reading.get_value().latest;
        let answer = source();
        spawn_local(async move {
            let answer = answer.await;
            // The page may be gone.
            let Some(now) = load.reading.try_get_value().filter(|now| now.latest == mine) else { return };
            load.reading.update_value(|reading| reading.under_way = false);
            match answer {
                Ok(value) => {
                    load.problem.try_set(None);
                    load.value.try_set(Some(value));
                }
                Err(RpcError(problem)) => {
                    load.problem.try_set(Some(problem));
                }
            }
            if now.stale {
                load.version.try_update(|n| *n += 1);
            }
        });
    });
}

impl<T: Clone + Send + Sync + 'static> Load<T> {
    /// Reads again; what is shown stays until the answer comes.
    pub fn again(self) {
        self.version.try_update(|n| *n += 1);
    }

    /// Reads again in a moment, once for however many calls: for figures that many events move.
    pub fn again_soon(self) {
        if self.soon.try_get_value() != Some(false) {
            return;
        }
        self.soon.set_value(true);
        Timeout::new(SOON_MS, move || {
            self.soon.try_update_value(|soon| *soon = false);
            self.again();
        })
        .forget();
    }

    /// The value, once read.
    pub fn get(self) -> Option<T> {
        self.value.get()
    }

    /// The value, once read; not tracked.
    pub fn get_untracked(self) -> Option<T> {
        self.value.get_untracked()
    }

    /// Changes the value at hand, as the live feed tells.
    pub fn update(self, change: impl FnOnce(&mut T)) {
        self.reading.try_update_value(|reading| reading.stale |= reading.under_way);
        self.value.try_update(|value| {
            if let Some(value) = value {
                change(value);
            }
        });
    }

    /// Replaces the value at hand.
    pub fn set(self, value: T) {
        self.value.try_set(Some(value));
    }

    /// Shows the value, or a skeleton, or what went wrong. `content` runs once the first value is there and reads later ones by
    /// the signal it is given: when reading again fails, what is there stays (somebody may be filling in a form), below a
    /// notice.
    pub fn show<V: IntoView + 'static>(
        self,
        content: impl Fn(Signal<T>) -> V + Send + Sync + 'static,
    ) -> impl IntoView {
        let there = Memo::new(move |_| self.value.with(Option::is_some));
        let gone = |problem: &Problem| {
            use domain::ProblemKind::{Forbidden, NotFound, Unauthenticated};
            matches!(problem.kind, Forbidden | NotFound | Unauthenticated)
        };
        let instead = Memo::new(move |_| self.problem.get().filter(|problem| !there.get() || gone(problem)));
        let above = Memo::new(move |_| self.problem.get().filter(|problem| there.get() && !gone(problem)));
        let retry = Callback::new(move |()| self.again());
        move || match (instead.get(), there.get()) {
            (Some(problem), _) => view! { <ErrorState problem=problem retry=retry /> }.into_any(),
            (None, false) => Skeleton().into_any(),
            (None, true) => {
                // Never empty again once it is there.
                let first = self.get_untracked();
                let value = Signal::derive(move || self.get());
                let shown =
                    first.map(|first| content(Signal::derive(move || value.get().unwrap_or_else(|| first.clone()))));
                view! {
                    {move || above.get().map(|problem| view! { <div class="above"><ErrorState problem=problem retry=retry /></div> })}
                    {shown}
                }
                .into_any()
            }
        }
    }
}

/// A write: busy while it runs, with the problem it ended in.
#[derive(Clone, Copy)]
pub struct Write {
    /// Whether it runs.
    pub busy: RwSignal<bool>,
    /// What went wrong last time.
    pub problem: RwSignal<Option<Problem>>,
}

impl Write {
    /// Nothing written yet.
    pub fn new() -> Self {
        Self { busy: RwSignal::new(false), problem: RwSignal::new(None) }
    }

    /// Runs `work` unless it runs already; `done` gets what it made.
    pub fn run<T: 'static>(
        self,
        work: impl Future<Output = Result<T, RpcError>> + 'static,
        done: impl FnOnce(T) + 'static,
    ) {
        self.run_boxed(Box::pin(work), Box::new(done));
    }

    fn run_boxed<T: 'static>(self, work: Work<T>, done: Box<dyn FnOnce(T)>) {
        if self.busy.get_untracked() {
            return;
        }
        self.busy.set(true);
        self.problem.set(None);
        spawn_local(async move {
            let result = work.await;
            self.busy.try_set(false);
            match result {
                Ok(made) => done(made),
                Err(RpcError(problem)) => self.refuse(problem),
            }
        });
    }

    /// Shows a problem that was found before anything was sent.
    pub fn refuse(self, problem: Problem) {
        let fields = !problem.errors.is_empty();
        self.problem.try_set(Some(problem));
        if fields {
            focus_first_invalid();
        }
    }

    /// The problem where it names no field: forms whose every field shows its own.
    pub fn general(self) -> Signal<Option<Problem>> {
        Signal::derive(move || self.problem.get().filter(|problem| problem.errors.is_empty()))
    }

    /// The problem as far as `fields` do not show it beside themselves.
    pub fn other_than<const N: usize>(self, fields: [&'static str; N]) -> Signal<Option<Problem>> {
        Signal::derive(move || {
            let mut problem = self.problem.get()?;
            if problem.errors.is_empty() {
                return Some(problem);
            }
            problem.errors.retain(|error| !fields.contains(&error.field.as_str()));
            let first = problem.errors.first()?.message.clone();
            problem.detail = first;
            Some(problem)
        })
    }

    /// The message for a field.
    pub fn message(self, field: impl Into<String>) -> Signal<Option<String>> {
        let field = field.into();
        Signal::derive(move || {
            self.problem.with(|problem| problem.as_ref().and_then(|p| p.message_for(&field)).map(str::to_owned))
        })
    }
}

/// Reads the next page of `list` behind what is there.
pub fn read_more<T, Fut>(list: Load<Page<T>>, write: Write, read: impl FnOnce(PageQuery) -> Fut)
where
    T: Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Page<T>, RpcError>> + 'static,
{
    let Some(cursor) = list.get_untracked().and_then(|page| page.next_cursor) else { return };
    let reading = read(PageQuery { limit: None, cursor: Some(cursor) });
    write.run(reading, move |next: Page<T>| {
        list.update(|page| {
            page.items.extend(next.items);
            page.next_cursor = next.next_cursor;
        });
    });
}
