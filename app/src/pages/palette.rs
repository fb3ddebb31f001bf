//! The command palette: pages, webhooks and any pasted id, by keyboard.

use crate::components::*;
use crate::query::{Mutation, Query};
use crate::rpc::{deliveries, webhooks};
use crate::session::{Session, use_session};
use crate::shortcuts::use_shortcuts;
use crate::unsaved;
use domain::id::{AccessRequestId, DeliveryId, EventId, ReservationId};
use domain::pagination::Page;
use domain::webhook::Webhook;
use leptos::prelude::*;
use leptos_router::hooks::use_navigate;

/// The largest number of shown commands.
const MAX_SHOWN: usize = 12;
/// The prefixes of ids that can be opened.
const PREFIXES: [&str; 4] = [AccessRequestId::PREFIX, DeliveryId::PREFIX, EventId::PREFIX, ReservationId::PREFIX];

/// What a command does.
#[derive(Clone, PartialEq)]
enum Target {
    /// Opens a page.
    Page(String),
    /// Finds the object with an id and opens its page.
    Id(String),
    /// Opens the overview of the keyboard shortcuts.
    Shortcuts,
}

/// One command.
#[derive(Clone, PartialEq)]
struct Command {
    label: String,
    /// What it belongs to.
    group: &'static str,
    target: Target,
}

fn page(label: &str, group: &'static str, path: &str) -> Command {
    Command { label: label.to_owned(), group, target: Target::Page(path.to_owned()) }
}

/// The pages that a user may open.
fn pages(session: Session) -> Vec<Command> {
    let mut pages = vec![
        page("Home", "Page", "/"),
        page("Reserve", "Page", "/reserve"),
        page("Reservations", "Page", "/reservations"),
        page("Access requests", "Page", "/access-requests"),
    ];
    if session.reads_webhooks() {
        pages.extend([
            page("Deliveries", "Page", "/deliveries"),
            page("Failed deliveries by cause", "Page", "/deliveries?show=failures"),
            page("Webhook Integrations", "Settings", "/settings/webhooks"),
            page("Register a webhook", "Settings", "/settings/webhooks/new"),
        ]);
    }
    if session.reads_everything() || session.is_owner() {
        pages.push(page("Catalogue", "Settings", "/settings/catalogue"));
    }
    if session.reads_everything() {
        pages.extend([
            page("Users", "Settings", "/settings/users"),
            page("Groups", "Settings", "/settings/groups"),
            page("Audit log", "Settings", "/settings/audit"),
        ]);
    }
    pages
        .extend([page("API tokens", "Settings", "/settings/tokens"), page("Account", "Settings", "/settings/account")]);
    pages.push(Command { label: "Keyboard shortcuts".to_owned(), group: "Help", target: Target::Shortcuts });
    pages
}

fn webhook_commands(page: Option<Page<Webhook>>) -> impl Iterator<Item = Command> {
    page.into_iter().flat_map(|page| page.items).flat_map(|webhook| {
        let path = format!("/settings/webhooks/{}", webhook.id);
        let command = |label: String, path: String| Command { label, group: "Webhook", target: Target::Page(path) };
        [
            command(webhook.name.clone(), path.clone()),
            command(format!("{}: deliveries", webhook.name), format!("{path}?tab=deliveries")),
        ]
    })
}

/// Whether a command contains every word of a text.
fn matches(command: &Command, text: &str) -> bool {
    let label = format!("{} {}", command.group, command.label).to_lowercase();
    text.to_lowercase().split_whitespace().all(|word| label.contains(word))
}

/// The content of the palette's dialog.
#[component]
pub fn CommandPalette(open: RwSignal<bool>) -> impl IntoView {
    let session = use_session();
    let navigate = use_navigate();
    let text = RwSignal::new(String::new());
    let selected = RwSignal::new(0_usize);
    let reads_webhooks = untrack(|| session.reads_webhooks());
    let webhooks = reads_webhooks.then(|| Query::new(webhooks::list_webhooks));
    let lookup = Mutation::new();
    let commands = Memo::new(move |_| {
        let text = text.get();
        let id = text.trim();
        let is_id = PREFIXES.iter().any(|prefix| id.starts_with(prefix)) && !id.contains(char::is_whitespace);
        let by_id =
            is_id.then(|| Command { label: format!("Open {id}"), group: "Id", target: Target::Id(id.to_owned()) });
        let webhooks = webhook_commands(webhooks.and_then(Query::get));
        let found = pages(session).into_iter().chain(webhooks).filter(|command| matches(command, &text));
        by_id.into_iter().chain(found).take(MAX_SHOWN).collect::<Vec<_>>()
    });
    Effect::watch(move || text.get(), move |_, _, _| selected.set(0), false);
    let go = Callback::new(move |path: String| {
        open.set(false);
        let navigate = navigate.clone();
        unsaved::leave(None, move || navigate(&path, Default::default()));
    });
    let shortcuts = use_shortcuts();
    let run = Callback::new(move |command: Command| match command.target {
        Target::Page(path) => go.run(path),
        Target::Id(id) => lookup.run(deliveries::look_up(id), move |found| go.run(found.link)),
        Target::Shortcuts => {
            open.set(false);
            request_animation_frame(move || shortcuts.open.set(true));
        }
    });
    let step = move |by: usize| {
        let count = commands.with_untracked(Vec::len).max(1);
        selected.update(|selected| *selected = (*selected + by) % count);
    };
    let on_key = move |event: leptos::ev::KeyboardEvent| {
        match event.key().as_str() {
            "ArrowDown" => step(1),
            "ArrowUp" => step(commands.with_untracked(Vec::len).max(1) - 1),
            "Enter" => {
                if let Some(command) = commands.with_untracked(|all| all.get(selected.get_untracked()).cloned()) {
                    run.run(command);
                }
            }
            _ => return,
        }
        event.prevent_default();
    };
    let options = move || {
        let option = move |(n, command): (usize, Command)| {
            let (label, group) = (command.label.clone(), command.group);
            view! {
                <li
                    role="option"
                    id=format!("command-{n}")
                    aria-selected=move || (selected.get() == n).to_string()
                    on:click=move |_| run.run(command.clone())
                >
                    <span>{label}</span>
                    <span class="small muted">{group}</span>
                </li>
            }
        };
        commands.get().into_iter().enumerate().map(option).collect_view()
    };
    let is_empty = move || commands.with(Vec::is_empty);
    view! {
        <div class="palette">
            <input
                type="text"
                role="combobox"
                aria-label="Command, webhook or id"
                aria-expanded="true"
                aria-controls="commands"
                aria-autocomplete="list"
                aria-activedescendant=move || (!is_empty()).then(|| format!("command-{}", selected.get()))
                placeholder="Go to a page or webhook, or paste an id"
                autocomplete="off"
                spellcheck="false"
                prop:value=move || text.get()
                on:input=move |event| text.set(event_target_value(&event))
                on:keydown=on_key
            />
            <ul role="listbox" id="commands" aria-label="Commands">{options}</ul>
            <Show when=is_empty>
                <p class="muted" role="status">"No page or webhook has this name. An id must be complete."</p>
            </Show>
            <FormProblem problem=lookup.problem />
            <p class="small muted palette-keys">
                <kbd>"↑"</kbd> <kbd>"↓"</kbd> " select · " <kbd>"Enter"</kbd> " open · " <kbd>"Esc"</kbd> " close"
            </p>
        </div>
    }
}
