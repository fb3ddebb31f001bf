//! The list of resource types, and its dialogs.

use super::{ConfirmDelete, ListHeading, Purpose, RowActions, TypesQuery, with_actions};
use crate::components::*;
use crate::erased::{ErasedMemo, ErasedSignal};
use crate::list::{BulkChange, Cells, Column, List, ListSpec};
use crate::pages::areas;
use crate::pages::config_form::{ConfigForm, ConfigState};
use crate::query::Mutation;
use crate::rpc::catalogue as rpc;
use crate::session::use_session;
use crate::toast::use_toasts;
use domain::Problem;
use domain::natural_order;
use domain::provisioning::AccessBeforeStart;
use domain::resource::{
    ConfigSchema, DEFAULT_ENDING_NOTICE, DEFAULT_LATE_RELEASE, NOTICE_MINUTES, ResourceType, ResourceTypeInput,
    ResourceTypePatch, check_type,
};
use leptos::prelude::*;
use serde_json::Value;
use std::sync::Arc;

const EXAMPLE_SCHEMA: &str = r#"{"type": "object", "properties": {"gpu_count": {"type": "integer", "title": "GPUs", "minimum": 1, "maximum": 8, "default": 1}}}"#;
const DEFAULT_COLOR: &str = "#4f46e5";
/// The fields of the form.
const FIELDS: [&str; 9] = [
    "slug",
    "name",
    "color",
    "config_schema",
    "lead_minutes",
    "ending_notice_minutes",
    "turnaround_minutes",
    "late_release_minutes",
    "access_before_start",
];

/// The resource types.
#[component]
pub fn ResourceTypes(types: TypesQuery) -> impl IntoView {
    let session = use_session();
    let open = RwSignal::new(false);
    let purpose = ErasedSignal::new(Purpose::<ResourceType>::Create);
    let open_for = Callback::new(move |new: Purpose<ResourceType>| {
        purpose.set(new);
        open.set(true);
    });
    let form = move |old: Option<ResourceType>| {
        areas::show_part(areas::catalogueforms::Screen::Type(StoredValue::new(old), types, open))
    };
    let empty = || {
        view! {
            <EmptyState icon=Icon::Stack title="No resource types yet">
                <p>"A resource type defines the fields of its reservations. Webhooks can be limited to one type."</p>
            </EmptyState>
        }
    };
    view! {
        <section class="stack tight">
            <ListHeading title="Resource types" can_add=Signal::derive(move || session.is_admin())>
                <Button on_click=Callback::new(move |()| open_for.run(Purpose::Create))>
                    <IconView icon=Icon::Plus />
                    "New type"
                </Button>
            </ListHeading>
            {types.view(move |types| {
                let cells: Cells<ResourceType> = Arc::new(move |item| (move || row_cells(item.get(), open_for)).into_any());
                view! {
                    <Show when=move || !types.with(|all| all.is_empty()) fallback=empty>
                        <List rows=types spec=list_spec() cells=cells.clone() />
                    </Show>
                }
            })}
        </section>
        <Dialog open=open title=move || purpose.with(|p| p.title("resource type", |t| &t.name)) wide=true>
            {move || match purpose.get() {
                Purpose::Create => form(None),
                Purpose::Edit(item) => form(Some(item)),
                Purpose::Owners(item) => {
                    let slug = StoredValue::new(item.slug);
                    areas::show_part(areas::groups::Screen::OwnersOfType(slug, open))
                }
                Purpose::Delete(item) => view! { <DeleteType slug=item.slug open=open types=types /> }.into_any(),
            }}
        </Dialog>
    }
}

/// How the list finds and compares resource types.
fn list_spec() -> ListSpec<ResourceType> {
    ListSpec {
        label: "Resource types",
        nouns: ["resource type", "resource types"],
        parameters: ["type-q", "type-sort"],
        columns: with_actions(vec![
            Column::sorted("name", "Type", |one: &ResourceType, other| natural_order::compare(&one.name, &other.name)),
            Column::sorted("slug", "Slug", |one: &ResourceType, other| natural_order::compare(&one.slug, &other.slug)),
            Column::plain("fields", "Fields"),
            Column::sorted("resources", "Resources", |one: &ResourceType, other| one.resources.cmp(&other.resources)),
        ]),
        filters: Vec::new(),
        actions: Vec::new(),
        change: BulkChange::new(),
        id: |item| item.slug.clone(),
        name: |item| item.name.clone(),
        text: |item| format!("{} {}", item.name, item.slug),
    }
}

