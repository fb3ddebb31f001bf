//! The forms that modify and cancel a reservation.

use crate::components::*;
use crate::pages::config_form::{ConfigForm, ConfigState};
use crate::query::{Mutation, Query};
use crate::rpc::{catalogue, reservations as rpc};
use crate::{intl, time};
use domain::id::ReservationId;
use domain::reservation::{Reservation, ReservationPatch, apply_patch};
use domain::resource::ConfigSchema;
use leptos::prelude::*;

/// Asks for a reason and cancels the reservation.
#[component]
pub fn CancelForm(id: ReservationId, open: RwSignal<bool>) -> impl IntoView {
    let reason = RwSignal::new(String::new());
    let mutation = Mutation::new();
    let cancel = Callback::new(move |()| {
        mutation.run(rpc::cancel_reservation(id.clone(), reason.get_untracked()), move |_| open.set(false));
    });
    view! {
        <Form on_submit=cancel>
            <p>"The resource is released at once and others can reserve it. Running work may be lost."</p>
            <FormProblem problem=mutation.problem_except(&["reason"]) />
            <TextInput
                label="Reason"
                value=reason
                optional=true
                error=mutation.field_error("reason")
                hint="Sent to the owning team's service."
            />
            <div class="dialog-actions">
                <Button on_click=Callback::new(move |()| open.set(false))>"Keep reservation"</Button>
                <Button variant=ButtonVariant::Danger submit=true pending=mutation.pending>"Cancel reservation"</Button>
            </div>
        </Form>
    }
}

/// Asks whether the resource of an ended reservation is released.
#[component]
pub fn ConfirmReleaseForm(id: ReservationId, open: RwSignal<bool>) -> impl IntoView {
    let mutation = Mutation::new();
    let confirm = Callback::new(move |()| {
        mutation.run(rpc::confirm_release(id.clone()), move |_| open.set(false));
    });
    view! {
        <Form on_submit=confirm>
            <p>
                "Confirm it only after a look at the resource: its service has not reported that it is free. The next reservation is then \
                provisioned on it."
            </p>
            <FormProblem problem=mutation.problem_except(&[]) />
            <div class="dialog-actions">
                <Button on_click=Callback::new(move |()| open.set(false))>"Cancel"</Button>
                <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Confirm release"</Button>
            </div>
        </Form>
    }
}

/// Fetches the schema of the resource type, then shows the form.
#[component]
pub fn ModifyForm(reservation: Reservation, open: RwSignal<bool>) -> impl IntoView {
    let types = Query::new(catalogue::list_types);
    types.view(move |page| {
        let schema = page.with_untracked(|page| {
            let found = page.items.iter().find(|t| t.slug == reservation.resource_type);
            found.and_then(|t| ConfigSchema::parse(&t.config_schema).ok()).unwrap_or_default()
        });
        view! { <ModifyFields reservation=reservation.clone() schema=schema open=open /> }
    })
}

#[component]
fn ModifyFields(reservation: Reservation, schema: ConfigSchema, open: RwSignal<bool>) -> impl IntoView {
    let title = RwSignal::new(reservation.title.clone());
    let start = TimeValue::new(Some(reservation.start_time));
    let end = TimeValue::new(Some(reservation.end_time));
    keep_length(start, end);
    let key = RwSignal::new(reservation.user_ssh_key.clone());
    let config = ConfigState::new(schema.clone(), &reservation.additional_config);
    // The type may have lost a field or an option since the reservation, so an unchanged configuration is not sent.
    let unchanged = config.collect();
    let has_started = reservation.start_time <= time::now();
    let mutation = Mutation::new();
    let save = Callback::new(move |()| {
        let (start_time, end_time) = match untrack(|| entered_span(start, end)) {
            Ok(span) => span,
            Err(problem) => return mutation.reject(problem),
        };
        let patch = ReservationPatch {
            title: Some(title.get_untracked()),
            start_time: Some(start_time),
            end_time: Some(end_time),
            user_ssh_key: Some(key.get_untracked().trim().to_owned()),
            additional_config: Some(config.collect()).filter(|config| *config != unchanged),
        };
        match apply_patch(&reservation, &patch, &schema, time::now()) {
            Err(problem) => mutation.reject(problem),
            Ok(_) => mutation.run(rpc::patch_reservation(reservation.id.clone(), patch), move |_| open.set(false)),
        }
    });
    view! {
        <Form on_submit=save>
            <FormProblem problem=mutation.problem_without_fields() />
            <TextInput label="Title" value=title optional=true error=mutation.field_error("title") />
            <div class="grid-2">
                <TimeInput label="Start" value=start disabled=has_started error=mutation.field_error("start_time") />
                <TimeInput label="End" value=end error=mutation.field_error("end_time") />
            </div>
            <p class="muted small">"Times in "{intl::time_zone()}"."</p>
            <ConfigForm state=config mutation=mutation />
            <TextArea label="SSH public key" value=key optional=true mono=true error=mutation.field_error("user_ssh_key") />
            <div class="dialog-actions">
                <Button on_click=Callback::new(move |()| open.set(false))>"Cancel"</Button>
                <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Save changes"</Button>
            </div>
        </Form>
    }
}
