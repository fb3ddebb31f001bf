//! The form that reserves a resource.

use super::calendar::Calendar;
use super::draft::Draft;
use crate::components::*;
use crate::pages::config_form::{ConfigForm, ConfigState};
use crate::query::Mutation;
use crate::rpc::reservations;
use crate::{intl, time};
use domain::ProblemKind;
use domain::id::ResourceId;
use domain::reservation::{ReservationInput, check_input};
use domain::resource::ConfigSchema;
use leptos::prelude::*;
use leptos_router::hooks::use_navigate;

/// The form with the fields of `schema`.
#[component]
pub fn ReserveForm(id: ResourceId, schema: ConfigSchema, draft: Draft, calendar: Calendar) -> impl IntoView {
    let navigate = use_navigate();
    let config = ConfigState::new(schema.clone(), &schema.accepted(draft.config.get_value()));
    on_cleanup(move || draft.config.update_value(|all| all.extend(config.collect())));
    let has_config = !schema.fields.is_empty();
    let mutation = Mutation::new();
    keep_length(draft.start, draft.end);
    clear_time_errors(draft, mutation);
    let summary = move || {
        let (start, end) = draft.span()?;
        Some(format!("{} · {}. ", intl::span(start, end), intl::length(end - start)))
    };
    let conflict = move || {
        let (start, end) = calendar.conflict(draft.span()?)?;
        let text = format!("Already reserved: {}. Choose another time.", intl::span(start, end));
        Some(view! { <Notice kind=NoticeKind::Warning><p>{text}</p></Notice> })
    };
    let submit = Callback::new(move |()| {
        let (start_time, end_time) = match untrack(|| entered_span(draft.start, draft.end)) {
            Ok(span) => span,
            Err(problem) => return mutation.reject(problem),
        };
        let input = ReservationInput {
            resource_id: id,
            title: Some(draft.title.get_untracked().trim().to_owned()),
            start_time,
            end_time,
            user_ssh_key: Some(draft.key.get_untracked().trim().to_owned()),
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
            <Form on_submit=submit unguarded=true>
                <FormProblem problem=mutation.problem_without_fields() />
                <div class="grid-2">
                    <TimeInput label="Start" value=draft.start error=mutation.field_error("start_time") />
                    <TimeInput label="End" value=draft.end error=mutation.field_error("end_time") />
                </div>
                <p class="muted small">{summary}"Times in "{intl::time_zone()}"."</p>
                <div aria-live="polite">{conflict}</div>
                <TextInput
                    label="Title"
                    value=draft.title
                    optional=true
                    hint="Shown in lists and the calendar."
                    error=mutation.field_error("title")
                />
                {has_config.then(|| view! { <ConfigForm state=config mutation=mutation /> })}
                <TextArea
                    label="SSH public key"
                    value=draft.key
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

/// Removes the errors and the conflict of a time when the user enters another one, also with the calendar.
fn clear_time_errors(draft: Draft, mutation: Mutation) {
    Effect::watch(
        move || (draft.start.get().ok(), draft.end.get().ok()),
        move |new, previous, _| {
            if previous == Some(new) {
                return;
            }
            mutation.clear_errors(&["start_time", "end_time"]);
            if mutation.problem.with_untracked(|p| p.as_ref().is_some_and(|p| p.kind == ProblemKind::Conflict)) {
                mutation.problem.set(None);
            }
        },
        false,
    );
}
