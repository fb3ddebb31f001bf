//! The form that reserves a resource.

use super::calendar::Span;
use crate::components::*;
use crate::erased::ErasedSignal;
use crate::pages::config_form::{ConfigForm, ConfigState};
use crate::query::Mutation;
use crate::rpc::reservations;
use crate::session::use_session;
use crate::{intl, time};
use chrono::{DateTime, Duration, Timelike as _, Utc};
use domain::Problem;
use domain::id::ResourceId;
use domain::reservation::{ReservationInput, check_input};
use domain::resource::ConfigSchema;
use leptos::prelude::*;
use leptos_router::hooks::use_navigate;

/// The default length of a reservation in hours.
const DEFAULT_HOURS: i64 = 2;

fn next_full_hour() -> DateTime<Utc> {
    let now = time::now();
    let this_hour = now.with_minute(0).and_then(|t| t.with_second(0)).and_then(|t| t.with_nanosecond(0));
    this_hour.unwrap_or(now) + Duration::hours(1)
}

/// The start and end in the inputs. Tracked.
fn input_span(start: RwSignal<String>, end: RwSignal<String>) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
    (start.with(|text| time::from_input(text)), end.with(|text| time::from_input(text)))
}

/// Keeps the inputs and the selection of the calendar equal.
fn synchronise(start: RwSignal<String>, end: RwSignal<String>, selected: ErasedSignal<Option<Span>>) {
    Effect::new(move |_| {
        if let Some((from, to)) = selected.get() {
            let (from, to) = (time::to_input(from), time::to_input(to));
            if start.get_untracked() != from || end.get_untracked() != to {
                start.set(from);
                end.set(to);
            }
        }
    });
    Effect::new(move |_| {
        if let (Some(from), Some(to)) = input_span(start, end)
            && from < to
        {
            selected.set(Some((from, to)));
        }
    });
}

/// The form with the fields of `schema`.
#[component]
pub fn ReserveForm(id: ResourceId, schema: ConfigSchema, selected: ErasedSignal<Option<Span>>) -> impl IntoView {
    let session = use_session();
    let navigate = use_navigate();
    let first_start = next_full_hour();
    let start = RwSignal::new(time::to_input(first_start));
    let end = RwSignal::new(time::to_input(first_start + Duration::hours(DEFAULT_HOURS)));
    synchronise(start, end, selected);
    let title = RwSignal::new(String::new());
    let stored_key = session.info.with_untracked(|info| info.as_ref().map(|info| info.user.ssh_key.clone()));
    let key = RwSignal::new(stored_key.unwrap_or_default());
    let config = ConfigState::new(schema.clone(), &Default::default());
    let has_config = !schema.fields.is_empty();
    let mutation = Mutation::new();
    let length = move || match input_span(start, end) {
        (Some(from), Some(to)) if to > from => Some(format!("{}. ", intl::length(to - from))),
        _ => None,
    };
    let submit = Callback::new(move |()| {
        let (start_time, end_time) = match untrack(|| input_span(start, end)) {
            (Some(start), Some(end)) => (start, end),
            (start, _) => {
                let field = if start.is_none() { "start_time" } else { "end_time" };
                return mutation.reject(Problem::field(field, "Enter a date and time."));
            }
        };
        let input = ReservationInput {
            resource_id: id,
            title: Some(title.get_untracked().trim().to_owned()),
            start_time,
            end_time,
            user_ssh_key: Some(key.get_untracked().trim().to_owned()),
            additional_config: Some(config.collect()),
        };
        if let Err(problem) = check_input(&input, &schema, time::now()) {
            return mutation.reject(problem);
        }
        let navigate = navigate.clone();
        mutation.run(reservations::reserve(input), move |new| {
            navigate(&format!("/reservations/{}", new.id), Default::default());
        });
    });
    view! {
        <section class="card" aria-label="Reservation">
            <Form on_submit=submit>
                <FormProblem problem=mutation.problem_without_fields() />
                <div class="grid-2">
                    <TextInput label="Start" value=start kind="datetime-local" error=mutation.field_error("start_time") />
                    <TextInput label="End" value=end kind="datetime-local" error=mutation.field_error("end_time") />
                </div>
                <p class="muted small">{length}"Times in "{intl::time_zone()}"."</p>
                <TextInput
                    label="Title"
                    value=title
                    optional=true
                    hint="Shown in lists and the calendar."
                    error=mutation.field_error("title")
                />
                {has_config.then(|| view! { <ConfigForm state=config mutation=mutation /> })}
                <TextArea
                    label="SSH public key"
                    value=key
                    optional=true
                    mono=true
                    hint="Paste your .pub line. Save a default in Settings → Account."
                    placeholder="ssh-ed25519 AAAA… you@host"
                    error=mutation.field_error("user_ssh_key")
                />
                <div>
                    <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Reserve"</Button>
                </div>
            </Form>
        </section>
    }
}
