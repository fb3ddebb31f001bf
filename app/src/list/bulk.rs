//! Changes of several rows, one request after the other, whose result is a toast.

use super::Verb;
use crate::rpc::RpcError;
use crate::toast::{Toasts, use_toasts};
use leptos::prelude::*;
use leptos::task::spawn_local;
use std::pin::Pin;
use std::rc::Rc;

/// Sends the request that changes a row.
pub type ChangeRow<T> = Rc<dyn Fn(T) -> Pin<Box<dyn Future<Output = Result<(), RpcError>>>>>;

/// The texts of a change.
#[derive(Clone, Copy)]
pub struct BulkText {
    /// The change in the past tense, e.g. `["Paused", ""]`.
    pub done: Verb,
    /// The reverse change in the past tense, e.g. `["Resumed", ""]`. `None` if the change cannot be undone.
    pub undone: Option<Verb>,
    /// The name of one row and of several.
    pub nouns: [&'static str; 2],
}

/// The progress of a change of several rows: how many are done, and of how many.
#[derive(Clone, Copy)]
pub struct BulkChange {
    progress: RwSignal<Option<(usize, usize)>>,
    toasts: Toasts,
}

impl BulkChange {
    /// Without a change.
    pub fn new() -> Self {
        Self { progress: RwSignal::new(None), toasts: use_toasts() }
    }

    /// The number of rows that are done, and of all, while a change runs. Tracked.
    pub fn progress(self) -> Option<(usize, usize)> {
        self.progress.get()
    }

    /// Changes rows, and reports the result in a toast, with *Undo* if the change can be undone. The first failure ends it. `after`
    /// is called at the end, also of the reverse change; it must not read what belongs to the screen. `name` names one row.
    pub fn run<T: Clone + 'static>(
        self,
        text: BulkText,
        rows: Vec<T>,
        name: fn(&T) -> String,
        change: ChangeRow<T>,
        reverse: ChangeRow<T>,
        after: Rc<dyn Fn()>,
    ) {
        if rows.is_empty() || self.progress.get_untracked().is_some() {
            return;
        }
        let (progress, toasts) = (self.progress, self.toasts);
        spawn_local(async move {
            let (done, failure) = change_each(&rows, &change, progress).await;
            progress.set(None);
            after();
            let rows = rows[..done].to_vec();
            let text_done = summary(text.done, &rows, name, text.nouns);
            match text.undone {
                _ if done == 0 => {}
                None => toasts.show(text_done),
                Some(undone) => {
                    let undo = move || {
                        let (rows, reverse, after) = (rows.clone(), reverse.clone(), after.clone());
                        Box::pin(async move {
                            let (done, failure) = change_each(&rows, &reverse, progress).await;
                            progress.set(None);
                            after();
                            failure.map_or_else(|| Ok(summary(undone, &rows[..done], name, text.nouns)), Err)
                        }) as Pin<Box<dyn Future<Output = _>>>
                    };
                    toasts.show_undoable(text_done, Rc::new(undo));
                }
            }
            if let Some(RpcError(problem)) = failure {
                toasts.show_problem(&problem);
            }
        });
    }
}

/// Changes each row until one fails. Returns how many were changed.
async fn change_each<T: Clone>(
    rows: &[T],
    change: &ChangeRow<T>,
    progress: RwSignal<Option<(usize, usize)>>,
) -> (usize, Option<RpcError>) {
    for (done, row) in rows.iter().enumerate() {
        progress.set(Some((done, rows.len())));
        if let Err(error) = change(row.clone()).await {
            return (done, Some(error));
        }
    }
    (rows.len(), None)
}

/// E.g. "Paused Billing." or "Paused 3 webhooks.".
fn summary<T>(done: Verb, rows: &[T], name: fn(&T) -> String, nouns: [&'static str; 2]) -> String {
    let object = match rows {
        [row] => name(row),
        rows => super::count(rows.len(), nouns),
    };
    format!("{}.", super::phrase(done, &object))
}