/// The cells of a resource type.
fn row_cells(item: ResourceType, open_for: Callback<Purpose<ResourceType>>) -> impl IntoView {
    let fields = ConfigSchema::parse(&item.config_schema).map(|schema| schema.fields.len()).unwrap_or_default();
    let is_admin = use_session().is_admin_untracked();
    let (edited, owned, deleted) = (item.clone(), item.clone(), item.clone());
    let on_owners = Callback::new(move |()| open_for.run(Purpose::Owners(owned.clone())));
    let on_edit = Callback::new(move |()| open_for.run(Purpose::Edit(edited.clone())));
    let on_delete = Callback::new(move |()| open_for.run(Purpose::Delete(deleted.clone())));
    view! {
            <td data-label="Type" class="wrap">
                <span><span class="swatch" aria-hidden="true" style:background=item.color></span>{item.name.clone()}</span>
            </td>
            <td data-label="Slug" class="wrap"><code>{item.slug.clone()}</code></td>
            <td data-label="Fields">{fields}</td>
            <td data-label="Resources">{item.resources}</td>
            <RowActions
                name=item.name
                target="resource_type"
                id=item.slug
                manages=is_admin
                on_edit=on_edit
                on_owners=on_owners
                on_delete=on_delete
            />
    }
}

#[component]
fn DeleteType(slug: String, open: RwSignal<bool>, types: TypesQuery) -> impl IntoView {
    let mutation = Mutation::new();
    let toasts = use_toasts();
    let on_confirm = Callback::new(move |()| {
        let deleted = format!("Deleted {slug}.");
        mutation.run(rpc::delete_type(slug.clone()), move |()| {
            open.set(false);
            toasts.show(deleted);
            types.refetch();
        });
    });
    view! {
        <ConfirmDelete
            action="Delete type"
            text="Only a type without resources can be deleted."
            mutation=mutation
            on_confirm=on_confirm
            open=open
        />
    }
}

fn access_options() -> Vec<(String, String)> {
    AccessBeforeStart::ALL.into_iter().map(|access| (access.as_str().to_owned(), access.label().to_owned())).collect()
}

/// Parses a number of minutes.
fn parse_minutes(field: &str, text: &str) -> Result<u32, Problem> {
    let minutes = text.trim().parse().ok().filter(|minutes| NOTICE_MINUTES.contains(minutes));
    minutes.ok_or_else(|| Problem::field(field, "Enter a whole number from 0 to 1440."))
}

/// Parses the text of a schema. An empty text is a schema without fields.
fn parse_schema(text: &str) -> Result<(Value, ConfigSchema), String> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    let value = serde_json::from_str(text).map_err(|error| domain::json_error::describe(&error))?;
    let schema = ConfigSchema::parse(&value).map_err(|errors| {
        let messages = errors.into_iter().map(|error| format!("{}: {}", error.field, error.message));
        messages.collect::<Vec<_>>().join(" ")
    })?;
    Ok((value, schema))
}

