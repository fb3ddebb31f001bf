//! Keeps the keyboard focus near its place when the focused element disappears.
//!
//! Browsers move the focus to the body then: keyboard users start again at the top of the page, and screen readers lose their position.

use leptos::ev;
use leptos::prelude::*;
use std::cell::RefCell;
use wasm_bindgen::JsCast as _;
use wasm_bindgen::closure::Closure;
use web_sys::{Element, FocusOptions, HtmlElement, MutationObserver, MutationObserverInit, Node};

/// Elements that users can focus.
const FOCUSABLE: &str = "a[href], button, input, select, textarea, summary, [tabindex]";
/// Parts of a page with a title.
const REGIONS: &str = "dialog, section, form, main";

/// An element and its surroundings.
#[derive(Clone)]
pub struct Place {
    element: Element,
    /// The accessible name of a button or link.
    label: String,
    /// The ancestors, from the parent upwards.
    ancestors: Vec<Element>,
}

thread_local! {
    /// The element that was focused or pressed last.
    static LAST: RefCell<Option<Place>> = const { RefCell::new(None) };
}

fn label(element: &Element) -> String {
    let is_named_by_text = element.matches("button, a, summary").unwrap_or_default();
    let text = || element.text_content().filter(|_| is_named_by_text).unwrap_or_default().trim().to_owned();
    element.get_attribute("aria-label").unwrap_or_else(text)
}

impl Place {
    fn of(element: Element) -> Self {
        let mut ancestors = Vec::new();
        let mut parent = element.parent_element();
        while let Some(ancestor) = parent {
            parent = ancestor.parent_element();
            ancestors.push(ancestor);
        }
        Self { label: label(&element), element, ancestors }
    }

    /// Focuses the element. If it is gone: the element with the same name that replaced it, otherwise the title of the part of the page.
    fn return_to(&self) {
        if is_shown(&self.element) {
            return move_to(&self.element);
        }
        let Some(ancestor) = self.ancestors.iter().find(|ancestor| is_shown(ancestor)) else { return };
        if let Some(same) = self.find_same(ancestor) {
            return move_to(&same);
        }
        let region = ancestor.closest(REGIONS).ok().flatten();
        let region = region.or_else(|| document().query_selector("#main, #app").ok().flatten());
        if let Some(region) = region {
            let title = region.query_selector("h1, h2, legend").ok().flatten();
            move_to(&title.unwrap_or(region));
        }
    }

    fn find_same(&self, ancestor: &Element) -> Option<Element> {
        let candidates = ancestor.query_selector_all(FOCUSABLE).ok()?;
        let elements = (0..candidates.length()).filter_map(|n| candidates.get(n)?.dyn_into::<Element>().ok());
        let is_same = |other: &Element| other.tag_name() == self.element.tag_name() && label(other) == self.label;
        elements.filter(|_| !self.label.is_empty()).find(is_same)
    }
}

/// Whether an element is in the page and rendered.
fn is_shown(element: &Element) -> bool {
    element.is_connected() && element.get_client_rects().length() > 0
}

/// Whether nothing is focused.
fn is_lost() -> bool {
    let body: Option<Element> = document().body().map(Into::into);
    document().active_element().is_none_or(|element| Some(element) == body)
}

/// Focuses an element, also one that users cannot focus themselves. Does not scroll.
pub fn move_to(element: &Element) {
    let options = FocusOptions::new();
    options.set_prevent_scroll(true);
    if !element.matches(FOCUSABLE).unwrap_or_default() {
        let _ = element.set_attribute("tabindex", "-1");
    }
    if let Some(element) = element.dyn_ref::<HtmlElement>() {
        let _ = element.focus_with_options(&options);
    }
}

/// The element that was focused or pressed last, to return to it later. Safari does not focus a button that is pressed.
pub fn current() -> Option<Place> {
    LAST.with_borrow(Clone::clone)
}

/// Returns to an earlier place, if nothing else is focused.
pub fn return_to(place: Option<&Place>) {
    if is_lost()
        && let Some(place) = place
    {
        place.return_to();
    }
}

/// Starts to follow the focus. It lasts as long as the page.
pub fn track() {
    let remember = |event: &web_sys::Event, selector: &str| {
        let target = event.target().and_then(|target| target.dyn_into::<Element>().ok());
        let element = target.and_then(|target| target.closest(selector).ok().flatten());
        LAST.with_borrow_mut(|last| *last = element.map(Place::of));
    };
    let on_focus = window_event_listener(ev::focusin, move |event| remember(&event, "*"));
    // A press on an empty place takes the focus away on purpose.
    let on_press = window_event_listener(ev::pointerdown, move |event| remember(&event, FOCUSABLE));
    on_cleanup(move || {
        on_focus.remove();
        on_press.remove();
    });
    let on_change = Closure::<dyn Fn()>::new(|| {
        let last = current().filter(|last| !last.element.is_connected());
        return_to(last.as_ref());
    });
    let options = MutationObserverInit::new();
    options.set_child_list(true);
    options.set_subtree(true);
    if let (Ok(observer), Some(body)) = (MutationObserver::new(on_change.as_ref().unchecked_ref()), document().body()) {
        let _ = observer.observe_with_options(body.unchecked_ref::<Node>(), &options);
    }
    on_change.forget();
}
