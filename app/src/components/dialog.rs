//! A modal dialog: the browser's own, which keeps and returns the focus.

use super::{Icon, IconView, When};
use crate::values::effect;
use leptos::html;
use leptos::prelude::*;

/// Shows `children` in a dialog while `open`. They are made anew each time it opens.
#[component]
pub fn Dialog(
    open: RwSignal<bool>,
    #[prop(into)] title: TextProp,
    #[prop(optional)] wide: bool,
    children: ChildrenFn,
) -> impl IntoView {
    let node = NodeRef::<html::Dialog>::new();
    effect(move || {
        let Some(dialog) = node.get() else { return };
        match (open.get(), dialog.open()) {
            (true, false) => {
                let _ = dialog.show_modal();
            }
            (false, true) => dialog.close(),
            _ => {}
        }
    });
    let name = title.clone();
    view! {
        <dialog
            node_ref=node
            class=if wide { "dialog wide" } else { "dialog" }
            aria-label=move || name.get().to_string()
            on:close=move |_| open.set(false)
        >
            <When when=move || open.get()>
                <div class="dialog-head">
                    <h2>{title.get().to_string()}</h2>
                    <button type="button" class="button quiet small" aria-label="Close" on:click=move |_| open.set(false)>
                        <IconView icon=Icon::Close />
                    </button>
                </div>
                <div class="dialog-body">{children()}</div>
            </When>
        </dialog>
    }
}
