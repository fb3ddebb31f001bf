//! What is there at times.

use leptos::either::Either;
use leptos::prelude::*;

/// Shows `children` while `when` holds, else `fallback`: Leptos's `Show`, whose code is there once for each condition.
#[component]
pub fn When(
    when: impl Fn() -> bool + Send + Sync + 'static,
    #[prop(optional, into)] fallback: ViewFn,
    children: ChildrenFn,
) -> impl IntoView {
    either(Box::new(when), children, fallback)
}

/// Apart, so that there is one of it.
fn either(when: Box<dyn Fn() -> bool + Send + Sync>, children: ChildrenFn, fallback: ViewFn) -> AnyView {
    let holds = ArcMemo::new(move |_| when());
    let shown = move || if holds.get() { Either::Left(children()) } else { Either::Right(fallback.run()) };
    shown.into_any()
}
