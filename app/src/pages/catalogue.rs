//! Resource types and resources, for administrators.

use crate::components::*;
use crate::load::{Load, Write, load};
use crate::rpc::catalogue as rpc;
use crate::values::{Cell, Value};
use domain::Problem;
use domain::pagination::Page;
use domain::resource::{
    ConfigSchema, Resource, ResourceInput, ResourcePatch, ResourceStatus, ResourceType, ResourceTypeInput,
    ResourceTypePatch, check_resource, check_type,
};
use leptos::prelude::*;
use serde_json::Value as Json;

type Types = Load<Page<ResourceType>>;
type Resources = Load<Page<Resource>>;

/// `/settings/catalogue`
#[component]
pub fn CataloguePage() -> impl IntoView {
    let types = load(rpc::list_types);
    let resources = load(|| rpc::list_resources(None));
    view! {
        <PageHeader title="Catalogue" lead="Resource types, their fields and resources." />
        <div class="stack">
            <TypesPart types=types />
            <ResourcesPart types=types resources=resources />
        </div>
    }
}

/// What a dialog is open for.
#[derive(Clone)]
enum Editing<T> {
    New,
    Change(T),
    Delete(T),
}

#[component]
fn TypesPart(types: Types) -> impl IntoView {
    let open = RwSignal::new(false);
    let what = Cell::new(Editing::<ResourceType>::New);
    let act = Callback::new(move |editing: Editing<ResourceType>| {
        what.set(editing);
        open.set(true);
    });
    let title = move || match what.get() {
        Editing::New => "New resource type".to_owned(),
        Editing::Change(kind) => format!("Edit {}", kind.name),
        Editing::Delete(kind) => format!("Delete {}?", kind.name),
    };
    let row = move |kind: ResourceType| {
        let fields = ConfigSchema::parse(&kind.config_schema).map(|s| s.fields.len()).unwrap_or_default();
        let (change, delete) = (kind.clone(), kind.clone());
        view! {
            <tr>
                <td data-label="Type">
                    <span><span class="swatch" aria-hidden="true" style:background=kind.color.clone()></span>{kind.name.clone()}</span>
                </td>
                <td data-label="Slug"><code>{kind.slug}</code></td>
                <td data-label="Fields">{fields}</td>
                <td data-label="Resources">{kind.resources}</td>
                <td>
                    <div class="row">
                        <Button look=Look::Quiet label=format!("Edit {}", kind.name) on_click=Callback::new(move |()| act.run(Editing::Change(change.clone())))>"Edit"</Button>
                        <Button look=Look::Quiet label=format!("Delete {}", kind.name) on_click=Callback::new(move |()| act.run(Editing::Delete(delete.clone())))>"Delete"</Button>
                    </div>
                </td>
            </tr>
        }.into_any()
    };
    view! {
        <section class="stack tight">
            <div class="row between">
                <h2>"Resource types"</h2>
                <Button on_click=Callback::new(move |()| act.run(Editing::New))><IconView icon=Icon::Plus />"New type"</Button>
            </div>
            {types.show(move |page| {
                let items = Value::derive(move || page.get().items);
                view! {
                    <When
                        when=move || !items.with(Vec::is_empty)
                        fallback=|| view! { <EmptyState icon=Icon::Stack title="No resource types yet"><p>"A resource type defines the fields of its reservations. Webhooks can be limited to one type."</p></EmptyState> }
                    >
                        <TableBox label="Resource types">
                            <table class="cards-on-phone">
                                <thead>
                                    <tr>
                                        <th>"Type"</th>
                                        <th>"Slug"</th>
                                        <th>"Fields"</th>
                                        <th>"Resources"</th>
                                        <th><span class="visually-hidden">"Actions"</span></th>
                                    </tr>
                                </thead>
                                <tbody>{move || items.get().into_iter().map(row).collect_view()}</tbody>
                            </table>
                        </TableBox>
                    </When>
                }
            })}
        </section>
        <Dialog open=open title=title wide=true>
            {move || match what.get() {
                Editing::New => view! { <TypeForm old=None open=open types=types /> }.into_any(),
                Editing::Change(kind) => view! { <TypeForm old=Some(kind) open=open types=types /> }.into_any(),
                Editing::Delete(kind) => {
                    let write = Write::new();
                    let slug = kind.slug.clone();
                    let go = Callback::new(move |()| {
                        write.run(rpc::delete_type(slug.clone()), move |()| {
                            open.set(false);
                            types.again();
                        });
                    });
                    view! { <Confirm action="Delete type" words="Only a type without resources can be deleted." write=write go=go open=open /> }.into_any()
                }
            }}
        </Dialog>
    }
}

/// Asks before something is deleted.
#[component]
fn Confirm(
    words: &'static str,
    action: &'static str,
    write: Write,
    go: Callback<()>,
    open: RwSignal<bool>,
) -> impl IntoView {
    view! {
        <p>{words}</p>
        <FormProblem problem=write.problem />
        <div class="dialog-actions">
            <Button on_click=Callback::new(move |()| open.set(false))>"Cancel"</Button>
            <Button look=Look::Danger busy=write.busy on_click=go>{action}</Button>
        </div>
    }
}

