//! The page that reserves a resource: its choice, the calendar, and the form.

mod access;
mod calendar;
mod draft;
mod form;

use crate::components::*;
use crate::erased::ErasedMemo;
use crate::live::{LiveEvent, use_live};
use crate::query::Query;
use crate::rpc::catalogue;
use crate::session::use_session;
use access::AccessRequestForm;
use calendar::{Calendar, CalendarView};
use domain::id::ResourceId;
use domain::resource::{ConfigSchema, Resource, ResourceStatus, ResourceType};
use draft::Draft;
use form::ReserveForm;
use leptos::ev::KeyboardEvent;
use leptos::prelude::*;
use leptos_router::NavigateOptions;
use leptos_router::hooks::{use_navigate, use_query_map};
use wasm_bindgen::JsCast as _;

/// `/reserve?resource=…`, with `start`, `end` and `title` of a link that fills in the form
#[component]
pub fn ReservePage() -> impl IntoView {
    let types = Query::new(catalogue::list_types);
    let resources = Query::new(|| catalogue::list_resources(None));
    use_live().on(move |event| {
        // Each change of the user's access comes with a notification.
        if matches!(event, LiveEvent::Notification(_)) {
            resources.refetch();
            types.refetch();
        }
    });
    view! {
        <PageHeader title="Reserve" lead="Choose a resource and a time." />
        {resources.view(move |page| {
            let resources = ErasedMemo::new(move |_| page.get().items);
            types.view(move |page| {
                let types = ErasedMemo::new(move |_| page.get().items);
                view! {
                    <Show when=move || !resources.with(Vec::is_empty) fallback=NoResources>
                        <Picker resources=resources types=types />
                    </Show>
                }
            })
        })}
    }
}

#[component]
fn NoResources() -> impl IntoView {
    let session = use_session();
    view! {
        <EmptyState icon=Icon::Server title="No resources yet">
            {move || if session.is_admin() {
                view! { <a class="button primary" href="/settings/catalogue">"Add resources"</a> }.into_any()
            } else {
                view! { <p>"An administrator can add resources in Settings → Catalogue."</p> }.into_any()
            }}
        </EmptyState>
    }
}

/// The list of resources, and the booking of the selected one.
#[component]
fn Picker(resources: ErasedMemo<Vec<Resource>>, types: ErasedMemo<Vec<ResourceType>>) -> impl IntoView {
    let query = use_query_map();
    // The default when the address names no resource. It stays the same when other resources become bookable.
    let default = resources.with_untracked(|all| all.iter().find(|r| r.bookable).or(all.first()).map(|r| r.id));
    let selected =
        ErasedMemo::new(move |_| query.read().get("resource").and_then(|id| id.parse::<ResourceId>().ok()).or(default));
    let resource =
        ErasedMemo::new(move |_| resources.with(|all| all.iter().find(|r| Some(r.id) == selected.get()).cloned()));
    let draft = Draft::new();
    query.with_untracked(|query| draft.fill_in(|name| query.get(name)));
    // A change of the same resource keeps the calendar.
    let id = ErasedMemo::new(move |_| resource.with(|resource| resource.as_ref().map(|r| r.id)));
    view! {
        <div class="reserve">
            <ResourceList resources=resources types=types selected=selected />
            {move || {
                match id.get().and_then(|_| resource.get_untracked()) {
                    None => view! { <EmptyState icon=Icon::Server title="This resource does not exist" /> }.into_any(),
                    Some(first) => {
                        let id = first.id;
                        let resource = ErasedMemo::new(move |last: Option<&Resource>| {
                            let current = resource.get().filter(|r| r.id == id);
                            current.unwrap_or_else(|| last.unwrap_or(&first).clone())
                        });
                        view! { <Booking resource=resource types=types draft=draft /> }.into_any()
                    }
                }
            }}
        </div>
    }
}

/// Converts to lower case. The browser does it, because Rust's tables would enlarge the page.
fn lower_case(text: &str) -> String {
    js_sys::JsString::from(text).to_lower_case().into()
}

/// The resources that match the search and the type.
#[component]
fn ResourceList(
    resources: ErasedMemo<Vec<Resource>>,
    types: ErasedMemo<Vec<ResourceType>>,
    selected: ErasedMemo<Option<ResourceId>>,
) -> impl IntoView {
    let search = RwSignal::new(String::new());
    let type_filter = RwSignal::new(String::new());
    let type_options = Signal::derive(move || {
        let mut options = vec![(String::new(), "All types".to_owned())];
        types.with(|types| options.extend(types.iter().map(|t| (t.slug.clone(), t.name.clone()))));
        options
    });
    let listed = move || {
        let (search, slug) = (lower_case(&search.get()), type_filter.get());
        let matches = |r: &Resource| {
            (slug.is_empty() || r.resource_type == slug)
                && [&r.name, &r.location, &r.specs].iter().any(|text| lower_case(text).contains(&search))
        };
        resources.with(|all| all.iter().filter(|r| matches(r)).cloned().collect::<Vec<_>>())
    };
    // The resource that the Tab key reaches. The arrow keys move from there.
    let tab_stop = RwSignal::new(None::<ResourceId>);
    let item = move |resource: Resource| {
        let slug = &resource.resource_type;
        let color = types.with(|types| types.iter().find(|t| t.slug == *slug).map(|t| t.color.clone()));
        view! { <ResourceItem resource=resource color=color.unwrap_or_default() selected=selected tab_stop=tab_stop /> }
    };
    view! {
        <section class="stack" aria-label="Resources">
            <TextInput label="Find a resource" value=search kind="search" placeholder="Name, location or specs" />
            <Select label="Type" value=type_filter options=type_options />
            <ul class="resource-list" on:keydown=move_focus>
                {move || {
                    let listed = listed();
                    let is_listed = |id: &ResourceId| listed.iter().any(|resource| resource.id == *id);
                    let stop = selected.get_untracked().filter(is_listed).or_else(|| listed.first().map(|r| r.id));
                    tab_stop.set(stop);
                    if listed.is_empty() {
                        view! { <li class="muted">"No matching resources."</li> }.into_any()
                    } else {
                        listed.into_iter().map(item).collect_view().into_any()
                    }
                }}
            </ul>
        </section>
    }
}

