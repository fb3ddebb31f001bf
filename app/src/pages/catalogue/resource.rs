//! The list of resources, and its dialogs.

use super::{ActionsHead, ConfirmDelete, ListHeading, Purpose, ResourcesQuery, RowActions, TypesQuery};
use crate::components::*;
use crate::erased::{ErasedMemo, ErasedSignal};
use crate::pages::areas;
use crate::query::Mutation;
use crate::rpc::catalogue as rpc;
use crate::session::use_session;
use domain::id::ResourceId;
use domain::ownership::ResourceKey;
use domain::resource::{Resource, ResourceInput, ResourcePatch, ResourceStatus, check_resource};
use leptos::prelude::*;

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
    let no_types = Signal::derive(move || types.get().is_none_or(|page| page.items.is_empty()));
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
            {resources.view(move |page| {
                let items = ErasedMemo::new(move |_| page.get().items);
                let row = move |item| view! { <Row item=item open_for=open_for /> };
                view! {
                    <Show when=move || !items.with(Vec::is_empty) fallback=empty>
                        <ScrollableTable label="Resources">
                            <table class="cards-on-phone">
                                <thead>
                                    <tr>
                                        <th>"Resource"</th>
                                        <th>"Type"</th>
                                        <th>"Location"</th>
                                        <th>"Specs"</th>
                                        <th>"Status"</th>
                                        <ActionsHead />
                                    </tr>
                                </thead>
                                <tbody>{move || items.get().into_iter().map(row).collect_view()}</tbody>
                            </table>
                        </ScrollableTable>
                    </Show>
                }
            })}
        </section>
        <Dialog open=open title=move || purpose.with(|p| p.title("resource", |r| &r.name))>
            {move || match purpose.get() {
                Purpose::Create => view! { <ResourceForm old=None types=types on_done=on_change open=open /> }.into_any(),
                Purpose::Edit(item) => {
                    view! { <ResourceForm old=Some(item) types=types on_done=on_change open=open /> }.into_any()
                }
                Purpose::Owners(item) => areas::show_part(areas::groups::Screen::OwnersOfResource(item.id, open)),
                Purpose::Delete(item) => view! { <DeleteResource id=item.id on_done=on_change open=open /> }.into_any(),
            }}
        </Dialog>
    }
}

#[component]
fn Row(item: Resource, open_for: Callback<Purpose<Resource>>) -> impl IntoView {
    let manages = untrack(|| use_session().manages(ResourceKey::new(&item.resource_type, item.id)));
    let (edited, owned, deleted) = (item.clone(), item.clone(), item.clone());
    let on_edit = Callback::new(move |()| open_for.run(Purpose::Edit(edited.clone())));
    let on_owners = Callback::new(move |()| open_for.run(Purpose::Owners(owned.clone())));
    let on_delete = Callback::new(move |()| open_for.run(Purpose::Delete(deleted.clone())));
    view! {
        <tr>
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
        </tr>
    }
}

#[component]
fn DeleteResource(id: ResourceId, on_done: Callback<()>, open: RwSignal<bool>) -> impl IntoView {
    let mutation = Mutation::new();
    let on_confirm = Callback::new(move |()| mutation.run(rpc::delete_resource(id), move |()| on_done.run(())));
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

#[component]
fn ResourceForm(
    old: Option<Resource>,
    types: TypesQuery,
    on_done: Callback<()>,
    open: RwSignal<bool>,
) -> impl IntoView {
    let id = old.as_ref().map(|r| r.id);
    let session = use_session();
    let type_options: Vec<(String, String)> = types
        .get_untracked()
        .into_iter()
        .flat_map(|page| page.items)
        .filter(|t| untrack(|| session.manages(ResourceKey::of_type(&t.slug))))
        .map(|t| (t.slug, t.name))
        .collect();
    let first_type = type_options.first().map(|(slug, _)| slug.clone()).unwrap_or_default();
    let name = RwSignal::new(old.as_ref().map(|r| r.name.clone()).unwrap_or_default());
    let resource_type = RwSignal::new(old.as_ref().map_or(first_type, |r| r.resource_type.clone()));
    let location = RwSignal::new(old.as_ref().map(|r| r.location.clone()).unwrap_or_default());
    let specs = RwSignal::new(old.as_ref().map(|r| r.specs.clone()).unwrap_or_default());
    let status = RwSignal::new(old.as_ref().map_or(ResourceStatus::Available, |r| r.status).as_str().to_owned());
    let mutation = Mutation::new();
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
            None => mutation.run(rpc::create_resource(input), move |_| on_done.run(())),
            Some(id) => {
                let ResourceInput { name, location, specs, .. } = input;
                let patch = ResourcePatch { name: Some(name), location, specs, status };
                mutation.run(rpc::patch_resource(id, patch), move |_| on_done.run(()));
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
