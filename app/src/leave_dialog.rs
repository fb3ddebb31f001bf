//! The question before unsaved input is discarded.

use crate::components::*;
use crate::pages::areas;
use crate::unsaved::{self, Leave};
use leptos::prelude::*;
use std::rc::Rc;

/// The dialog with the question.
#[component]
pub fn LeaveDialog() -> impl IntoView {
    let open = RwSignal::new(false);
    let pending = StoredValue::new_local(None::<Leave>);
    unsaved::set_ask(Some(Rc::new(move |leave| {
        pending.try_update_value(|pending| *pending = Some(leave));
        open.set(true);
    })));
    on_cleanup(|| unsaved::set_ask(None));
    let stay = Callback::new(move |()| open.set(false));
    let discard = Callback::new(move |()| {
        unsaved::discard();
        let leave = pending.try_update_value(Option::take).flatten();
        open.set(false);
        if let Some(leave) = leave {
            leave();
        }
    });
    view! {
        <Dialog open=open title="Discard unsaved changes?">
            {areas::show_part(areas::overlays::Screen::Leave(stay, discard))}
        </Dialog>
    }
}
