//! Toasts: short reports of what an action has done, with *Undo* where it can be undone.
//!
//! They belong to the layout, so that a report is also shown after the screen was left.

use crate::components::*;
use crate::erased::ErasedSignal;
use crate::rpc::RpcError;
use domain::Problem;
use gloo_timers::callback::Timeout;
use leptos::ev;
use leptos::prelude::*;
use leptos::task::spawn_local;
use std::pin::Pin;
use std::rc::Rc;

/// The largest number of toasts. A further one replaces the oldest.
const MAX_SHOWN: usize = 3;
/// The time after which a toast disappears, in milliseconds.
const TIMEOUT_MS: u32 = 6_000;
/// The time in which an action can be undone, in milliseconds.
const UNDO_TIMEOUT_MS: u32 = 12_000;

/// Undoes an action, and returns the report. It may run after the screen of the action was left, and must not read what belongs to it.
pub type Undo = Rc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<String, RpcError>>>>>;

/// The kind of a toast.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The action succeeded.
    Success,
    /// The action succeeded and can be undone.
    Undoable,
    /// The action failed. The toast stays until it is closed.
    Problem,
}

/// A report.
#[derive(Clone)]
struct Toast {
    id: u64,
    kind: Kind,
    text: String,
}

/// The toasts of the page, as a context.
#[derive(Clone, Copy)]
pub struct Toasts {
    shown: ErasedSignal<Vec<Toast>>,
    undo: StoredValue<Vec<(u64, Undo)>, LocalStorage>,
    last: StoredValue<u64>,
}

impl Toasts {
    /// Without toasts.
    pub fn new() -> Self {
        Self {
            shown: ErasedSignal::new(Vec::new()),
            undo: StoredValue::new_local(Vec::new()),
            last: StoredValue::new(0),
        }
    }

    /// Reports a success.
    pub fn show(self, text: String) {
        self.add(Kind::Success, text);
    }

    /// Reports a success that can be undone.
    pub fn show_undoable(self, text: String, undo: Undo) {
        let id = self.add(Kind::Undoable, text);
        self.undo.update_value(|all| all.push((id, undo)));
    }

    /// Reports a failure.
    pub fn show_problem(self, problem: &Problem) {
        self.add(Kind::Problem, problem.detail.clone());
    }

    fn add(self, kind: Kind, text: String) -> u64 {
        let id = self.last.get_value() + 1;
        self.last.set_value(id);
        self.shown.update(|shown| {
            if shown.len() >= MAX_SHOWN {
                shown.remove(0);
            }
            shown.push(Toast { id, kind, text });
        });
        self.forget_undo();
        id
    }

    fn close(self, id: u64) {
        self.shown.update(|shown| shown.retain(|toast| toast.id != id));
        self.forget_undo();
    }

    fn forget_undo(self) {
        let shown: Vec<_> = self.shown.with_untracked(|shown| shown.iter().map(|toast| toast.id).collect());
        self.undo.update_value(|all| all.retain(|(id, _)| shown.contains(id)));
    }

    fn undo(self, id: u64) {
        let undo = self.undo.with_value(|all| all.iter().find(|(of, _)| *of == id).map(|(_, undo)| undo.clone()));
        self.close(id);
        let Some(undo) = undo else { return };
        spawn_local(async move {
            match undo().await {
                Ok(text) => self.show(text),
                Err(RpcError(problem)) => self.show_problem(&problem),
            }
        });
    }

    /// Undoes the latest action that can be undone. Returns whether there is one.
    pub fn undo_latest(self) -> bool {
        let latest = self.undo.with_value(|all| all.last().map(|(id, _)| *id));
        if let Some(id) = latest {
            self.undo(id);
        }
        latest.is_some()
    }
}

/// Returns the toasts.
pub fn use_toasts() -> Toasts {
    expect_context::<Toasts>()
}

/// The region with the toasts. No toast disappears while the pointer or the focus is in it, or while the page is hidden.
#[component]
pub fn ToastRegion() -> impl IntoView {
    let toasts = use_toasts();
    let (has_pointer, has_focus) = (RwSignal::new(false), RwSignal::new(false));
    let is_hidden = RwSignal::new(document().hidden());
    let visibility = window_event_listener_untyped("visibilitychange", move |_| {
        is_hidden.set(document().hidden());
    });
    on_cleanup(move || visibility.remove());
    let is_held = Memo::new(move |_| has_pointer.get() || has_focus.get() || is_hidden.get());
    // A toast that is removed below the pointer or with the focus reports neither.
    Effect::new(move |_| {
        if toasts.shown.with(Vec::is_empty) {
            has_pointer.set(false);
            has_focus.set(false);
        }
    });
    view! {
        <div
            class="toasts"
            role="status"
            aria-live="polite"
            on:mouseenter=move |_| has_pointer.set(true)
            on:mouseleave=move |_| has_pointer.set(false)
            on:focusin=move |_| has_focus.set(true)
            on:focusout=move |_| has_focus.set(false)
        >
            <For each=move || toasts.shown.get() key=|toast| toast.id let:toast>
                <ToastView toast=toast is_held=is_held />
            </For>
        </div>
    }
}

#[component]
fn ToastView(toast: Toast, is_held: Memo<bool>) -> impl IntoView {
    let toasts = use_toasts();
    let Toast { id, kind, text } = toast;
    let timeout = match kind {
        Kind::Success => Some(TIMEOUT_MS),
        Kind::Undoable => Some(UNDO_TIMEOUT_MS),
        Kind::Problem => None,
    };
    let timer = StoredValue::new_local(None::<Timeout>);
    Effect::new(move |_| {
        let is_held = is_held.get();
        timer.set_value(timeout.filter(|_| !is_held).map(|timeout| Timeout::new(timeout, move || toasts.close(id))));
    });
    let (class, icon) = match kind {
        Kind::Problem => ("toast problem", Icon::Warning),
        _ => ("toast", Icon::Check),
    };
    let on_key = move |event: ev::KeyboardEvent| {
        if event.key() == "Escape" {
            event.stop_propagation();
            toasts.close(id);
        }
    };
    view! {
        <div class=class on:keydown=on_key>
            <IconView icon=icon />
            <p>{text}</p>
            {(kind == Kind::Undoable)
                .then(|| {
                    let undo = Callback::new(move |()| toasts.undo(id));
                    view! { <Button variant=ButtonVariant::Quiet on_click=undo>"Undo"</Button> }
                })}
            <button type="button" class="button quiet small" aria-label="Close message" on:click=move |_| toasts.close(id)>
                <IconView icon=Icon::Close />
            </button>
        </div>
    }
}
