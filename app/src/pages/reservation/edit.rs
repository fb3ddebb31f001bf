//! The forms that modify and cancel a reservation.

use crate::components::*;
use crate::pages::config_form::{ConfigForm, ConfigState};
use crate::query::{Mutation, Query};
use crate::rpc::{catalogue, reservations as rpc};
use crate::time;
use chrono::{DateTime, Utc};
use domain::Problem;
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

/// The time in an input, or `original` if the user has not changed it. An input omits the seconds.
fn edited_time(input: RwSignal<String>, original: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let text = input.get_untracked();
    if text == time::to_input(original) { Some(original) } else { time::from_input(&text) }
}

#[component]
fn ModifyFields(reservation: Reservation, schema: ConfigSchema, open: RwSignal<bool>) -> impl IntoView {
    let title = RwSignal::new(reservation.title.clone());
    let start = RwSignal::new(time::to_input(reservation.start_time));
    let end = RwSignal::new(time::to_input(reservation.end_time));
    let key = RwSignal::new(reservation.user_ssh_key.clone());
    let config = ConfigState::new(schema.clone(), &reservation.additional_config);
    let has_config = !schema.fields.is_empty();
    let has_started = reservation.start_time <= time::now();
    let mutation = Mutation::new();
    let save = Callback::new(move |()| {
        let start_time = edited_time(start, reservation.start_time);
        let end_time = edited_time(end, reservation.end_time);
        if start_time.is_none() || end_time.is_none() {
            let field = if start_time.is_none() { "start_time" } else { "end_time" };
            return mutation.reject(Problem::field(field, "Enter a date and time."));
        }
        let patch = ReservationPatch {
            title: Some(title.get_untracked()),
            start_time,
            end_time,
            user_ssh_key: Some(key.get_untracked().trim().to_owned()),
            additional_config: has_config.then(|| config.collect()),
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
                <TextInput
                    label="Start"
                    value=start
                    kind="datetime-local"
                    disabled=has_started
                    error=mutation.field_error("start_time")
                />
                <TextInput label="End" value=end kind="datetime-local" error=mutation.field_error("end_time") />
            </div>
            <ConfigForm state=config mutation=mutation />
            <TextArea label="SSH public key" value=key optional=true mono=true error=mutation.field_error("user_ssh_key") />
            <div class="dialog-actions">
                <Button on_click=Callback::new(move |()| open.set(false))>"Cancel"</Button>
                <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Save changes"</Button>
            </div>
        </Form>
    }
}
