//! Virtualised rows: of a long table, only the rows near the window are rendered.

use leptos::ev;
use leptos::html;
use leptos::prelude::*;
use std::ops::Range;

/// The number of rows up to which all are rendered: the browser's own search then finds each.
pub const ALL_RENDERED: usize = 300;
/// The number of rows that are rendered above and below the window.
const MARGIN: usize = 40;
/// The width in pixels up to which tables become cards, as in `style/pages.css`.
const PHONE_WIDTH: f64 = 720.0;

/// The heights of a row in pixels. They must be those of the style sheet.
#[derive(Clone, Copy, PartialEq)]
pub struct RowHeight {
    /// In a table.
    pub table: f64,
    /// As a card, on a narrow screen.
    pub card: f64,
}

/// The rows to render, of `length`, if the window shows `top` to `bottom` pixels below the first row.
fn rendered(length: usize, height: f64, top: f64, bottom: f64) -> Range<usize> {
    if length <= ALL_RENDERED {
        return 0..length;
    }
    // In steps, so that most scroll events change nothing.
    let at = |pixels: f64| (pixels.max(0.0) / height) as usize / (MARGIN / 2) * (MARGIN / 2);
    let start = at(top).saturating_sub(MARGIN).min(length);
    start..(at(bottom) + 2 * MARGIN).min(length)
}

/// What the window shows.
#[derive(Clone, Copy, PartialEq, Default)]
struct View {
    /// The upper and the lower edge in pixels below the first row.
    top: f64,
    bottom: f64,
    is_narrow: bool,
}

/// The rendered rows of a table.
#[derive(Clone, Copy)]
pub struct VirtualRows {
    /// The body of the table.
    pub body: NodeRef<html::Tbody>,
    /// The positions of the rendered rows.
    pub range: Memo<Range<usize>>,
    length: Memo<usize>,
    height: Memo<f64>,
}

impl VirtualRows {
    /// Follows the window, for a table with `length` rows.
    pub fn new(length: Memo<usize>, heights: RowHeight) -> Self {
        let body = NodeRef::<html::Tbody>::new();
        let view = RwSignal::new(View::default());
        let measure = move || {
            // The page may be gone when the frame comes.
            let Some(body) = body.try_get_untracked().flatten() else { return };
            let size =
                |size: Result<wasm_bindgen::JsValue, _>| size.ok().and_then(|size| size.as_f64()).unwrap_or_default();
            let top = -body.get_bounding_client_rect().top();
            let bottom = top + size(window().inner_height());
            view.set(View { top, bottom, is_narrow: size(window().inner_width()) <= PHONE_WIDTH });
        };
        // Also when the table is rendered again, or its length moves it.
        Effect::new(move |_| {
            length.track();
            if body.get().is_some() {
                request_animation_frame(measure);
            }
        });
        let on_scroll = window_event_listener(ev::scroll, move |_| measure());
        let on_resize = window_event_listener(ev::resize, move |_| measure());
        on_cleanup(move || {
            on_scroll.remove();
            on_resize.remove();
        });
        let height = Memo::new(move |_| if view.get().is_narrow { heights.card } else { heights.table });
        let range = Memo::new(move |_| {
            let length = length.get();
            let View { top, bottom, .. } = if length <= ALL_RENDERED { View::default() } else { view.get() };
            rendered(length, height.get(), top, bottom)
        });
        Self { body, range, length, height }
    }

    /// A row as high as those above the rendered ones.
    pub fn space_above(self, columns: usize) -> impl IntoView {
        move || self.space(self.range.get().start, columns)
    }

    /// A row as high as those below the rendered ones.
    pub fn space_below(self, columns: usize) -> impl IntoView {
        move || self.space(self.length.get().saturating_sub(self.range.get().end), columns)
    }

    fn space(self, rows: usize, columns: usize) -> AnyView {
        let height = format!("{}px", rows as f64 * self.height.get());
        (rows > 0)
            .then(|| view! { <tr aria-hidden="true" class="space" style:height=height><td colspan=columns></td></tr> })
            .into_any()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEIGHT: f64 = 37.0;

    #[test]
    fn short_list_is_rendered_whole() {
        assert_eq!(rendered(300, HEIGHT, 5_000.0, 6_000.0), 0..300);
        assert_eq!(rendered(0, HEIGHT, 0.0, 900.0), 0..0);
    }

    #[test]
    fn long_list_is_rendered_around_the_window() {
        for scroll in [0.0, 1_000.0, 37_000.0, 3_699_000.0, 4_000_000.0] {
            let rows = rendered(100_000, HEIGHT, scroll, scroll + 900.0);
            assert!(rows.len() <= 5 * MARGIN, "{rows:?}");
            let (first, last) = ((scroll / HEIGHT) as usize, ((scroll + 900.0) / HEIGHT) as usize);
            assert!(first >= 100_000 || (rows.start <= first && rows.end >= last.min(100_000)), "{rows:?} at {scroll}");
        }
    }
}