/// Moves the focus between the resources of the list with the arrow keys, Home and End.
fn move_focus(event: KeyboardEvent) {
    let item = event_target::<web_sys::Element>(&event).closest("li").ok().flatten();
    let next = item.and_then(|item| match event.key().as_str() {
        "ArrowDown" => item.next_element_sibling(),
        "ArrowUp" => item.previous_element_sibling(),
        "Home" => item.parent_element()?.first_element_child(),
        "End" => item.parent_element()?.last_element_child(),
        _ => None,
    });
    let button = next.and_then(|item| item.first_element_child()?.dyn_into::<web_sys::HtmlElement>().ok());
    if let Some(button) = button {
        event.prevent_default();
        let _ = button.focus();
    }
}

#[component]
fn ResourceItem(
    resource: Resource,
    color: String,
    selected: ErasedMemo<Option<ResourceId>>,
    tab_stop: RwSignal<Option<ResourceId>>,
) -> impl IntoView {
    let navigate = use_navigate();
    let id = resource.id;
    let select = move |_| {
        let options = NavigateOptions { replace: true, scroll: false, ..Default::default() };
        navigate(&format!("/reserve?resource={id}"), options);
    };
    let details = [resource.location, resource.specs].into_iter().filter(|text| !text.is_empty());
    let details = details.collect::<Vec<_>>().join(" · ");
    let status = resource.status;
    view! {
        <li>
            <button
                type="button"
                class="resource-choice"
                aria-pressed=move || (selected.get() == Some(id)).to_string()
                tabindex=move || if tab_stop.get() == Some(id) { "0" } else { "-1" }
                on:focus=move |_| tab_stop.set(Some(id))
                on:click=select
            >
                <strong>
                    <span class="swatch" aria-hidden="true" style:background=color></span>
                    {resource.name}
                </strong>
                <small>{resource.resource_type}</small>
                <small>{details}</small>
                {(status != ResourceStatus::Available).then(|| view! { <Badge status=status /> })}
            </button>
        </li>
    }
}

/// What the user can do with a resource.
#[derive(Clone, PartialEq)]
enum BookingAction {
    /// Reserve it, with the fields of its type.
    Reserve(ConfigSchema),
    /// Nothing during maintenance.
    Maintenance,
    /// Request access.
    RequestAccess,
    /// Nothing, because the user is an auditor.
    Read,
}

/// The calendar of a resource, and the form below it.
#[component]
fn Booking(resource: ErasedMemo<Resource>, types: ErasedMemo<Vec<ResourceType>>, draft: Draft) -> impl IntoView {
    // Id and type of a resource never change.
    let (id, type_slug) = resource.with_untracked(|r| (r.id, r.resource_type.clone()));
    let bookable = Signal::derive(move || resource.with(|r| r.bookable));
    let session = use_session();
    let action = ErasedMemo::new(move |_| {
        let (bookable, status) = resource.with(|r| (r.bookable, r.status));
        if session.is_auditor() {
            return BookingAction::Read;
        }
        if !bookable {
            let is_maintenance = status == ResourceStatus::Maintenance;
            return if is_maintenance { BookingAction::Maintenance } else { BookingAction::RequestAccess };
        }
        let schema = types.with(|types| {
            let found = types.iter().find(|t| t.slug == type_slug)?;
            ConfigSchema::parse(&found.config_schema).ok()
        });
        BookingAction::Reserve(schema.unwrap_or_default())
    });
    let calendar = Calendar::new(id, draft, bookable);
    view! {
        <div class="stack">
            <section class="stack tight" aria-label="Calendar">
                <h2>{move || resource.with(|r| r.name.clone())}</h2>
                <CalendarView state=calendar />
            </section>
            {move || match action.get() {
                BookingAction::Reserve(schema) => {
                    view! { <ReserveForm id=id schema=schema draft=draft calendar=calendar /> }.into_any()
                }
                BookingAction::Maintenance => view! {
                    <Notice kind=NoticeKind::Warning>
                        <p>"This resource is in maintenance. Existing reservations are kept; new ones are blocked."</p>
                    </Notice>
                }
                .into_any(),
                BookingAction::RequestAccess => view! { <AccessRequestForm id=id /> }.into_any(),
                BookingAction::Read => ().into_any(),
            }}
        </div>
    }
}
