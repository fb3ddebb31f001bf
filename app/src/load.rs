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
    value: RwSignal<Option<Result<T, Problem>>>,
    version: RwSignal<u64>,
    /// Whether [`Load::again_soon`] is about to read.
    soon: StoredValue<bool>,
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
    let value = RwSignal::new(None);
    let version = RwSignal::new(0_u64);
    let latest = StoredValue::new(0_u64);
    Effect::new(move |_| {
        version.track();
        latest.update_value(|n| *n += 1);
        let mine = latest.get_value();
        let reading = source();
        spawn_local(async move {
            let read = reading.await.map_err(|RpcError(problem)| problem);
            // A slower answer to an older question must not replace a newer one; and the page may be gone.
            if latest.try_get_value() == Some(mine) {
                value.try_set(Some(read));
            }
        });
    });
    Load { value, version, soon: StoredValue::new(false) }
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
        self.value.with(|value| match value {
            Some(Ok(value)) => Some(value.clone()),
            _ => None,
        })
    }

    /// The value, once read; not tracked.
    pub fn get_untracked(self) -> Option<T> {
        untrack(|| self.get())
    }

    /// Changes the value at hand, as the live feed tells.
    pub fn update(self, change: impl FnOnce(&mut T)) {
        self.value.try_update(|value| {
            if let Some(Ok(value)) = value {
                change(value);
            }
        });
    }

    /// Replaces the value at hand.
    pub fn set(self, value: T) {
        self.value.try_set(Some(Ok(value)));
    }

    /// Shows the value, or a skeleton, or what went wrong. `content` runs once the first value is there and again only
    /// after a failure: it reads later values by the signal it is given.
    pub fn show<V: IntoView + 'static>(
        self,
        content: impl Fn(Signal<T>) -> V + Send + Sync + 'static,
    ) -> impl IntoView {
        let state = Memo::new(move |_| {
            self.value.with(|value| match value {
                None => None,
                Some(Ok(_)) => Some(Ok(())),
                Some(Err(problem)) => Some(Err(problem.clone())),
            })
        });
        let last = StoredValue::new(None::<T>);
        let value = Signal::derive(move || {
            self.value.with(|value| {
                if let Some(Ok(value)) = value {
                    last.set_value(Some(value.clone()));
                }
            });
            // Reached only after the first value came: `content` runs no sooner.
            last.get_value()
        });
        move || match state.get() {
            None => Skeleton().into_any(),
            Some(Err(problem)) => {
                view! { <ErrorState problem=problem retry=Callback::new(move |()| self.again()) /> }.into_any()
            }
            Some(Ok(())) => match value.get_untracked() {
                Some(first) => content(Signal::derive(move || value.get().unwrap_or_else(|| first.clone()))).into_any(),
                None => Skeleton().into_any(),
            },
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
