//! Settings → Groups, and the form for the owners of a resource type or a resource.

use crate::components::*;
use crate::erased::{ErasedMemo, ErasedSignal};
use crate::query::{Mutation, Query};
use crate::rpc::{accounts, groups as rpc};
use crate::session::{ForAdministrators, use_session};
use domain::id::{GroupId, ResourceId};
use domain::ownership::{Group, GroupInput, GroupPatch, OwnersInput, check_group};
use domain::pagination::Page;
use leptos::prelude::*;

/// Number of members that the list names; the number of the others follows.
const NAMED_MEMBERS: usize = 8;

/// The purpose of the open dialog.
#[derive(Clone, PartialEq)]
enum Purpose {
    Create,
    Edit(Group),
    Delete(Group),
}

impl Purpose {
    fn title(&self) -> String {
        match self {
            Self::Create => "New group".to_owned(),
            Self::Edit(group) => format!("Edit {}", group.name),
            Self::Delete(group) => format!("Delete {}?", group.name),
        }
    }
}

/// `/settings/groups`
#[component]
pub fn GroupsPage() -> impl IntoView {
    let list = Query::new(rpc::list_groups);
    let open = RwSignal::new(false);
    let purpose = ErasedSignal::new(Purpose::Create);
    let open_for = Callback::new(move |new: Purpose| {
        purpose.set(new);
        open.set(true);
    });
    let on_done = Callback::new(move |()| {
        open.set(false);
        list.refetch();
    });
    let create = Callback::new(move |()| open_for.run(Purpose::Create));
    let empty = || {
        view! {
            <EmptyState icon=Icon::People title="No groups yet">
                <p>"A group can own resource types and resources in the catalogue. Its members then manage them."</p>
            </EmptyState>
        }
    };
    view! {
        <PageHeader title="Groups" lead="Teams of users that own resources.">
            <ForAdministrators>
                <Button variant=ButtonVariant::Primary on_click=create><IconView icon=Icon::Plus />"New group"</Button>
            </ForAdministrators>
        </PageHeader>
        {list.view(move |page: ErasedMemo<Page<Group>>| {
            let items = ErasedMemo::new(move |_| page.get().items);
            let row = move |group| view! { <Row group=group open_for=open_for /> };
            view! {
                <Show when=move || !items.with(Vec::is_empty) fallback=empty>
                    <ScrollableTable label="Groups">
                        <table class="cards-on-phone">
                            <thead>
                                <tr>
                                    <th>"Group"</th>
                                    <th>"Members"</th>
                                    <th>"Created"</th>
                                    <th><span class="visually-hidden">"Actions"</span></th>
                                </tr>
                            </thead>
                            <tbody>{move || items.get().into_iter().map(row).collect_view()}</tbody>
                        </table>
                    </ScrollableTable>
                </Show>
            }
        })}
        <Dialog open=open title=move || purpose.with(Purpose::title)>
            {move || match purpose.get() {
                Purpose::Create => view! { <GroupForm old=None open=open on_done=on_done /> }.into_any(),
                Purpose::Edit(group) => view! { <GroupForm old=Some(group) open=open on_done=on_done /> }.into_any(),
                Purpose::Delete(group) => view! { <DeleteGroup id=group.id open=open on_done=on_done /> }.into_any(),
            }}
        </Dialog>
    }
}

/// The members as text, e.g. `alice, bob and 12 more`.
fn members_text(members: &[String]) -> String {
    match members.split_at_checked(NAMED_MEMBERS) {
        _ if members.is_empty() => "None".to_owned(),
        Some((named, others)) if !others.is_empty() => format!("{} and {} more", named.join(", "), others.len()),
        _ => members.join(", "),
    }
}

#[component]
fn Row(group: Group, open_for: Callback<Purpose>) -> impl IntoView {
    let (edited, deleted) = (group.clone(), group.clone());
    let edit = Callback::new(move |()| open_for.run(Purpose::Edit(edited.clone())));
    let delete = Callback::new(move |()| open_for.run(Purpose::Delete(deleted.clone())));
    let is_admin = use_session().is_admin_untracked();
    let name = group.name;
    let (edit_label, delete_label) = (format!("Edit {name}"), format!("Delete {name}"));
    view! {
        <tr>
            <td data-label="Group" class="wrap">
                <span>{name.clone()}<br /><span class="muted small">{group.description}</span></span>
            </td>
            <td data-label="Members" class="wrap">{members_text(&group.members)}</td>
            <td data-label="Created"><RelativeTime at=group.created_at /></td>
            <td>
                <div class="row">
                    {is_admin
                        .then(|| {
                            view! {
                                <Button variant=ButtonVariant::Quiet on_click=edit label=edit_label>"Edit"</Button>
                                <Button variant=ButtonVariant::Quiet on_click=delete label=delete_label>"Delete"</Button>
                            }
                        })}
                    <ChangesLink target="group" id=group.id.to_string() name=name />
                </div>
            </td>
        </tr>
    }
}

