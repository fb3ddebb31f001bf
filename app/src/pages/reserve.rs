//! Reserving: a resource, a time on the calendar, what its type asks for.

mod calendar;

use crate::components::*;
use crate::layout::use_session;
use crate::live::{LiveEvent, use_live};
use crate::load::{Write, load};
use crate::rpc::{catalogue, reservations};
use crate::time;
use crate::values::{Cell, Value, effect};
use calendar::{Calendar, Span};
use chrono::{Duration, Timelike as _};
use domain::Problem;
use domain::id::ResourceId;
use domain::reservation::{ReservationInput, check_input};
use domain::resource::{AccessRequestInput, AccessStatus, ConfigSchema, Resource, ResourceStatus, ResourceType};
use leptos::prelude::*;
use leptos_router::NavigateOptions;
use leptos_router::hooks::{use_navigate, use_query_map};

/// `/reserve?resource=…`
#[component]
pub fn ReservePage() -> impl IntoView {
    let types = load(catalogue::list_types);
    let resources = load(|| catalogue::list_resources(None));
    use_live().on(move |event| {
        // Access comes and goes with a notification.
        if matches!(event, LiveEvent::Notification(_) | LiveEvent::Resync) {
            resources.again();
            types.again();
        }
    });
    view! {
        <PageHeader title="Reserve" lead="Choose a resource and a time." />
        {resources.show(move |page| {
            let resources = Value::memo(move || page.get().items);
            types.show(move |page| {
                let types = Value::memo(move || page.get().items);
                view! {
                    <When when=move || !resources.with(Vec::is_empty) fallback=NothingYet>
                        <Picker resources=resources types=types />
                    </When>
                }
            })
        })}
    }
}

#[component]
fn NothingYet() -> impl IntoView {
    let session = use_session();
    view! {
        <EmptyState icon=Icon::Server title="No resources yet">
            {if session.is_admin() {
                view! { <a class="button primary" href="/settings/catalogue">"Add resources"</a> }.into_any()
            } else {
                view! { <p>"An administrator can add resources in Settings → Catalogue."</p> }.into_any()
            }}
        </EmptyState>
    }
}

#[component]
fn Picker(resources: Value<Vec<Resource>>, types: Value<Vec<ResourceType>>) -> impl IntoView {
    let query = use_query_map();
    let navigate = use_navigate();
    let find = RwSignal::new(String::new());
    let kind = RwSignal::new(String::new());
    // Where the address names none. It stays, whatever becomes bookable later.
    let first = resources.with_untracked(|all| all.iter().find(|r| r.bookable).or(all.first()).map(|r| r.id));
    let chosen =
        Value::memo(move || query.read().get("resource").and_then(|id| id.parse::<ResourceId>().ok()).or(first));
    let options = Signal::derive(move || {
        let mut options = vec![(String::new(), "All types".to_owned())];
        types.with(|types| options.extend(types.iter().map(|t| (t.slug.clone(), t.name.clone()))));
        options
    });
    let color = move |slug: &str| {
        types.with(|types| types.iter().find(|t| t.slug == slug).map(|t| t.color.clone()).unwrap_or_default())
    };
    let choose = Callback::new(move |id: ResourceId| {
        navigate(
            &format!("/reserve?resource={id}"),
            NavigateOptions { replace: true, scroll: false, ..Default::default() },
        );
    });
    let listed = move || {
        let (find, kind) = (lower_case(&find.get()), kind.get());
        resources.with(|all| {
            all.iter()
                .filter(|r| kind.is_empty() || r.resource_type == kind)
                .filter(|r| [&r.name, &r.location, &r.specs].iter().any(|text| lower_case(text).contains(&find)))
                .cloned()
                .collect::<Vec<_>>()
        })
    };
    let choice = move |resource: Resource| {
        let id = resource.id;
        let facts =
            [resource.location, resource.specs].into_iter().filter(|t| !t.is_empty()).collect::<Vec<_>>().join(" · ");
        view! {
            <li>
                <button
                    type="button"
                    class="resource-choice"
                    aria-pressed=move || (chosen.get() == Some(id)).to_string()
                    on:click=move |_| choose.run(id)
                >
                    <strong>
                        <span class="swatch" aria-hidden="true" style:background=color(&resource.resource_type)></span>
                        {resource.name}
                    </strong>
                    <small>{resource.resource_type}</small>
                    <small>{facts}</small>
                    {(resource.status != ResourceStatus::Available || !resource.bookable)
                        .then(|| view! { <Chip state=resource.status /> }.into_any())}
                </button>
            </li>
        }
        .into_any()
    };
    let resource = Value::memo(move || resources.with(|all| all.iter().find(|r| Some(r.id) == chosen.get()).cloned()));
    // What is entered goes only when another resource is chosen.
    let shown = Value::memo(move || resource.with(|resource| resource.as_ref().map(|r| r.id)));
    view! {
        <div class="reserve">
            <section class="stack" aria-label="Resources">
                <TextInput label="Find a resource" value=find kind="search" placeholder="Name, location or specs" />
                <Select label="Type" value=kind options=options />
                <ul class="resource-list">
                    {move || {
                        let listed = listed();
                        if listed.is_empty() {
                            view! { <li class="muted">"No matching resources."</li> }.into_any()
                        } else {
                            listed.into_iter().map(choice).collect_view().into_any()
                        }
                    }}
                </ul>
            </section>
            {move || {
                let first = shown.get().and_then(|_| resource.get_untracked());
                match first {
                    None => view! { <EmptyState icon=Icon::Server title="This resource does not exist" /> }.into_any(),
                    Some(first) => {
                        let id = first.id;
                        let resource = Value::following(move |last: Option<&Resource>| {
                            let now = resource.get().filter(|r| r.id == id);
                            now.unwrap_or_else(|| last.unwrap_or(&first).clone())
                        });
                        view! { <Booking resource=resource types=types /> }.into_any()
                    }
                }
            }}
        </div>
    }
}

