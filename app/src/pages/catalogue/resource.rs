//! The list of resources, and its dialogs.

use super::{ConfirmDelete, ListHeading, Purpose, ResourcesQuery, RowActions, TypesQuery, with_actions};
use crate::components::*;
use crate::erased::ErasedSignal;
use crate::list::{Action, BulkChange, BulkText, Cells, ChangeRow, Column, Filter, List, ListSpec};
use crate::pages::areas;
use crate::query::Mutation;
use crate::rpc::catalogue as rpc;
use crate::session::{Session, use_session};
use crate::toast::use_toasts;
use domain::id::ResourceId;
use domain::natural_order;
use domain::ownership::ResourceKey;
use domain::resource::{Resource, ResourceInput, ResourcePatch, ResourceStatus, check_resource};
use leptos::prelude::*;
use std::rc::Rc;
use std::sync::Arc;

/// The resources.
#[component]
pub fn Resources(types: TypesQuery, resources: ResourcesQuery) -> impl IntoView {
    let open = RwSignal::new(false);
    let purpose = ErasedSignal::new(Purpose::<Resource>::Create);
    let open_for = Callback::new(move |new: Purpose<Resource>| {
        purpose.set(new);
        open.set(true);
    });
    // The list of types contains the number of their resources.
    let on_change = Callback::new(move |()| {
        open.set(false);
        resources.refetch();
        types.refetch();
    });
    let session = use_session();
    let no_types = Signal::derive(move || types.get().is_none_or(|types| types.is_empty()));
    let change = BulkChange::new();
    let form = move |old: Option<Resource>| {
        areas::show_part(areas::catalogueforms::Screen::Resource(StoredValue::new(old), types, on_change, open))
    };
    let empty = || {
        view! {
            <EmptyState icon=Icon::Server title="No resources yet">
                <p>"Create a resource type first, then its resources."</p>
            </EmptyState>
        }
    };
    view! {
        <section class="stack tight">
            <ListHeading title="Resources" can_add=Signal::derive(move || session.manages_webhooks())>
                <Button disabled=no_types on_click=Callback::new(move |()| open_for.run(Purpose::Create))>
                    <IconView icon=Icon::Plus />
                    "New resource"
                </Button>
            </ListHeading>
            {resources.view(move |items| {
                let cells: Cells<Resource> = Arc::new(move |item| (move || row_cells(item.get(), open_for)).into_any());
                view! {
                    <Show when=move || !items.with(|all| all.is_empty()) fallback=empty>
                        <List rows=items spec=list_spec(session, types, resources, change) cells=cells.clone() />
                    </Show>
                }
            })}
        </section>
        <Dialog open=open title=move || purpose.with(|p| p.title("resource", |r| &r.name))>
            {move || match purpose.get() {
                Purpose::Create => form(None),
                Purpose::Edit(item) => form(Some(item)),
                Purpose::Owners(item) => areas::show_part(areas::groups::Screen::OwnersOfResource(item.id, open)),
                Purpose::Delete(item) => view! { <DeleteResource id=item.id on_done=on_change open=open /> }.into_any(),
            }}
        </Dialog>
    }
}

/// How the list finds, compares and changes resources.
fn list_spec(session: Session, types: TypesQuery, resources: ResourcesQuery, change: BulkChange) -> ListSpec<Resource> {
    let type_options = move || {
        let types = types.get().unwrap_or_default();
        types.iter().map(|item| (item.slug.clone(), item.name.clone())).collect::<Vec<_>>()
    };
    let statuses = [ResourceStatus::Available, ResourceStatus::Restricted, ResourceStatus::Maintenance];
    let statuses = statuses.map(|status| (status.as_str().to_owned(), status.label().to_owned())).to_vec();
    let set = move |status: ResourceStatus| {
        Callback::new(move |mut items: Vec<Resource>| {
            items.retain(|item| untrack(|| session.manages(ResourceKey::new(&item.resource_type, item.id))));
            set_status(resources, change, items, status);
        })
    };
    let actions = vec![
        Action {
            verb: ["Set", "to maintenance"],
            applies: |item: &Resource| item.status != ResourceStatus::Maintenance,
            run: set(ResourceStatus::Maintenance),
        },
        Action {
            verb: ["Set", "to available"],
            applies: |item: &Resource| item.status != ResourceStatus::Available,
            run: set(ResourceStatus::Available),
        },
    ];
    let can_change = untrack(|| session.manages_resources());
    ListSpec {
        label: "Resources",
        nouns: NOUNS,
        parameters: ["q", "sort"],
        columns: with_actions(vec![
            Column::sorted("name", "Resource", |one: &Resource, other| natural_order::compare(&one.name, &other.name)),
            Column::sorted("type", "Type", |one: &Resource, other| {
                natural_order::compare(&one.resource_type, &other.resource_type)
            }),
            Column::sorted("location", "Location", |one: &Resource, other| {
                natural_order::compare(&one.location, &other.location)
            }),
            Column::plain("specs", "Specs"),
            Column::sorted("status", "Status", |one: &Resource, other| one.status.label().cmp(other.status.label())),
        ]),
        filters: vec![
            Filter {
                parameter: "type",
                label: "Type",
                options: Signal::derive(type_options),
                matches: |item, value| item.resource_type == value,
            },
            Filter {
                parameter: "status",
                label: "Status",
                options: Signal::stored(statuses),
                matches: |item, value| item.status.as_str() == value,
            },
        ],
        actions: if can_change { actions } else { Vec::new() },
        change,
        id: |item| item.id.to_string(),
        name: |item| item.name.clone(),
        text: |item| format!("{} {} {} {}", item.name, item.resource_type, item.location, item.specs),
    }
}

/// The name of one resource and of several.
const NOUNS: [&str; 2] = ["resource", "resources"];

