//! Actions on a reservation that is in progress: extend it and end it. The rows of lists have them too, so the forms are loaded
//! when a dialog opens.

use crate::components::*;
use crate::erased::{ErasedMemo, ErasedSignal};
use crate::intl;
use crate::pages::areas;
use crate::query::{Mutation, Query};
use crate::rpc::{catalogue, reservations as rpc};
use crate::session::use_session;
use chrono::{DateTime, Duration, Utc};
use domain::Problem;
use domain::pagination::Page;
use domain::reservation::{Reservation, ReservationStatus};
use domain::resource::{DEFAULT_ENDING_NOTICE, ResourceType};
use leptos::prelude::*;

/// The time that one click adds to a reservation that ends soon.
const QUICK_EXTENSION: Duration = Duration::minutes(30);

/// An extension that was refused: the problem, and the requested end.
pub type RefusedExtension = (Problem, DateTime<Utc>);

/// The dialogs of a screen that extend and end its reservations.
#[derive(Clone, Copy)]
pub struct OngoingDialogs {
    /// The reservation of the open dialog.
    reservation: ErasedSignal<Option<Reservation>>,
    refused: ErasedSignal<Option<RefusedExtension>>,
    extend_open: RwSignal<bool>,
    end_open: RwSignal<bool>,
    types: Query<Page<ResourceType>>,
}

impl OngoingDialogs {
    /// The dialogs, closed.
    pub fn new() -> Self {
        Self {
            reservation: ErasedSignal::new(None),
            refused: ErasedSignal::new(None),
            extend_open: RwSignal::new(false),
            end_open: RwSignal::new(false),
            types: Query::new(catalogue::list_types),
        }
    }

    fn extend(self, reservation: Reservation, refused: Option<RefusedExtension>) {
        self.reservation.set(Some(reservation));
        self.refused.set(refused);
        self.extend_open.set(true);
    }

    fn end(self, reservation: Reservation) {
        self.reservation.set(Some(reservation));
        self.end_open.set(true);
    }

    /// The time before the end at which a reservation of a type ends soon. Tracked.
    fn ending_notice(self, slug: &str) -> Duration {
        let notice = self.types.get().and_then(|page| {
            let found = page.items.into_iter().find(|resource_type| resource_type.slug == slug);
            found.map(|found| found.ending_notice_minutes)
        });
        Duration::minutes(notice.unwrap_or(DEFAULT_ENDING_NOTICE).into())
    }
}

/// The view of [`OngoingDialogs`], once on each screen.
#[component]
pub fn OngoingDialogsView(dialogs: OngoingDialogs) -> impl IntoView {
    let chosen = move || dialogs.reservation.get_untracked().map(StoredValue::new);
    let extend = move || {
        let refused = StoredValue::new(dialogs.refused.get_untracked());
        chosen().map(|reservation| {
            areas::show_part(areas::reservation::Screen::Extend(reservation, refused, dialogs.extend_open))
        })
    };
    let end = move || {
        chosen().map(|reservation| areas::show_part(areas::reservation::Screen::End(reservation, dialogs.end_open)))
    };
    view! {
        <Dialog open=dialogs.extend_open title="Extend this reservation">
            {extend()}
        </Dialog>
        <Dialog open=dialogs.end_open title="End this reservation now?">
            {end()}
        </Dialog>
    }
}

/// Whether a reservation is in progress. Tracked.
fn is_ongoing(reservation: ErasedMemo<Reservation>, ticker: Ticker) -> bool {
    let now = ticker.now();
    reservation.with(|r| r.start_time <= now && r.status.at(r.end_time, now) == ReservationStatus::Active)
}

/// The buttons that extend and end a reservation, while it is in progress.
#[component]
pub fn OngoingActions(reservation: ErasedMemo<Reservation>, dialogs: OngoingDialogs) -> impl IntoView {
    let session = use_session();
    let ticker = use_ticker();
    let is_shown = Memo::new(move |_| is_ongoing(reservation, ticker));
    view! {
        <Show when=move || is_shown.get() && !session.is_auditor()>
            <Button on_click=Callback::new(move |()| dialogs.extend(reservation.get_untracked(), None))>"Extend"</Button>
            <Button on_click=Callback::new(move |()| dialogs.end(reservation.get_untracked()))>"End now"</Button>
        </Show>
    }
}

/// The hint that a reservation ends soon, with a button that extends it by one click.
#[component]
pub fn EndingSoon(reservation: ErasedMemo<Reservation>, dialogs: OngoingDialogs) -> impl IntoView {
    let session = use_session();
    let ticker = use_ticker();
    let is_shown = Memo::new(move |_| {
        let (slug, end) = reservation.with(|r| (r.resource_type.clone(), r.end_time));
        is_ongoing(reservation, ticker) && end - ticker.now() < dialogs.ending_notice(&slug)
    });
    let mutation = Mutation::new();
    let extend = Callback::new(move |()| {
        let current = reservation.get_untracked();
        let end = current.end_time + QUICK_EXTENSION;
        mutation.run(rpc::extend_reservation(current.id, end), |_| {});
    });
    // The dialog shows what is possible instead.
    Effect::new(move |_| {
        if let Some(problem) = mutation.problem.get() {
            mutation.problem.set(None);
            let current = reservation.get_untracked();
            let end = current.end_time + QUICK_EXTENSION;
            dialogs.extend(current, Some((problem, end)));
        }
    });
    view! {
        <Show when=move || is_shown.get()>
            <div class="notice warning ending-soon">
                <IconView icon=Icon::Clock />
                <p>
                    <strong>"Ending soon. "</strong>
                    "Ends at "{move || reservation.with(|r| intl::clock(r.end_time))}" ("
                    <Countdown at=Signal::derive(move || reservation.with(|r| r.end_time)) />")."
                </p>
                <Show when=move || !session.is_auditor()>
                    <Button pending=mutation.pending on_click=extend>"Extend by 30 minutes"</Button>
                </Show>
            </div>
        </Show>
    }
}