/// In lower case, by the browser's tables.
fn lower_case(text: &str) -> String {
    js_sys::JsString::from(text).to_lower_case().into()
}

/// What stands below the calendar.
#[derive(Clone, PartialEq)]
enum Below {
    /// The form, with the fields that the type asks for.
    Form(ConfigSchema),
    Maintenance,
    NoAccess,
}

/// The calendar of one resource and the form beside it.
#[component]
fn Booking(resource: Value<Resource>, types: Value<Vec<ResourceType>>) -> impl IntoView {
    let chosen = Cell::new(None::<Span>);
    // Neither ever changes.
    let (id, slug) = resource.with_untracked(|r| (r.id, r.resource_type.clone()));
    let kind = slug.clone();
    let bookable = Signal::derive(move || resource.with(|r| r.bookable));
    let below = Value::memo(move || {
        resource.with(|resource| match (resource.bookable, resource.status) {
            (true, _) => Below::Form(types.with(|types| {
                let found = types.iter().find(|t| t.slug == kind);
                found.and_then(|t| ConfigSchema::parse(&t.config_schema).ok()).unwrap_or_default()
            })),
            (false, ResourceStatus::Maintenance) => Below::Maintenance,
            (false, _) => Below::NoAccess,
        })
    });
    view! {
        <div class="stack">
            <section class="stack tight" aria-label="Calendar">
                <h2>{move || resource.with(|r| r.name.clone())}</h2>
                <Calendar resource=id resource_type=slug chosen=chosen bookable=bookable />
            </section>
            {move || match below.get() {
                Below::Form(schema) => view! { <ReserveForm id=id schema=schema chosen=chosen /> }.into_any(),
                Below::Maintenance => view! {
                    <Notice kind="warning">
                        <p>"This resource is in maintenance. Existing reservations are kept; new ones are blocked."</p>
                    </Notice>
                }
                .into_any(),
                Below::NoAccess => view! { <RequestAccess id=id /> }.into_any(),
            }}
        </div>
    }
}

