//! Settings → Audit log: who changed what, for administrators.

use crate::components::*;
use crate::erased::ErasedMemo;
use crate::intl;
use crate::live::{LiveEvent, use_live};
use crate::paged_list::{PagedList, Row};
use crate::query_signals::query_signals;
use crate::rpc::audit as rpc;
use crate::time_range::{TimeRange, TimeRangeInputs, TimeRangeZone};
use domain::audit::{
    AuditAction, AuditCredential, AuditCredentialType, AuditEntry, AuditFilter, AuditOutcome, AuditTarget,
    AuditTargetType, FieldChange,
};
use domain::id::WebhookId;
use domain::pagination::{Page, PageQuery};
use leptos::prelude::*;
use serde_json::Value;

/// Number of changed fields up to which they are shown at once.
const SHOWN_FIELDS: usize = 3;

/// An entry as a row of a list, which is sorted by text.
#[derive(Clone, PartialEq)]
struct EntryRow {
    /// The number of the entry, padded.
    id: String,
    entry: AuditEntry,
}

impl From<AuditEntry> for EntryRow {
    fn from(entry: AuditEntry) -> Self {
        Self { id: format!("{:019}", entry.seq), entry }
    }
}

impl Row for EntryRow {
    fn id(&self) -> &str {
        &self.id
    }

    /// An entry never changes.
    fn is_older_than(&self, _: &Self) -> bool {
        false
    }
}

impl Status for AuditOutcome {
    fn label(self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::Refused => "Refused",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Succeeded => Tone::Good,
            Self::Refused => Tone::Bad,
        }
    }
}

/// The filters, whose values are parameters of the address.
#[derive(Clone, Copy)]
struct Filters {
    actor: RwSignal<String>,
    action: RwSignal<String>,
    target: RwSignal<String>,
    id: RwSignal<String>,
    source: RwSignal<String>,
    outcome: RwSignal<String>,
    range: TimeRange,
    in_address: [RwSignal<String>; 8],
}

impl Filters {
    fn from_address() -> Self {
        let names = ["actor", "action", "target", "id", "source", "outcome", "since", "until"];
        let in_address = query_signals(names.map(|name| (name, "")));
        let [actor, action, target, id, source, outcome, since, until] = in_address;
        Self { actor, action, target, id, source, outcome, range: TimeRange::new(since, until), in_address }
    }

    /// The filter for the server. Tracked.
    fn to_filter(self) -> AuditFilter {
        let text =
            |signal: RwSignal<String>| signal.with(|text| Some(text.trim().to_owned()).filter(|t| !t.is_empty()));
        AuditFilter {
            actor: text(self.actor),
            action: self.action.with(|action| AuditAction::parse(action)),
            target_type: self.target.with(|kind| AuditTargetType::parse(kind)),
            target_id: text(self.id),
            source: text(self.source),
            outcome: self.outcome.with(|outcome| AuditOutcome::parse(outcome)),
            since: self.range.since(),
            until: self.range.until(),
        }
    }

    /// Whether any filter is set. Tracked.
    fn is_set(self) -> bool {
        self.in_address.iter().any(|signal| signal.with(|value| !value.is_empty()))
    }

    fn clear(self) {
        self.in_address.iter().for_each(|signal| signal.set(String::new()));
        self.range.clear();
    }
}

/// The address of the export with the same filter.
fn export_address(filter: &AuditFilter) -> String {
    let time = |time: &chrono::DateTime<chrono::Utc>| time.to_rfc3339();
    let parameters = [
        ("actor", filter.actor.clone()),
        ("action", filter.action.map(|action| action.as_str().to_owned())),
        ("target_type", filter.target_type.map(|kind| kind.as_str().to_owned())),
        ("target_id", filter.target_id.clone()),
        ("source", filter.source.clone()),
        ("outcome", filter.outcome.map(|outcome| outcome.as_str().to_owned())),
        ("since", filter.since.as_ref().map(time)),
        ("until", filter.until.as_ref().map(time)),
    ];
    let parameters: Vec<String> = parameters
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", js_sys::encode_uri_component(&value?))))
        .collect();
    format!("/api/v1/audit/export?{}", parameters.join("&"))
}

/// `/settings/audit`
#[component]
pub fn AuditPage() -> impl IntoView {
    let filters = Filters::from_address();
    let filter = ErasedMemo::new(move |_| filters.to_filter());
    view! {
        <PageHeader title="Audit log" lead="Changes, log-ins and refusals: who, when, from where." />
        <FilterBar filters=filters filter=filter />
        <Entries filter=filter has_filter=Signal::derive(move || filters.is_set()) shows_target=true />
    }
}

/// The changes of one webhook.
#[component]
pub fn WebhookChanges(webhook: WebhookId) -> impl IntoView {
    let filter = ErasedMemo::new(move |_| AuditFilter {
        target_type: Some(AuditTargetType::Webhook),
        target_id: Some(webhook.to_string()),
        ..AuditFilter::default()
    });
    view! { <Entries filter=filter has_filter=Signal::derive(|| false) shows_target=false /> }
}