const EXAMPLE: &str = r#"{"type": "object", "properties": {"gpu_count": {"type": "integer", "title": "GPUs", "minimum": 1, "maximum": 8, "default": 1}}}"#;

#[component]
fn TypeForm(old: Option<ResourceType>, open: RwSignal<bool>, types: Types) -> impl IntoView {
    let new = old.is_none();
    let slug = RwSignal::new(old.as_ref().map(|t| t.slug.clone()).unwrap_or_default());
    let name = RwSignal::new(old.as_ref().map(|t| t.name.clone()).unwrap_or_default());
    let color = RwSignal::new(old.as_ref().map_or_else(|| "#4f46e5".to_owned(), |t| t.color.clone()));
    let schema = RwSignal::new(match &old {
        Some(t) => domain::json::to_pretty_text(&t.config_schema).unwrap_or_default(),
        None => "{}".to_owned(),
    });
    let write = Write::new();
    let parsed = Value::memo(move || -> Result<Json, String> {
        let text = schema.get();
        if text.trim().is_empty() {
            return Ok(Json::Object(Default::default()));
        }
        serde_json::from_str(&text).map_err(|error| domain::json_error::describe(&error))
    });
    // What the schema says, as the reservation form will show it.
    let preview = Value::memo(move || match parsed.get() {
        Err(message) => Err(message),
        Ok(value) => ConfigSchema::parse(&value).map_err(|errors| {
            errors.into_iter().map(|e| format!("{}: {}", e.field, e.message)).collect::<Vec<_>>().join(" ")
        }),
    });
    let submit = Callback::new(move |()| {
        let value = match (parsed.get_untracked(), preview.get_untracked()) {
            (Ok(value), Ok(_)) => value,
            (_, Err(message)) | (Err(message), _) => return write.refuse(Problem::field("config_schema", message)),
        };
        let done = move |_| {
            open.set(false);
            types.again();
        };
        let (name, color) = (name.get_untracked().trim().to_owned(), color.get_untracked());
        if new {
            let input = ResourceTypeInput {
                slug: slug.get_untracked().trim().to_owned(),
                name,
                color: Some(color),
                config_schema: Some(value),
            };
            match check_type(&input) {
                Err(problem) => write.refuse(problem),
                Ok(_) => write.run(rpc::create_type(input), done),
            }
        } else {
            let patch = ResourceTypePatch { name: Some(name), color: Some(color), config_schema: Some(value) };
            write.run(rpc::patch_type(slug.get_untracked(), patch), done);
        }
    });
    let schema_error = Signal::derive(move || preview.get().err().or_else(|| write.message("config_schema").get()));
    view! {
        <Form on_submit=submit>
            <FormProblem problem=write.other_than(&["slug", "name", "color", "config_schema"]) />
            <div class="grid-2">
                <TextInput label="Name" value=name error=write.message("name") />
                <TextInput label="Slug" value=slug mono=true disabled=!new hint="Cannot be changed; sent to receivers as resource_type." error=write.message("slug") />
                <TextInput label="Colour" value=color kind="color" error=write.message("color") />
            </div>
            <TextArea label="Configuration schema" value=schema mono=true rows=10 hint=format!("JSON Schema of the fields in the reservation form; {{}} for none. Example: {EXAMPLE}") error=schema_error />
            {move || preview.get().ok().filter(|s| !s.fields.is_empty()).map(|schema| {
                let state = ConfigState::new(schema, &Default::default());
                view! {
                    <fieldset class="card stack tight">
                        <legend>"Form preview"</legend>
                        <ConfigForm state=state write=Write::new() />
                    </fieldset>
                }.into_any()
            })}
            <div class="dialog-actions">
                <Button on_click=Callback::new(move |()| open.set(false))>"Cancel"</Button>
                <Button look=Look::Primary submit=true busy=write.busy>"Save type"</Button>
            </div>
        </Form>
    }
}

