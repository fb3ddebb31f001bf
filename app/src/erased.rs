//! Signals whose value has an erased type.
//!
//! Leptos compiles its signals and memos again for each type of value, and the page has about 50 such types. Without erased
//! types the page is 15 % larger (docs/adr/0005-page-size.md). Texts, numbers and booleans use Leptos's own signals.

use leptos::prelude::*;
use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;

/// A value of an erased type.
#[derive(Clone)]
struct Erased {
    value: Arc<dyn Any + Send + Sync>,
    equals: fn(&dyn Any, &dyn Any) -> bool,
}

impl Erased {
    /// Erases a value that differs from every other one, so that each assignment is a change.
    fn new<T: Send + Sync + 'static>(value: T) -> Self {
        Self { value: Arc::new(value), equals: |_, _| false }
    }

    /// Erases a value that can be compared.
    fn comparable<T: PartialEq + Send + Sync + 'static>(value: T) -> Self {
        fn equals<T: PartialEq + 'static>(one: &dyn Any, other: &dyn Any) -> bool {
            one.downcast_ref::<T>() == other.downcast_ref::<T>()
        }
        Self { value: Arc::new(value), equals: equals::<T> }
    }

    /// The value. `T` is the type that was erased: the signals below guarantee it.
    fn value<T: 'static>(&self) -> &T {
        let Some(value) = self.value.downcast_ref() else { unreachable!("the signal has one type of value") };
        value
    }

    /// Changes the value: in place if it is not shared, otherwise a copy.
    fn update<T: Clone + Send + Sync + 'static>(&mut self, update: impl FnOnce(&mut T)) {
        if let Some(value) = Arc::get_mut(&mut self.value).and_then(|value| value.downcast_mut()) {
            return update(value);
        }
        let mut value = self.value::<T>().clone();
        update(&mut value);
        self.value = Arc::new(value);
    }
}

impl PartialEq for Erased {
    fn eq(&self, other: &Self) -> bool {
        (self.equals)(&*self.value, &*other.value)
    }
}

/// A [`RwSignal`] with an erased type.
pub struct ErasedSignal<T> {
    signal: RwSignal<Erased>,
    value_type: PhantomData<fn() -> T>,
}

/// A [`Memo`] or derived [`Signal`] with an erased type.
pub struct ErasedMemo<T> {
    signal: Signal<Erased>,
    value_type: PhantomData<fn() -> T>,
}

impl<T> Clone for ErasedSignal<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for ErasedSignal<T> {}

impl<T> Clone for ErasedMemo<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for ErasedMemo<T> {}

impl<T: Clone + Send + Sync + 'static> ErasedSignal<T> {
    /// Creates a signal.
    pub fn new(value: T) -> Self {
        Self { signal: RwSignal::new(Erased::new(value)), value_type: PhantomData }
    }

    /// The value. Tracked.
    pub fn get(self) -> T {
        self.with(T::clone)
    }

    /// The value. Not tracked.
    pub fn get_untracked(self) -> T {
        self.with_untracked(T::clone)
    }

    /// The value, unless the signal is disposed. Not tracked.
    pub fn try_get_untracked(self) -> Option<T> {
        self.signal.try_get_untracked().map(|value| value.value::<T>().clone())
    }

    /// Reads the value. Tracked.
    pub fn with<U>(self, read: impl FnOnce(&T) -> U) -> U {
        read(self.signal.get().value())
    }

    /// Reads the value. Not tracked.
    pub fn with_untracked<U>(self, read: impl FnOnce(&T) -> U) -> U {
        read(self.signal.get_untracked().value())
    }

    /// Replaces the value. Does nothing if the signal is disposed.
    pub fn set(self, value: T) {
        self.signal.set(Erased::new(value));
    }

    /// Changes the value. Does nothing if the signal is disposed.
    pub fn update(self, update: impl FnOnce(&mut T)) {
        let mut update = Some(update);
        update_erased(self.signal, &mut |value| {
            if let Some(update) = update.take() {
                value.update(update);
            }
        });
    }
}

/// Not generic, so that it is compiled once.
fn update_erased(signal: RwSignal<Erased>, update: &mut dyn FnMut(&mut Erased)) {
    signal.update(|value| update(value));
}

impl<T: Clone + Send + Sync + 'static> From<ErasedSignal<T>> for ErasedMemo<T> {
    fn from(signal: ErasedSignal<T>) -> Self {
        Self { signal: signal.signal.into(), value_type: PhantomData }
    }
}

/// Computes a value from the previous one.
type Compute = Box<dyn Fn(Option<&Erased>) -> Erased + Send + Sync>;

impl<T: Clone + Send + Sync + 'static> ErasedMemo<T> {
    /// Creates a memo. `compute` receives the previous value.
    pub fn new(compute: impl Fn(Option<&T>) -> T + Send + Sync + 'static) -> Self
    where
        T: PartialEq,
    {
        let compute: Compute = Box::new(move |previous| Erased::comparable(compute(previous.map(Erased::value))));
        Self { signal: Memo::new(compute).into(), value_type: PhantomData }
    }

    /// Creates a derived signal, which computes its value at each access.
    pub fn derive(compute: impl Fn() -> T + Send + Sync + 'static) -> Self {
        let compute: Box<dyn Fn() -> Erased + Send + Sync> = Box::new(move || Erased::new(compute()));
        Self { signal: Signal::derive(compute), value_type: PhantomData }
    }

    /// The value. Tracked.
    pub fn get(self) -> T {
        self.with(T::clone)
    }

    /// The value. Not tracked.
    pub fn get_untracked(self) -> T {
        self.with_untracked(T::clone)
    }

    /// Reads the value. Tracked.
    pub fn with<U>(self, read: impl FnOnce(&T) -> U) -> U {
        read(self.signal.get().value())
    }

    /// Reads the value. Not tracked.
    pub fn with_untracked<U>(self, read: impl FnOnce(&T) -> U) -> U {
        read(self.signal.get_untracked().value())
    }
}