#[component]
fn FilterBar(filters: Filters, filter: ErasedMemo<AuditFilter>) -> impl IntoView {
    let with_all = |label: &str, names: Vec<&'static str>| {
        let all = (String::new(), label.to_owned());
        std::iter::once(all).chain(names.into_iter().map(|name| (name.to_owned(), name.to_owned()))).collect::<Vec<_>>()
    };
    let actions = AuditAction::ALL.iter().map(|action| action.as_str()).collect();
    let mut kinds = vec![(String::new(), "All objects".to_owned())];
    kinds.extend(AuditTargetType::ALL.iter().map(|kind| (kind.as_str().to_owned(), kind_label(kind.as_str()))));
    let outcomes = select_options([("", "Any outcome"), ("succeeded", "Succeeded"), ("refused", "Refused")]);
    view! {
        <div class="toolbar filters">
            <TextInput label="User" value=filters.actor />
            <Select label="Action" value=filters.action options=with_all("All actions", actions) />
            <Select label="Object" value=filters.target options=kinds />
            <TextInput label="Object ID" value=filters.id mono=true />
            <TextInput label="Address" value=filters.source placeholder="192.0.2.1" mono=true />
            <Select label="Outcome" value=filters.outcome options=outcomes />
            <TimeRangeInputs range=filters.range />
            <div class="row">
                <Show when=move || filters.is_set()>
                    <Button variant=ButtonVariant::Quiet on_click=Callback::new(move |()| filters.clear())>"Clear filters"</Button>
                </Show>
                <a class="button" href=move || filter.with(export_address) download="berth-audit.jsonl" rel="external">
                    "Export"
                </a>
            </div>
        </div>
        <TimeRangeZone range=filters.range />
    }
}

/// The entries that match a filter. Without `shows_target`, all concern one object.
#[component]
fn Entries(filter: ErasedMemo<AuditFilter>, has_filter: Signal<bool>, shows_target: bool) -> impl IntoView {
    let list = PagedList::new(
        move || filter.get(),
        |filter: AuditFilter, page: PageQuery| async move {
            let page = rpc::list_audit_entries(filter, page).await?;
            Ok(Page { items: page.items.into_iter().map(EntryRow::from).collect(), next_cursor: page.next_cursor })
        },
    );
    // The list of one webhook follows its changes. The whole log would change all the time.
    use_live().on(move |event| {
        if !shows_target && matches!(event, LiveEvent::Webhook(_)) {
            list.refetch();
        }
    });
    list.view(move |items| {
        view! {
            <Show when=move || !items.with(Vec::is_empty) fallback=move || view! { <NoEntries has_filter=has_filter /> }>
                <ScrollableTable label="Audit log">
                    <table class="cards-on-phone audit">
                        <thead>
                            <tr>
                                <th>"Time"</th>
                                <th>"Who"</th>
                                <th>"Action"</th>
                                {shows_target.then(|| view! { <th>"Object"</th> })}
                                <th>"Changes"</th>
                            </tr>
                        </thead>
                        <tbody>
                            <For each=move || items.get() key=|row| row.id.clone() let:row>
                                <EntryView entry=row.entry shows_target=shows_target />
                            </For>
                        </tbody>
                    </table>
                </ScrollableTable>
            </Show>
        }
    })
}

#[component]
fn NoEntries(has_filter: Signal<bool>) -> impl IntoView {
    let (title, text) = if has_filter.get_untracked() {
        ("No matching entries", "Change or clear the filters.")
    } else {
        ("No entries yet", "Changes appear here as soon as somebody makes one.")
    };
    view! { <EmptyState icon=Icon::Clock title=title><p>{text}</p></EmptyState> }
}

#[component]
fn EntryView(entry: AuditEntry, shows_target: bool) -> impl IntoView {
    let AuditEntry {
        at, actor, credential, source, request_id, action, outcome, target, changes, detail, count, ..
    } = entry;
    let who = who(actor.as_deref(), &credential);
    let how = how(&credential, &source);
    let request = (!request_id.is_empty()).then(|| format!("Request {request_id}"));
    let times = (count > 1).then(|| format!("{} times", intl::number(count.unsigned_abs())));
    view! {
        <tr>
            <td data-label="Time"><RelativeTime at=at /></td>
            <td data-label="Who" class="wrap">
                <div title=request>
                    <strong>{who}</strong>
                    <div class="muted small">{how}</div>
                </div>
            </td>
            <td data-label="Action">
                <div>
                    <code>{action}</code>
                    {(outcome == AuditOutcome::Refused).then(|| view! { <div><Badge status=outcome /></div> })}
                    {times.map(|times| view! { <div class="muted small">{times}</div> })}
                </div>
            </td>
            {shows_target.then(|| view! { <td data-label="Object" class="wrap"><Target target=target /></td> })}
            <td data-label="Changes" class="audit-changes"><Details changes=changes detail=detail /></td>
        </tr>
    }
}