/// The form for a new or for an old resource type.
#[component]
pub fn TypeForm(old: Option<ResourceType>, open: RwSignal<bool>, types: TypesQuery) -> impl IntoView {
    let is_new = old.is_none();
    let slug = RwSignal::new(old.as_ref().map(|t| t.slug.clone()).unwrap_or_default());
    let name = RwSignal::new(old.as_ref().map(|t| t.name.clone()).unwrap_or_default());
    let color = RwSignal::new(old.as_ref().map_or_else(|| DEFAULT_COLOR.to_owned(), |t| t.color.clone()));
    let minutes =
        |of: fn(&ResourceType) -> u32, absent: u32| RwSignal::new(old.as_ref().map_or(absent, of).to_string());
    let lead = minutes(|t| t.lead_minutes, 0);
    let ending_notice = minutes(|t| t.ending_notice_minutes, DEFAULT_ENDING_NOTICE);
    let turnaround = minutes(|t| t.turnaround_minutes, 0);
    let late_release = minutes(|t| t.late_release_minutes, DEFAULT_LATE_RELEASE);
    let access = old.as_ref().map(|t| t.access_before_start).unwrap_or_default();
    let access = RwSignal::new(access.as_str().to_owned());
    let schema = old.and_then(|t| domain::json::to_pretty_text(&t.config_schema).ok());
    let schema = RwSignal::new(schema.unwrap_or_else(|| "{}".to_owned()));
    let parsed = ErasedMemo::new(move |_| schema.with(|text| parse_schema(text)));
    let mutation = Mutation::new();
    let toasts = use_toasts();
    let submit = Callback::new(move |()| {
        let value = match parsed.get_untracked() {
            Ok((value, _)) => value,
            Err(message) => return mutation.reject(Problem::field("config_schema", message)),
        };
        let numbers = || -> Result<[Option<u32>; 4], Problem> {
            let parse = |field, minutes: RwSignal<String>| parse_minutes(field, &minutes.get_untracked()).map(Some);
            Ok([
                parse("lead_minutes", lead)?,
                parse("ending_notice_minutes", ending_notice)?,
                parse("turnaround_minutes", turnaround)?,
                parse("late_release_minutes", late_release)?,
            ])
        };
        let [lead_minutes, ending_notice_minutes, turnaround_minutes, late_release_minutes] = match numbers() {
            Ok(numbers) => numbers,
            Err(problem) => return mutation.reject(problem),
        };
        let on_success = move |saved: ResourceType| {
            open.set(false);
            toasts.show(format!("Saved {}.", saved.name));
            types.refetch();
        };
        let slug = slug.get_untracked();
        let access_before_start = AccessBeforeStart::parse(&access.get_untracked());
        let (name, color) = (name.get_untracked().trim().to_owned(), color.get_untracked());
        if is_new {
            let slug = slug.trim().to_owned();
            let (color, config_schema) = (Some(color), Some(value));
            let input = ResourceTypeInput {
                slug,
                name,
                color,
                config_schema,
                lead_minutes,
                ending_notice_minutes,
                turnaround_minutes,
                late_release_minutes,
                access_before_start,
            };
            match check_type(&input) {
                Err(problem) => mutation.reject(problem),
                Ok(_) => mutation.run(rpc::create_type(input), on_success),
            }
        } else {
            let (name, color, config_schema) = (Some(name), Some(color), Some(value));
            let patch = ResourceTypePatch {
                name,
                color,
                config_schema,
                lead_minutes,
                ending_notice_minutes,
                turnaround_minutes,
                late_release_minutes,
                access_before_start,
            };
            mutation.run(rpc::patch_type(slug, patch), on_success);
        }
    });
    let server_error = mutation.field_error("config_schema");
    let schema_error = Signal::derive(move || parsed.get().err().or_else(|| server_error.get()));
    let schema_error = FieldMessage::new(schema_error, Callback::new(move |()| server_error.edited()));
    view! {
        <Form on_submit=submit>
            <FormProblem problem=mutation.problem_except(&FIELDS) />
            <div class="grid-2">
                <TextInput label="Name" value=name error=mutation.field_error("name") />
                <TextInput
                    label="Slug"
                    value=slug
                    mono=true
                    disabled=!is_new
                    hint="Cannot be changed; sent to receivers as resource_type."
                    error=mutation.field_error("slug")
                />
                <TextInput label="Colour" value=color kind="color" error=mutation.field_error("color") />
                <TextInput
                    label="Lead time (minutes)"
                    value=lead
                    numeric=true
                    hint="Webhooks that provision at the start get Reservation Created this long before it."
                    error=mutation.field_error("lead_minutes")
                />
                <TextInput
                    label="Ending notice (minutes)"
                    value=ending_notice
                    numeric=true
                    hint="Reservation Ending is sent this long before the end."
                    error=mutation.field_error("ending_notice_minutes")
                />
                <TextInput
                    label="Turnaround (minutes)"
                    value=turnaround
                    numeric=true
                    hint="Time after each reservation in which the resource cannot be reserved."
                    error=mutation.field_error("turnaround_minutes")
                />
                <TextInput
                    label="Late release (minutes)"
                    value=late_release
                    numeric=true
                    hint="Time after the end when owners are notified that the release is missing and the next reservation waits."
                    error=mutation.field_error("late_release_minutes")
                />
                <Select
                    label="Access information before the start"
                    value=access
                    options=access_options()
                    hint=move || AccessBeforeStart::parse(&access.get()).unwrap_or_default().explanation()
                    error=mutation.field_error("access_before_start")
                />
            </div>
            <TextArea
                label="Configuration schema"
                value=schema
                mono=true
                rows=10
                hint=format!("JSON Schema of the fields in the reservation form; {{}} for none. Example: {EXAMPLE_SCHEMA}")
                error=schema_error
            />
            {move || parsed.get().ok().map(|(_, schema)| view! { <FormPreview schema=schema /> })}
            <div class="dialog-actions">
                <Button on_click=Callback::new(move |()| open.set(false))>"Cancel"</Button>
                <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Save type"</Button>
            </div>
        </Form>
    }
}

/// The fields of a schema as the reservation form shows them.
#[component]
fn FormPreview(schema: ConfigSchema) -> impl IntoView {
    (!schema.fields.is_empty()).then(|| {
        let state = ConfigState::new(schema, &Default::default());
        view! {
            <fieldset class="card stack tight">
                <legend>"Form preview"</legend>
                <ConfigForm state=state mutation=Mutation::new() />
            </fieldset>
        }
    })
}