/// Sets the status of resources. *Undo* restores the last status of each.
fn set_status(resources: ResourcesQuery, change: BulkChange, items: Vec<Resource>, status: ResourceStatus) {
    let set = |status: Option<ResourceStatus>| -> ChangeRow<Resource> {
        Rc::new(move |item| {
            let patch = ResourcePatch { status: Some(status.unwrap_or(item.status)), ..Default::default() };
            Box::pin(async move { rpc::patch_resource(item.id, patch).await.map(|_| ()) })
        })
    };
    let done = match status {
        ResourceStatus::Maintenance => ["Set", "to maintenance"],
        _ => ["Set", "to available"],
    };
    let text = BulkText { done, undone: Some(["Restored", ""]), nouns: NOUNS };
    let refetch = Rc::new(move || resources.refetch());
    change.run(text, items, |item| item.name.clone(), set(Some(status)), set(None), refetch);
}

/// The cells of a resource.
fn row_cells(item: Resource, open_for: Callback<Purpose<Resource>>) -> impl IntoView {
    let manages = untrack(|| use_session().manages(ResourceKey::new(&item.resource_type, item.id)));
    let (edited, owned, deleted) = (item.clone(), item.clone(), item.clone());
    let on_edit = Callback::new(move |()| open_for.run(Purpose::Edit(edited.clone())));
    let on_owners = Callback::new(move |()| open_for.run(Purpose::Owners(owned.clone())));
    let on_delete = Callback::new(move |()| open_for.run(Purpose::Delete(deleted.clone())));
    view! {
            <td data-label="Resource" class="wrap">{item.name.clone()}</td>
            <td data-label="Type" class="wrap"><code>{item.resource_type}</code></td>
            <td data-label="Location" class="wrap">{item.location}</td>
            <td data-label="Specs" class="wrap">{item.specs}</td>
            <td data-label="Status"><Badge status=item.status /></td>
            <RowActions
                name=item.name
                target="resource"
                id=item.id.to_string()
                manages=manages
                on_edit=on_edit
                on_owners=on_owners
                on_delete=on_delete
            />
    }
}

#[component]
fn DeleteResource(id: ResourceId, on_done: Callback<()>, open: RwSignal<bool>) -> impl IntoView {
    let mutation = Mutation::new();
    let toasts = use_toasts();
    let on_confirm = Callback::new(move |()| {
        mutation.run(rpc::delete_resource(id), move |()| {
            toasts.show("Deleted the resource.".to_owned());
            on_done.run(());
        });
    });
    view! {
        <ConfirmDelete
            action="Delete resource"
            text="A resource with active or future reservations cannot be deleted. Set it to maintenance instead."
            mutation=mutation
            on_confirm=on_confirm
            open=open
        />
    }
}

/// The form for a new or for an old resource.
#[component]
pub fn ResourceForm(
    old: Option<Resource>,
    types: TypesQuery,
    on_done: Callback<()>,
    open: RwSignal<bool>,
) -> impl IntoView {
    let id = old.as_ref().map(|r| r.id);
    let session = use_session();
    let type_options: Vec<(String, String)> = types
        .get_untracked()
        .unwrap_or_default()
        .iter()
        .filter(|t| untrack(|| session.manages(ResourceKey::of_type(&t.slug))))
        .map(|t| (t.slug.clone(), t.name.clone()))
        .collect();
    let first_type = type_options.first().map(|(slug, _)| slug.clone()).unwrap_or_default();
    let name = RwSignal::new(old.as_ref().map(|r| r.name.clone()).unwrap_or_default());
    let resource_type = RwSignal::new(old.as_ref().map_or(first_type, |r| r.resource_type.clone()));
    let location = RwSignal::new(old.as_ref().map(|r| r.location.clone()).unwrap_or_default());
    let specs = RwSignal::new(old.as_ref().map(|r| r.specs.clone()).unwrap_or_default());
    let status = RwSignal::new(old.as_ref().map_or(ResourceStatus::Available, |r| r.status).as_str().to_owned());
    let mutation = Mutation::new();
    let toasts = use_toasts();
    let submit = Callback::new(move |()| {
        let trimmed = |signal: RwSignal<String>| signal.get_untracked().trim().to_owned();
        let status = ResourceStatus::parse(&status.get_untracked());
        let input = ResourceInput {
            name: trimmed(name),
            resource_type: resource_type.get_untracked(),
            location: Some(trimmed(location)),
            specs: Some(trimmed(specs)),
            status,
        };
        if let Err(problem) = check_resource(&input) {
            return mutation.reject(problem);
        }
        match id {
            None => mutation.run(rpc::create_resource(input), move |new| {
                toasts.show(format!("Created {}.", new.name));
                on_done.run(());
            }),
            Some(id) => {
                let ResourceInput { name, location, specs, .. } = input;
                let patch = ResourcePatch { name: Some(name), location, specs, status };
                mutation.run(rpc::patch_resource(id, patch), move |new| {
                    toasts.show(format!("Saved {}.", new.name));
                    on_done.run(());
                });
            }
        }
    });
    view! {
        <Form on_submit=submit>
            <FormProblem problem=mutation.problem_except(&["name", "resource_type", "location", "specs"]) />
            <TextInput label="Name" value=name error=mutation.field_error("name") />
            {id
                .is_none()
                .then(|| {
                    view! {
                        <Select
                            label="Type"
                            value=resource_type
                            options=type_options
                            error=mutation.field_error("resource_type")
                        />
                    }
                })}
            <TextInput label="Location" value=location optional=true error=mutation.field_error("location") />
            <TextArea label="Specs" value=specs optional=true error=mutation.field_error("specs") />
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
                <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Save resource"</Button>
            </div>
        </Form>
    }
}
