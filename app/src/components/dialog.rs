//! A modal dialog. The browser's `<dialog>` traps the focus.

use super::{Icon, IconView};
use crate::focus::{self, Place};
use crate::unsaved;
use leptos::html;
use leptos::prelude::*;

/// Moves the focus into a dialog that has opened: to its first field, otherwise to its title.
fn focus_inside(node: NodeRef<html::Dialog>) {
    request_animation_frame(move || {
        let Some(dialog) = node.try_get_untracked().flatten() else { return };
        let find = |selector| dialog.query_selector(selector).ok().flatten();
        let field = find(".dialog-body :is(input, select, textarea):not(:disabled)");
        if let Some(element) = field.or_else(|| find("h2")) {
            focus::move_to(&element);
        }
    });
}

/// Moves the focus from the title of an open dialog to its first field, if the field was loaded after the dialog had opened.
pub fn focus_loaded_field() {
    request_animation_frame(|| {
        let field = ".dialog-head:has(h2:focus) + .dialog-body :is(input, select, textarea):not(:disabled)";
        if let Ok(Some(field)) = document().query_selector(field) {
            focus::move_to(&field);
        }
    });
}

/// A modal dialog, shown while `open` is true. Its children are created each time it opens.
///
/// The focus moves to the first field, and back to where it was when the dialog closes. While `held` is true, only the content closes
/// the dialog: Escape and the button in the corner do not. With unsaved input in a form, they ask first.
#[component]
pub fn Dialog(
    open: RwSignal<bool>,
    #[prop(into)] title: TextProp,
    #[prop(optional)] wide: bool,
    #[prop(optional, into)] held: Signal<bool>,
    children: ChildrenFn,
) -> impl IntoView {
    let node = NodeRef::<html::Dialog>::new();
    let opener = StoredValue::new_local(None::<Place>);
    Effect::new(move |_| {
        let Some(dialog) = node.get() else { return };
        match (open.get(), dialog.open()) {
            (true, false) => {
                opener.set_value(focus::current());
                let _ = dialog.show_modal();
                focus_inside(node);
            }
            (false, true) => dialog.close(),
            _ => {}
        }
        if !open.get_untracked()
            && let Some(place) = opener.try_update_value(Option::take).flatten()
        {
            focus::return_to(Some(&place));
        }
    });
    let on_close = move |_| match node.get_untracked() {
        // Browsers close a dialog on a repeated Escape, whether the event is cancelled or not.
        Some(dialog) if open.get_untracked() && (held.get_untracked() || unsaved::has_unsaved(Some(&dialog))) => {
            let _ = dialog.show_modal();
        }
        _ => open.set(false),
    };
    let ask_and_close = move || {
        let dialog = node.get_untracked();
        unsaved::leave(dialog.as_deref().map(AsRef::as_ref), move || open.set(false));
    };
    let label = title.clone();
    view! {
        <dialog
            node_ref=node
            class=if wide { "dialog wide" } else { "dialog" }
            aria-label=move || label.get().to_string()
            on:cancel=move |event: leptos::ev::Event| {
                if held.get_untracked() {
                    event.prevent_default();
                } else if unsaved::has_unsaved(node.get_untracked().as_deref().map(AsRef::as_ref)) {
                    event.prevent_default();
                    ask_and_close();
                }
            }
            on:close=on_close
        >
            <Show when=move || open.get()>
                <div class="dialog-head">
                    <h2 tabindex="-1">
                        {
                            let title = title.clone();
                            // Its own closure, so that a changed title does not render the content again, with its input.
                            move || title.get().to_string()
                        }
                    </h2>
                    <Show when=move || !held.get()>
                        <button type="button" class="button quiet small" aria-label="Close" on:click=move |_| ask_and_close()>
                            <IconView icon=Icon::Close />
                        </button>
                    </Show>
                </div>
                <div class="dialog-body">{children()}</div>
            </Show>
        </dialog>
    }
}
