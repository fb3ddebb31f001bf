//! Signals that hold values of any type, in little code.
//!
//! Leptos makes a signal, a memo and a derived signal anew for each type of value, some kilobytes each time. What pages read,
//! choose and derive is of many types: here one signal holds them all. Plain words, numbers and yes or no go in Leptos's own.

use leptos::prelude::*;
use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;

/// A value of any type.
#[derive(Clone)]
pub struct Held {
    value: Arc<dyn Any + Send + Sync>,
    same: fn(&dyn Any, &dyn Any) -> bool,
}

impl Held {
    /// Holds a value that counts as changed whenever it is set.
    pub fn new<T: Send + Sync + 'static>(value: T) -> Self {
        Self { value: Arc::new(value), same: |_, _| false }
    }

    /// Holds a value that can be compared.
    fn compared<T: PartialEq + Send + Sync + 'static>(value: T) -> Self {
        fn same<T: PartialEq + 'static>(one: &dyn Any, other: &dyn Any) -> bool {
            one.downcast_ref::<T>() == other.downcast_ref::<T>()
        }
        Self { value: Arc::new(value), same: same::<T> }
    }

    /// The value, which was held as a `T`.
    pub fn value<T: 'static>(&self) -> &T {
        let Some(value) = self.value.downcast_ref() else { unreachable!("it was held as what it is read as") };
        value
    }

    /// Changes the value, which was held as a `T`: in place, unless somebody else looks at it.
    pub fn change<T: Clone + Send + Sync + 'static>(&mut self, change: impl FnOnce(&mut T)) {
        if let Some(value) = Arc::get_mut(&mut self.value).and_then(|value| value.downcast_mut()) {
            return change(value);
        }
        let mut value = self.value::<T>().clone();
        change(&mut value);
        self.value = Arc::new(value);
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        (self.same)(&*self.value, &*other.value)
    }
}

/// Works out a value, given the one before.
type Follow = Box<dyn Fn(Option<&Held>) -> Held + Send + Sync>;

/// A value that is set: a [`RwSignal`] of whatever type.
pub struct Cell<T> {
    held: RwSignal<Held>,
    of: PhantomData<fn() -> T>,
}

/// A value that follows others: a [`Signal`] or [`Memo`] of whatever type.
pub struct Value<T> {
    held: Signal<Held>,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Cell<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Cell<T> {}

impl<T> Clone for Value<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Value<T> {}

impl<T: Clone + Send + Sync + 'static> Cell<T> {
    /// Begins with `value`.
    pub fn new(value: T) -> Self {
        Self { held: RwSignal::new(Held::new(value)), of: PhantomData }
    }

    /// The value; tracked.
    pub fn get(self) -> T {
        self.held.get().value::<T>().clone()
    }

    /// The value; not tracked.
    pub fn get_untracked(self) -> T {
        self.held.get_untracked().value::<T>().clone()
    }

    /// Looks at the value; tracked.
    pub fn with<U>(self, look: impl FnOnce(&T) -> U) -> U {
        look(self.held.get().value())
    }

    /// Looks at the value; not tracked.
    pub fn with_untracked<U>(self, look: impl FnOnce(&T) -> U) -> U {
        look(self.held.get_untracked().value())
    }

    /// Replaces the value, unless what it belongs to is gone.
    pub fn set(self, value: T) {
        self.held.try_set(Held::new(value));
    }

    /// Changes the value, unless what it belongs to is gone.
    pub fn update(self, change: impl FnOnce(&mut T)) {
        let mut change = Some(change);
        update_held(self.held, &mut |held| {
            if let Some(change) = change.take() {
                held.change(change);
            }
        });
    }
}

/// Apart, so that there is one of it.
fn update_held(signal: RwSignal<Held>, change: &mut dyn FnMut(&mut Held)) {
    signal.try_update(|held| change(held));
}

impl<T: Clone + Send + Sync + 'static> From<Cell<T>> for Value<T> {
    fn from(cell: Cell<T>) -> Self {
        Self::of(cell.held.into())
    }
}

impl<T: Clone + Send + Sync + 'static> Value<T> {
    /// What `held` holds, always as a `T`.
    pub(crate) fn of(held: Signal<Held>) -> Self {
        Self { held, of: PhantomData }
    }

    /// What `read` gives, worked out whenever it is looked at.
    pub fn derive(read: impl Fn() -> T + Send + Sync + 'static) -> Self {
        let read: Box<dyn Fn() -> Held + Send + Sync> = Box::new(move || Held::new(read()));
        Self::of(Signal::derive(read))
    }

    /// What `read` gives, worked out whenever something that it looks at changes; only another value counts as a change.
    pub fn memo(read: impl Fn() -> T + Send + Sync + 'static) -> Self
    where
        T: PartialEq,
    {
        Self::following(move |_| read())
    }

    /// As [`Value::memo`], where `read` is also given the value before.
    pub fn following(read: impl Fn(Option<&T>) -> T + Send + Sync + 'static) -> Self
    where
        T: PartialEq,
    {
        let read: Follow = Box::new(move |before| Held::compared(read(before.map(Held::value))));
        Self::of(Memo::new(read).into())
    }

    /// The value; tracked.
    pub fn get(self) -> T {
        self.held.get().value::<T>().clone()
    }

    /// The value; not tracked.
    pub fn get_untracked(self) -> T {
        self.held.get_untracked().value::<T>().clone()
    }

    /// Looks at the value; tracked.
    pub fn with<U>(self, look: impl FnOnce(&T) -> U) -> U {
        look(self.held.get().value())
    }

    /// Looks at the value; not tracked.
    pub fn with_untracked<U>(self, look: impl FnOnce(&T) -> U) -> U {
        look(self.held.get_untracked().value())
    }
}

/// Runs `act` once the page has been drawn, and again whenever a signal that it looks at changes.
pub fn effect(act: impl FnMut() + 'static) {
    let mut act: Box<dyn FnMut()> = Box::new(act);
    Effect::new(move |_| act());
}

/// Calls `changed` with the value of `read` whenever it is another; not for the first.
pub fn on_change<T: Clone + PartialEq + 'static>(read: impl Fn() -> T + 'static, changed: impl Fn(T) + 'static) {
    let mut before = None;
    effect(move || {
        let now = read();
        if before.replace(now.clone()).is_some_and(|before| before != now) {
            untrack(|| changed(now));
        }
    });
}