#[component]
fn ReserveForm(id: ResourceId, schema: ConfigSchema, chosen: Cell<Option<Span>>) -> impl IntoView {
    let session = use_session();
    let navigate = use_navigate();
    // Unless a time is marked, the next full hour.
    let now = time::now();
    let next = now.with_minute(0).and_then(|t| t.with_second(0)).and_then(|t| t.with_nanosecond(0)).unwrap_or(now)
        + Duration::hours(1);
    let start = RwSignal::new(time::to_input(next));
    let end = RwSignal::new(time::to_input(next + Duration::hours(2)));
    let title = RwSignal::new(String::new());
    let own_key =
        session.info.with_untracked(|info| info.as_ref().map(|info| info.user.ssh_key.clone()).unwrap_or_default());
    let key = RwSignal::new(own_key);
    let config = ConfigState::new(schema.clone(), &Default::default());
    let has_config = !schema.fields.is_empty();
    let write = Write::new();
    // The calendar and the inputs show the same span.
    effect(move || {
        if let Some((from, to)) = chosen.get() {
            let (from, to) = (time::to_input(from), time::to_input(to));
            if untrack(|| start.get() != from || end.get() != to) {
                start.set(from);
                end.set(to);
            }
        }
    });
    effect(move || {
        if let (Some(from), Some(to)) = (time::from_input(&start.get()), time::from_input(&end.get()))
            && from < to
        {
            chosen.set(Some((from, to)));
        }
    });
    let length = move || {
        let (from, to) = (time::from_input(&start.get())?, time::from_input(&end.get())?);
        (to > from).then(|| time::length(to - from))
    };
    let submit = Callback::new(move |()| {
        let (Some(from), Some(to)) = (time::from_input(&start.get_untracked()), time::from_input(&end.get_untracked()))
        else {
            let field = if time::from_input(&start.get_untracked()).is_none() { "start_time" } else { "end_time" };
            return write.refuse(Problem::field(field, "Enter a date and time."));
        };
        let input = ReservationInput {
            resource_id: id,
            title: Some(title.get_untracked().trim().to_owned()),
            start_time: from,
            end_time: to,
            user_ssh_key: Some(key.get_untracked().trim().to_owned()),
            additional_config: Some(config.collect()),
        };
        match check_input(&input, &schema, time::now()) {
            Err(problem) => write.refuse(problem),
            Ok(_) => {
                let navigate = navigate.clone();
                write.run(reservations::reserve(input), move |made| {
                    navigate(&format!("/reservations/{}", made.id), Default::default());
                });
            }
        }
    });
    view! {
        <section class="card" aria-label="Reservation">
            <Form on_submit=submit>
                <FormProblem problem=write.general() />
                <div class="grid-2">
                    <TextInput label="Start" value=start kind="datetime-local" error=write.message("start_time") />
                    <TextInput label="End" value=end kind="datetime-local" error=write.message("end_time") />
                </div>
                <p class="muted small">
                    {move || length().map(|length| format!("{length}. "))} "Times in "{time::zone()}"."
                </p>
                <TextInput label="Title" value=title optional=true hint="Shown in lists and the calendar." error=write.message("title") />
                {has_config.then(|| view! { <ConfigForm state=config write=write /> }.into_any())}
                <TextArea
                    label="SSH public key"
                    value=key
                    optional=true
                    mono=true
                    hint="Paste your .pub line. Save a default in Settings → Account."
                    placeholder="ssh-ed25519 AAAA… you@host"
                    error=write.message("user_ssh_key")
                />
                <div>
                    <Button look=Look::Primary submit=true busy=write.busy>"Reserve"</Button>
                </div>
            </Form>
        </section>
    }
}

#[component]
fn RequestAccess(id: ResourceId) -> impl IntoView {
    let reason = RwSignal::new(String::new());
    let write = Write::new();
    let mine = load(|| catalogue::list_access_requests(Some(AccessStatus::Pending)));
    use_live().on(move |event| {
        // A decision comes with a notification.
        if matches!(event, LiveEvent::Notification(_) | LiveEvent::Resync) {
            mine.again();
        }
    });
    let session = use_session();
    let waits = Memo::new(move |_| {
        mine.get().is_some_and(|page| page.items.iter().any(|r| r.resource_id == id && r.user_id == session.username()))
    });
    let submit = Callback::new(move |()| {
        let input = AccessRequestInput { resource_id: id, reason: reason.get_untracked().trim().to_owned() };
        write.run(catalogue::request_access(input), move |made| {
            mine.update(|page| page.items.push(made));
            mine.again();
        });
    });
    view! {
        <section class="card stack" aria-label="Request access">
            <div>
                <h2>"Access required"</h2>
                <p class="muted">"Access is approved by the owner. Describe what you need it for."</p>
            </div>
            <When
                when=move || waits.get()
                fallback=move || {
                    view! {
                        <Form on_submit=submit>
                            <FormProblem problem=write.other_than(&["reason"]) />
                            <TextArea label="Reason" value=reason error=write.message("reason") />
                            <div>
                                <Button look=Look::Primary submit=true busy=write.busy>"Request access"</Button>
                            </div>
                        </Form>
                    }
                }
            >
                <Notice kind="success">
                    <p>"Request sent. You will be notified."</p>
                    <a href="/access-requests">"View access requests"</a>
                </Notice>
            </When>
        </section>
    }
}
