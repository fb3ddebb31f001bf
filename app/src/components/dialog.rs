//! A modal dialog. The browser's `<dialog>` traps the focus and returns it.

use super::{Icon, IconView};
use leptos::html;
use leptos::prelude::*;

/// A modal dialog, shown while `open` is true. Its children are created each time it opens.
#[component]
pub fn Dialog(
    open: RwSignal<bool>,
    #[prop(into)] title: TextProp,
    #[prop(optional)] wide: bool,
    children: ChildrenFn,
) -> impl IntoView {
    let node = NodeRef::<html::Dialog>::new();
    Effect::new(move |_| {
        let Some(dialog) = node.get() else { return };
        match (open.get(), dialog.open()) {
            (true, false) => {
                let _ = dialog.show_modal();
            }
            (false, true) => dialog.close(),
            _ => {}
        }
    });
    let label = title.clone();
    view! {
        <dialog
            node_ref=node
            class=if wide { "dialog wide" } else { "dialog" }
            aria-label=move || label.get().to_string()
            on:close=move |_| open.set(false)
        >
            <Show when=move || open.get()>
                <div class="dialog-head">
                    <h2>{title.get().to_string()}</h2>
                    <button type="button" class="button quiet small" aria-label="Close" on:click=move |_| open.set(false)>
                        <IconView icon=Icon::Close />
                    </button>
                </div>
                <div class="dialog-body">{children()}</div>
            </Show>
        </dialog>
    }
}
