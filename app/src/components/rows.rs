//! Rows that change one by one.

use leptos::prelude::*;
use std::sync::Arc;

/// Makes the view of a row.
type Row = Box<dyn FnOnce() -> AnyView + Send>;

/// Shows each of `items` by `row`. A row stays as it is, with the focus and what is entered in it, as long as its key stays.
pub fn rows<T, V>(
    items: impl Fn() -> Vec<T> + Send + 'static,
    key: impl Fn(&T) -> String + Send + 'static,
    row: impl Fn(T) -> V + Send + Sync + 'static,
) -> AnyView
where
    T: Send + 'static,
    V: IntoView + 'static,
{
    let row = Arc::new(row);
    keyed(Box::new(move || {
        let keyed = items().into_iter().map(|item| {
            let (key, row) = (key(&item), Arc::clone(&row));
            (key, Box::new(move || row(item).into_any()) as Row)
        });
        keyed.collect()
    }))
}

/// Apart, so that there is one of it.
fn keyed(rows: Box<dyn Fn() -> Vec<(String, Row)> + Send>) -> AnyView {
    view! { <For each=rows key=|(key, _)| key.clone() children=|(_, row)| row() /> }.into_any()
}
