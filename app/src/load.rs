//! Reading from the server: what is shown while it loads, what stays shown while it is read again, what is said when it
//! fails.

use crate::components::{ErrorState, Skeleton, focus_first_invalid};
use crate::rpc::RpcError;
use crate::values::{Held, Value, effect};
use domain::Problem;
use domain::pagination::{Page, PageQuery};
use gloo_timers::callback::Timeout;
use leptos::prelude::*;
use leptos::task::spawn_local;
use std::marker::PhantomData;
use std::pin::Pin;

/// A value that is read from the server, and again whenever the signals it was read with change or [`Load::again`] says so.
pub struct Load<T> {
    reader: Reader,
    of: PhantomData<fn() -> T>,
}

/// A [`Load`] of whatever type.
#[derive(Clone, Copy)]
struct Reader {
    /// The last that could be read.
    value: RwSignal<Option<Held>>,
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

impl<T> Clone for Load<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Load<T> {}

/// Work under way that ends in a value or a problem; boxed, so that what waits for it is one piece of code.
type Work<T> = Pin<Box<dyn Future<Output = Result<T, RpcError>>>>;

/// Reads by `source`, whose signals are tracked.
pub fn load<T, F, Fut>(source: F) -> Load<T>
where
    T: Send + Sync + 'static,
    F: Fn() -> Fut + 'static,
    Fut: Future<Output = Result<T, RpcError>> + 'static,
{
    let reader = Reader::new(Box::new(move || {
        let answer = source();
        Box::pin(async move { answer.await.map(Held::new) })
    }));
    Load { reader, of: PhantomData }
}

impl Reader {
    fn new(source: Box<dyn Fn() -> Work<Held>>) -> Self {
        let reader = Self {
            value: RwSignal::new(None),
            problem: RwSignal::new(None),
            version: RwSignal::new(0),
            soon: StoredValue::new(false),
            reading: StoredValue::new(Reading::default()),
        };
        effect(move || {
            reader.version.track();
            reader.reading.update_value(|reading| {
                *reading = Reading { latest: reading.latest + 1, under_way: true, stale: false };
            });
            let mine = reader.reading.get_value().latest;
            let answer = source();
            spawn_local(async move { reader.answered(mine, answer.await) });
        });
        reader
    }

    /// Keeps the answer to reading number `mine`.
    fn answered(self, mine: u64, answer: Result<Held, RpcError>) {
        // The page may be gone.
        let Some(now) = self.reading.try_get_value().filter(|now| now.latest == mine) else { return };
        self.reading.update_value(|reading| reading.under_way = false);
        match answer {
            Ok(value) => {
                self.problem.try_set(None);
                self.value.try_set(Some(value));
            }
            Err(RpcError(problem)) => {
                self.problem.try_set(Some(problem));
            }
        }
        if now.stale {
            self.again();
        }
    }

    fn again(self) {
        self.version.try_update(|n| *n += 1);
    }

    fn again_soon(self) {
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

    fn update(self, change: &mut dyn FnMut(&mut Held)) {
        self.reading.try_update_value(|reading| reading.stale |= reading.under_way);
        self.value.try_update(|value| {
            if let Some(value) = value {
                change(value);
            }
        });
    }

    fn show(self, content: Box<dyn Fn(Signal<Held>) -> AnyView + Send + Sync>) -> impl IntoView {
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
                let first = self.value.get_untracked();
                let shown =
                    first.map(|first| content(Signal::derive(move || self.value.get().unwrap_or(first.clone()))));
                view! {
                    {move || above.get().map(|problem| view! { <div class="above"><ErrorState problem=problem retry=retry /></div> }.into_any())}
                    {shown}
                }
                .into_any()
            }
        }
    }
}

impl<T: Clone + Send + Sync + 'static> Load<T> {
    /// Reads again; what is shown stays until the answer comes.
    pub fn again(self) {
        self.reader.again();
    }

    /// Reads again in a moment, once for however many calls: for figures that many events move.
    pub fn again_soon(self) {
        self.reader.again_soon();
    }

    /// The value, once read.
    pub fn get(self) -> Option<T> {
        self.reader.value.get().map(|held| held.value::<T>().clone())
    }

    /// The value, once read; not tracked.
    pub fn get_untracked(self) -> Option<T> {
        self.reader.value.get_untracked().map(|held| held.value::<T>().clone())
    }

    /// Changes the value at hand, as the live feed tells.
    pub fn update(self, change: impl FnOnce(&mut T)) {
        let mut change = Some(change);
        self.reader.update(&mut |held| {
            if let Some(change) = change.take() {
                held.change(change);
            }
        });
    }

    /// Replaces the value at hand.
    pub fn set(self, value: T) {
        self.reader.value.try_set(Some(Held::new(value)));
    }

    /// Shows the value, or a skeleton, or what went wrong. `content` runs once the first value is there and reads later ones by
    /// the value it is given: when reading again fails, what is there stays (somebody may be filling in a form), below a
    /// notice.
    pub fn show<V: IntoView + 'static>(self, content: impl Fn(Value<T>) -> V + Send + Sync + 'static) -> impl IntoView {
        self.reader.show(Box::new(move |held| content(Value::of(held)).into_any()))
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
        self.run_boxed(Box::pin(async move {
            let made = work.await?;
            Ok(Box::new(move || done(made)) as Box<dyn FnOnce()>)
        }));
    }

    fn run_boxed(self, work: Work<Box<dyn FnOnce()>>) {
        if self.busy.get_untracked() {
            return;
        }
        self.busy.set(true);
        self.problem.set(None);
        spawn_local(async move {
            let result = work.await;
            self.busy.try_set(false);
            match result {
                Ok(done) => done(),
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
    pub fn other_than(self, fields: &'static [&'static str]) -> Signal<Option<Problem>> {
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