#[component]
fn ResourcesPart(types: Types, resources: Resources) -> impl IntoView {
    let open = RwSignal::new(false);
    let what = Cell::new(Editing::<Resource>::New);
    let act = Callback::new(move |editing: Editing<Resource>| {
        what.set(editing);
        open.set(true);
    });
    let title = move || match what.get() {
        Editing::New => "New resource".to_owned(),
        Editing::Change(resource) => format!("Edit {}", resource.name),
        Editing::Delete(resource) => format!("Delete {}?", resource.name),
    };
    let changed = Callback::new(move |()| {
        open.set(false);
        resources.again();
        types.again();
    });
    let row = move |resource: Resource| {
        let (change, delete) = (resource.clone(), resource.clone());
        view! {
            <tr>
                <td data-label="Resource">{resource.name.clone()}</td>
                <td data-label="Type" class="nowrap"><code>{resource.resource_type}</code></td>
                <td data-label="Location">{resource.location}</td>
                <td data-label="Specs" class="wrap">{resource.specs}</td>
                <td data-label="Status"><Chip state=resource.status /></td>
                <td>
                    <div class="row">
                        <Button look=Look::Quiet label=format!("Edit {}", resource.name) on_click=Callback::new(move |()| act.run(Editing::Change(change.clone())))>"Edit"</Button>
                        <Button look=Look::Quiet label=format!("Delete {}", resource.name) on_click=Callback::new(move |()| act.run(Editing::Delete(delete.clone())))>"Delete"</Button>
                    </div>
                </td>
            </tr>
        }.into_any()
    };
    let none = move || types.get().is_none_or(|page| page.items.is_empty());
    view! {
        <section class="stack tight">
            <div class="row between">
                <h2>"Resources"</h2>
                <Button disabled=Signal::derive(none) on_click=Callback::new(move |()| act.run(Editing::New))><IconView icon=Icon::Plus />"New resource"</Button>
            </div>
            {resources.show(move |page| {
                let items = Value::derive(move || page.get().items);
                view! {
                    <When
                        when=move || !items.with(Vec::is_empty)
                        fallback=|| view! { <EmptyState icon=Icon::Server title="No resources yet"><p>"Create a resource type first, then its resources."</p></EmptyState> }
                    >
                        <TableBox label="Resources">
                            <table class="cards-on-phone">
                                <thead>
                                    <tr>
                                        <th>"Resource"</th>
                                        <th>"Type"</th>
                                        <th>"Location"</th>
                                        <th>"Specs"</th>
                                        <th>"Status"</th>
                                        <th><span class="visually-hidden">"Actions"</span></th>
                                    </tr>
                                </thead>
                                <tbody>{move || items.get().into_iter().map(row).collect_view()}</tbody>
                            </table>
                        </TableBox>
                    </When>
                }
            })}
        </section>
        <Dialog open=open title=title>
            {move || match what.get() {
                Editing::New => view! { <ResourceForm old=None types=types done=changed open=open /> }.into_any(),
                Editing::Change(resource) => view! { <ResourceForm old=Some(resource) types=types done=changed open=open /> }.into_any(),
                Editing::Delete(resource) => {
                    let write = Write::new();
                    let go = Callback::new(move |()| write.run(rpc::delete_resource(resource.id), move |()| changed.run(())));
                    view! { <Confirm action="Delete resource" words="A resource with active or future reservations cannot be deleted. Set it to maintenance instead." write=write go=go open=open /> }.into_any()
                }
            }}
        </Dialog>
    }
}

#[component]
fn ResourceForm(old: Option<Resource>, types: Types, done: Callback<()>, open: RwSignal<bool>) -> impl IntoView {
    let id = old.as_ref().map(|r| r.id);
    let slugs: Vec<(String, String)> = types
        .get_untracked()
        .map(|page| page.items.into_iter().map(|t| (t.slug, t.name)).collect())
        .unwrap_or_default();
    let first = slugs.first().map(|(slug, _)| slug.clone()).unwrap_or_default();
    let name = RwSignal::new(old.as_ref().map(|r| r.name.clone()).unwrap_or_default());
    let kind = RwSignal::new(old.as_ref().map_or(first, |r| r.resource_type.clone()));
    let location = RwSignal::new(old.as_ref().map(|r| r.location.clone()).unwrap_or_default());
    let specs = RwSignal::new(old.as_ref().map(|r| r.specs.clone()).unwrap_or_default());
    let status = RwSignal::new(old.as_ref().map_or(ResourceStatus::Available, |r| r.status).as_str().to_owned());
    let write = Write::new();
    let submit = Callback::new(move |()| {
        let text = |signal: RwSignal<String>| signal.get_untracked().trim().to_owned();
        let status = ResourceStatus::parse(&status.get_untracked());
        let input = ResourceInput {
            name: text(name),
            resource_type: kind.get_untracked(),
            location: Some(text(location)),
            specs: Some(text(specs)),
            status,
        };
        if let Err(problem) = check_resource(&input) {
            return write.refuse(problem);
        }
        match id {
            None => write.run(rpc::create_resource(input), move |_| done.run(())),
            Some(id) => {
                let patch =
                    ResourcePatch { name: Some(input.name), location: input.location, specs: input.specs, status };
                write.run(rpc::patch_resource(id, patch), move |_| done.run(()));
            }
        }
    });
    view! {
        <Form on_submit=submit>
            <FormProblem problem=write.other_than(&["name", "resource_type", "location", "specs"]) />
            <TextInput label="Name" value=name error=write.message("name") />
            {id.is_none().then(|| view! { <Select label="Type" value=kind options=slugs error=write.message("resource_type") /> }.into_any())}
            <TextInput label="Location" value=location optional=true error=write.message("location") />
            <TextArea label="Specs" value=specs optional=true error=write.message("specs") />
            <RadioCards
                legend="Status"
                value=status
                options=vec![
                    ("available", "Available", "Everyone can reserve it."),
                    ("restricted", "Restricted", "Users must request access first."),
                    ("maintenance", "Maintenance", "New reservations are blocked."),
                ]
            />
            <div class="dialog-actions">
                <Button on_click=Callback::new(move |()| open.set(false))>"Cancel"</Button>
                <Button look=Look::Primary submit=true busy=write.busy>"Save resource"</Button>
            </div>
        </Form>
    }
}