#[component]
fn GroupForm(old: Option<Group>, open: RwSignal<bool>, on_done: Callback<()>) -> impl IntoView {
    let id = old.as_ref().map(|group| group.id);
    let old = old.unwrap_or(Group {
        id: 0,
        name: String::new(),
        description: String::new(),
        members: Vec::new(),
        created_at: chrono::DateTime::UNIX_EPOCH,
    });
    let name = RwSignal::new(old.name);
    let description = RwSignal::new(old.description);
    let members = RwSignal::new(old.members);
    let users = Query::new(accounts::list_users);
    let mutation = Mutation::new();
    let submit = Callback::new(move |()| {
        let (name, description) = (name.get_untracked().trim().to_owned(), description.get_untracked());
        let members = members.get_untracked();
        if let Err(problem) = check_group(&name, &description, &members) {
            return mutation.reject(problem);
        }
        let done = move |_: Group| on_done.run(());
        match id {
            None => {
                let input = GroupInput { name, description: Some(description), members: Some(members) };
                mutation.run(rpc::create_group(input), done);
            }
            Some(id) => {
                let patch = GroupPatch { name: Some(name), description: Some(description), members: Some(members) };
                mutation.run(rpc::patch_group(id, patch), done);
            }
        }
    });
    view! {
        <Form on_submit=submit>
            <FormProblem problem=mutation.problem_except(&["name", "description", "members"]) />
            <TextInput label="Name" value=name error=mutation.field_error("name") placeholder="GPU team" />
            <TextArea label="Description" value=description optional=true rows=2 error=mutation.field_error("description") />
            {users.view(move |users| {
                let options = ErasedMemo::new(move |_| {
                    users.get().into_iter().map(|user| (user.username.clone(), user.username)).collect::<Vec<_>>()
                });
                view! {
                    <PickList
                        legend="Members"
                        label="User"
                        chosen=members
                        options=options
                        error=mutation.field_error("members")
                    />
                }
            })}
            <div class="dialog-actions">
                <Button on_click=Callback::new(move |()| open.set(false))>"Cancel"</Button>
                <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Save group"</Button>
            </div>
        </Form>
    }
}

#[component]
fn DeleteGroup(id: GroupId, open: RwSignal<bool>, on_done: Callback<()>) -> impl IntoView {
    let mutation = Mutation::new();
    let delete = Callback::new(move |()| mutation.run(rpc::delete_group(id), move |()| on_done.run(())));
    view! {
        <p>"Its members no longer manage the resource types and resources that the group owns."</p>
        <FormProblem problem=mutation.problem />
        <div class="dialog-actions">
            <Button on_click=Callback::new(move |()| open.set(false))>"Cancel"</Button>
            <Button variant=ButtonVariant::Danger pending=mutation.pending on_click=delete>"Delete group"</Button>
        </div>
    }
}

/// A list of chosen values, each with a button that removes it, and a field that adds another one. `options` are values
/// with their labels.
#[component]
fn PickList(
    legend: &'static str,
    label: &'static str,
    chosen: RwSignal<Vec<String>>,
    options: ErasedMemo<Vec<(String, String)>>,
    #[prop(into)] error: FieldMessage,
) -> impl IntoView {
    let selected = RwSignal::new(String::new());
    let unchosen = move || {
        let chosen = chosen.get();
        let options = options.get().into_iter().filter(|(value, _)| !chosen.contains(value));
        std::iter::once((String::new(), "Choose…".to_owned())).chain(options).collect::<Vec<_>>()
    };
    let add = Callback::new(move |()| {
        let value = selected.get_untracked();
        if !value.is_empty() {
            chosen.update(|chosen| chosen.push(value));
            selected.set(String::new());
            error.edited();
        }
    });
    let row = move |value: String| {
        let text = options.with(|options| {
            options.iter().find(|(option, _)| *option == value).map_or(value.clone(), |(_, label)| label.clone())
        });
        let remove_label = format!("Remove {text}");
        let remove = Callback::new(move |()| {
            chosen.update(|chosen| chosen.retain(|other| *other != value));
            error.edited();
        });
        view! {
            <li class="row between">
                <span class="wrap">{text}</span>
                <Button variant=ButtonVariant::Quiet on_click=remove label=remove_label>"Remove"</Button>
            </li>
        }
    };
    view! {
        <fieldset class="stack tight">
            <legend>{legend}</legend>
            <Show
                when=move || !chosen.with(Vec::is_empty)
                fallback=|| view! { <p class="muted small">"None"</p> }
            >
                <ul class="stack tight plain">{move || chosen.get().into_iter().map(row).collect_view()}</ul>
            </Show>
            <div class="row pick">
                <Select label=label value=selected options=Signal::derive(unchosen) error=error />
                <Button on_click=add label=format!("Add {}", label.to_lowercase())>"Add"</Button>
            </div>
        </fieldset>
    }
}

