//! The forms that extend a reservation and end it now.

use super::ongoing::RefusedExtension;
use crate::components::*;
use crate::query::Mutation;
use crate::rpc::reservations as rpc;
use crate::toast::use_toasts;
use crate::{intl, time};
use chrono::{DateTime, Duration, Utc};
use domain::Problem;
use domain::problem::{AlternativeResource, ExtensionOffer};
use domain::reservation::Reservation;
use leptos::prelude::*;

/// The extensions that one click chooses, in minutes.
const STEPS: [(i64, &str); 3] = [(30, "+30 min"), (60, "+1 h"), (120, "+2 h")];

/// Extends a reservation. If the next one of the resource is in the way, it offers what is possible instead. `refused` is an
/// extension that the user has requested before.
#[component]
pub fn ExtendForm(reservation: Reservation, refused: Option<RefusedExtension>, open: RwSignal<bool>) -> impl IntoView {
    let toasts = use_toasts();
    let mutation = Mutation::new();
    let present_end = reservation.end_time;
    let wanted = StoredValue::new(present_end);
    let new_end = TimeValue::new(Some(present_end + Duration::hours(1)));
    if let Some((problem, end)) = refused {
        wanted.set_value(end);
        mutation.problem.set(Some(problem));
    }
    let id = reservation.id.clone();
    let extend = Callback::new(move |end: DateTime<Utc>| {
        wanted.set_value(end);
        mutation.run(rpc::extend_reservation(id.clone(), end), move |extended| {
            open.set(false);
            toasts.show(format!("Extended until {}.", intl::timestamp(extended.end_time)));
        });
    });
    let submit = Callback::new(move |()| match untrack(|| new_end.get()) {
        Ok(end) => extend.run(end),
        Err(message) => mutation.reject(Problem::field("end_time", message)),
    });
    let steps = STEPS.map(|(minutes, label)| {
        let end = present_end + Duration::minutes(minutes);
        view! { <Button pending=mutation.pending on_click=Callback::new(move |()| extend.run(end))>{label}</Button> }
    });
    let offer = move || {
        let offer = mutation.problem.get()?.extension?;
        let span = (present_end, wanted.get_value());
        Some(view! { <Offer offer=*offer span=span title=reservation.title.clone() extend=extend /> })
    };
    view! {
        <Form on_submit=submit unguarded=true>
            <p>{format!("Ends {}. Its settings and its resource stay the same.", intl::timestamp(present_end))}</p>
            <FormProblem problem=mutation.problem_except(&["end_time"]) />
            {offer}
            <div class="row extension-steps" role="group" aria-label="Extend by">{steps}</div>
            <TimeInput label="New end" value=new_end error=mutation.field_error("end_time") />
            <p class="muted small">"Times in "{intl::time_zone()}"."</p>
            <div class="dialog-actions">
                <Button on_click=Callback::new(move |()| open.set(false))>"Cancel"</Button>
                <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Extend"</Button>
            </div>
        </Form>
    }
}

/// What is possible instead of an extension: a shorter one, and other resources for the added time.
#[component]
fn Offer(
    offer: ExtensionOffer,
    span: (DateTime<Utc>, DateTime<Utc>),
    title: String,
    extend: Callback<DateTime<Utc>>,
) -> impl IntoView {
    let shorter = offer.extend_until.map(|until| {
        let label = format!("Extend until {}", intl::clock(until));
        view! { <Button on_click=Callback::new(move |()| extend.run(until))>{label}</Button> }
    });
    let parameter = |text: &str| String::from(js_sys::encode_uri_component(text));
    let [start, end] = [span.0, span.1].map(|at| parameter(&time::to_parameter(at)));
    let title = parameter(&title);
    let link = move |resource: AlternativeResource| {
        let href = format!("/reserve?resource={}&start={start}&end={end}&title={title}", resource.id);
        view! { <a class="button" href=href>{format!("Reserve {}", resource.name)}</a> }
    };
    let others = (!offer.alternatives.is_empty()).then(|| {
        view! {
            <p>"Free for the added time:"</p>
            <div class="row">{offer.alternatives.into_iter().map(link).collect_view()}</div>
        }
    });
    view! { <div class="stack tight extension-offer">{shorter}{others}</div> }
}

/// Asks for confirmation and ends a reservation now.
#[component]
pub fn EndForm(reservation: Reservation, open: RwSignal<bool>) -> impl IntoView {
    let mutation = Mutation::new();
    let toasts = use_toasts();
    let name = if reservation.title.is_empty() { reservation.resource_name } else { reservation.title };
    let id = reservation.id;
    let end = Callback::new(move |()| {
        let ended = format!("Ended {name}.");
        mutation.run(rpc::end_reservation(id.clone()), move |_| {
            open.set(false);
            toasts.show(ended);
        });
    });
    view! {
        <Form on_submit=end>
            <p>
                "The resource is released at once, and others can reserve the rest of the time. Running work may be lost."
            </p>
            <FormProblem problem=mutation.problem />
            <div class="dialog-actions">
                <Button on_click=Callback::new(move |()| open.set(false))>"Keep reservation"</Button>
                <Button variant=ButtonVariant::Danger submit=true pending=mutation.pending>"End now"</Button>
            </div>
        </Form>
    }
}