/// The author of an entry.
fn who(actor: Option<&str>, credential: &AuditCredential) -> String {
    match (actor, credential.kind.parse()) {
        (Some(actor), _) => actor.to_owned(),
        (None, Ok(AuditCredentialType::System)) => "Berth".to_owned(),
        (None, Ok(AuditCredentialType::Operator)) => "Operator".to_owned(),
        (None, Ok(AuditCredentialType::WebhookSignature)) => format!("Receiver of {}", credential.name),
        (None, _) => "Unknown".to_owned(),
    }
}

/// The credential and the address of an entry.
fn how(credential: &AuditCredential, source: &str) -> String {
    let kind = match credential.kind.parse() {
        Ok(AuditCredentialType::Session) => "Session".to_owned(),
        Ok(AuditCredentialType::ApiToken) => format!("API token {}", credential.name),
        Ok(AuditCredentialType::Password) => "Password".to_owned(),
        Ok(AuditCredentialType::Passkey) => "Passkey".to_owned(),
        Ok(AuditCredentialType::IdentityProvider) => format!("Log-in at {}", credential.name),
        Ok(AuditCredentialType::WebhookSignature) => "Signature".to_owned(),
        Ok(AuditCredentialType::SetupCode) => "First set-up".to_owned(),
        Ok(AuditCredentialType::Operator) => "Command line or settings".to_owned(),
        Ok(AuditCredentialType::System) => "Automatic".to_owned(),
        Ok(AuditCredentialType::None) => "No valid credential".to_owned(),
        Err(_) => credential.kind.clone(),
    };
    if source.is_empty() { kind } else { format!("{kind}, {source}") }
}

/// The name of a kind of object, e.g. `Resource type`.
fn kind_label(kind: &str) -> String {
    let text = match kind {
        "token" => "API token".to_owned(),
        kind => kind.replace('_', " "),
    };
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

/// The page of an object, if it has one.
fn page_of(target: &AuditTarget) -> Option<String> {
    let id = &target.id;
    if id.is_empty() {
        return None;
    }
    match AuditTargetType::parse(&target.kind)? {
        AuditTargetType::Webhook => Some(format!("/settings/webhooks/{id}")),
        AuditTargetType::Delivery => Some(format!("/deliveries/{id}")),
        AuditTargetType::Reservation => Some(format!("/reservations/{id}")),
        AuditTargetType::User => Some("/settings/users".to_owned()),
        AuditTargetType::Group => Some("/settings/groups".to_owned()),
        AuditTargetType::Resource | AuditTargetType::ResourceType => Some("/settings/catalogue".to_owned()),
        AuditTargetType::AccessRequest => Some("/access-requests".to_owned()),
        _ => None,
    }
}

#[component]
fn Target(target: AuditTarget) -> impl IntoView {
    let href = page_of(&target);
    let AuditTarget { kind, id, name } = target;
    let (text, has_name) = if name.is_empty() { (id.clone(), false) } else { (name, true) };
    let link = match href {
        Some(href) => view! { <a href=href>{text}</a> }.into_any(),
        None => view! { <span>{text}</span> }.into_any(),
    };
    let label = kind_label(&kind);
    let below = if has_name { format!("{label} {id}") } else { label };
    view! {
        <div>
            {link}
            <div class="muted small">{below}</div>
        </div>
    }
}

/// The changed fields and the detail. Many fields are folded.
#[component]
fn Details(changes: Vec<FieldChange>, detail: String) -> impl IntoView {
    let count = changes.len();
    let fields = (count > 0).then(|| view! { <Diff changes=changes /> });
    let fields = fields.map(|fields| {
        if count <= SHOWN_FIELDS {
            return fields.into_any();
        }
        view! {
            <details>
                <summary>{intl::number(count as u64)}" fields"</summary>
                {fields}
            </details>
        }
        .into_any()
    });
    let detail = (!detail.is_empty()).then(|| view! { <p class="small muted">{detail}</p> });
    view! { <div>{fields} {detail}</div> }
}

#[component]
fn Diff(changes: Vec<FieldChange>) -> impl IntoView {
    let row = |change: FieldChange| {
        let FieldChange { field, before, after, secret } = change;
        let value = if secret {
            view! { <span class="muted">"changed (secret)"</span> }.into_any()
        } else {
            let before = text_of(&before).map(|text| view! { <del>{text}</del> });
            let after = match text_of(&after) {
                Some(text) => view! { <ins>{text}</ins> }.into_any(),
                None => view! { <span class="muted">"removed"</span> }.into_any(),
            };
            view! { {before} " " {after} }.into_any()
        };
        view! {
            <dt>{field}</dt>
            <dd>{value}</dd>
        }
    };
    view! { <dl class="audit-diff">{changes.into_iter().map(row).collect_view()}</dl> }
}

/// A value as text; `None` for no value.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            Some(items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "))
        }
        other => Some(other.to_string()),
    }
}