/// An object whose owners the form changes.
#[derive(Clone)]
pub enum OwnedItem {
    /// A resource type, by slug.
    Type(String),
    /// A resource, by id.
    Resource(ResourceId),
}

/// The form for the owners of a resource type or a resource, in a dialog.
#[component]
pub fn OwnersForm(object: OwnedItem, open: RwSignal<bool>) -> impl IntoView {
    let is_type = matches!(object, OwnedItem::Type(_));
    let object = StoredValue::new(object);
    let owners = Query::new(move || async move {
        match object.get_value() {
            OwnedItem::Type(slug) => rpc::type_owners(slug).await,
            OwnedItem::Resource(id) => rpc::resource_owners(id).await,
        }
    });
    let users = Query::new(accounts::list_users);
    let groups = Query::new(rpc::list_groups);
    let explanation = if is_type {
        "Owners manage all resources of this type with their reservations and access requests, and its webhooks."
    } else {
        "Owners manage this resource with its reservations and access requests. Owners of its type manage it too."
    };
    view! {
        <p class="muted">{explanation}</p>
        {owners.view(move |owners| {
            let owners = owners.get_untracked();
            let chosen_users = RwSignal::new(owners.users);
            let chosen_groups =
                RwSignal::new(owners.groups.into_iter().map(|group| group.id.to_string()).collect::<Vec<_>>());
            users.view(move |users| {
                groups.view(move |groups| {
                    let user_options = ErasedMemo::new(move |_| {
                        users.get().into_iter().map(|user| (user.username.clone(), user.username)).collect::<Vec<_>>()
                    });
                    let group_options = ErasedMemo::new(move |_| {
                        let groups = groups.get().items.into_iter();
                        groups.map(|group| (group.id.to_string(), group.name)).collect::<Vec<_>>()
                    });
                    view! {
                        <OwnersFields
                            object=object
                            open=open
                            chosen_users=chosen_users
                            chosen_groups=chosen_groups
                            users=user_options
                            groups=group_options
                        />
                    }
                })
            })
        })}
    }
}

#[component]
fn OwnersFields(
    object: StoredValue<OwnedItem>,
    open: RwSignal<bool>,
    chosen_users: RwSignal<Vec<String>>,
    chosen_groups: RwSignal<Vec<String>>,
    users: ErasedMemo<Vec<(String, String)>>,
    groups: ErasedMemo<Vec<(String, String)>>,
) -> impl IntoView {
    let mutation = Mutation::new();
    let submit = Callback::new(move |()| {
        let groups = chosen_groups.get_untracked().iter().filter_map(|id| id.parse().ok()).collect();
        let input = OwnersInput { users: chosen_users.get_untracked(), groups };
        let save = async move {
            match object.get_value() {
                OwnedItem::Type(slug) => rpc::set_type_owners(slug, input).await,
                OwnedItem::Resource(id) => rpc::set_resource_owners(id, input).await,
            }
        };
        mutation.run(save, move |_| open.set(false));
    });
    view! {
        <Form on_submit=submit>
            <FormProblem problem=mutation.problem_except(&["users", "groups"]) />
            <PickList
                legend="Groups"
                label="Group"
                chosen=chosen_groups
                options=groups
                error=mutation.field_error("groups")
            />
            <PickList legend="Users" label="User" chosen=chosen_users options=users error=mutation.field_error("users") />
            <div class="dialog-actions">
                <Button on_click=Callback::new(move |()| open.set(false))>"Cancel"</Button>
                <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Save owners"</Button>
            </div>
        </Form>
    }
}
