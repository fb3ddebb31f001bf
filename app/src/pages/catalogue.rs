//! Settings → Catalogue: resource types and resources.

mod resource;
mod resource_type;

use crate::components::*;
use crate::list::{Cell, Column};
use crate::query::{Mutation, Query};
use crate::rpc::catalogue as rpc;
use crate::session::use_session;
use domain::resource::{Resource, ResourceType};
use leptos::prelude::*;
pub use resource::ResourceForm;
use resource::Resources;
use resource_type::ResourceTypes;
pub use resource_type::TypeForm;
use std::sync::Arc;

/// All resource types.
pub type TypesQuery = Query<Arc<Vec<ResourceType>>>;
/// All resources.
type ResourcesQuery = Query<Arc<Vec<Resource>>>;

/// `/settings/catalogue`
#[component]
pub fn CataloguePage() -> impl IntoView {
    let types = Query::new(|| async { Ok(Arc::new(rpc::list_types().await?.items)) });
    let resources = Query::new(|| async { Ok(Arc::new(rpc::list_resources(None).await?.items)) });
    view! {
        <PageHeader title="Catalogue" lead="Resource types, their fields and resources." />
        <div class="stack">
            <ResourceTypes types=types />
            <Resources types=types resources=resources />
        </div>
    }
}

/// The purpose of an open dialog.
#[derive(Clone, PartialEq)]
enum Purpose<T> {
    Create,
    Edit(T),
    Owners(T),
    Delete(T),
}

impl<T> Purpose<T> {
    /// The title of the dialog. `kind` names the item, `name` returns its name.
    fn title(&self, kind: &str, name: impl Fn(&T) -> &str) -> String {
        match self {
            Self::Create => format!("New {kind}"),
            Self::Edit(item) => format!("Edit {}", name(item)),
            Self::Owners(item) => format!("Owners of {}", name(item)),
            Self::Delete(item) => format!("Delete {}?", name(item)),
        }
    }
}

/// The heading of a list. Users who may add an item also have the button in `children`.
#[component]
fn ListHeading(title: &'static str, #[prop(into)] can_add: Signal<bool>, children: ChildrenFn) -> impl IntoView {
    view! {
        <div class="row between">
            <h2>{title}</h2>
            <Show when=move || can_add.get()>{children()}</Show>
        </div>
    }
}

/// The columns of a list, with the one of the [`RowActions`] for users who manage some resources.
fn with_actions<T>(mut columns: Vec<Column<T>>) -> Vec<Column<T>> {
    if untrack(|| use_session().manages_resources()) {
        columns.push(Column::plain("actions", "Actions").with_cell(Cell::Controls));
    }
    columns
}

/// The cell with the buttons of a row, for users who manage some resources. It is empty unless they manage this one.
/// `target` is the wire name of its kind in the audit log.
#[component]
fn RowActions(
    name: String,
    target: &'static str,
    id: String,
    manages: bool,
    on_edit: Callback<()>,
    on_owners: Callback<()>,
    on_delete: Callback<()>,
) -> impl IntoView {
    let session = use_session();
    let is_admin = session.is_admin_untracked();
    let buttons = manages.then(|| {
        let owners_label = format!("Owners of {name}");
        view! {
            <div class="row">
                <Button variant=ButtonVariant::Quiet label=format!("Edit {name}") on_click=on_edit>"Edit"</Button>
                {is_admin
                    .then(|| {
                        view! { <Button variant=ButtonVariant::Quiet label=owners_label on_click=on_owners>"Owners"</Button> }
                    })}
                <Button variant=ButtonVariant::Quiet label=format!("Delete {name}") on_click=on_delete>"Delete"</Button>
                {is_admin.then(|| view! { <ChangesLink target=target id=id name=name /> })}
            </div>
        }
    });
    untrack(|| session.manages_resources()).then(|| view! { <td class=Cell::Controls.class()>{buttons}</td> })
}

/// The content of a dialog that asks for confirmation of a deletion.
#[component]
fn ConfirmDelete(
    text: &'static str,
    action: &'static str,
    mutation: Mutation,
    on_confirm: Callback<()>,
    open: RwSignal<bool>,
) -> impl IntoView {
    view! {
        <p>{text}</p>
        <FormProblem problem=mutation.problem />
        <div class="dialog-actions">
            <Button on_click=Callback::new(move |()| open.set(false))>"Cancel"</Button>
            <Button variant=ButtonVariant::Danger pending=mutation.pending on_click=on_confirm>{action}</Button>
        </div>
    }
}
