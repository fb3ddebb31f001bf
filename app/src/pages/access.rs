//! Requests for access to resources.

use crate::address::in_address;
use crate::components::*;
use crate::live::{LiveEvent, use_live};
use crate::load::{Write, load};
use crate::rpc::catalogue;
use crate::shell::use_session;
use domain::resource::{AccessRequest, AccessStatus};
use leptos::prelude::*;

/// `/access-requests`
#[component]
pub fn AccessRequestsPage() -> impl IntoView {
    let session = use_session();
    let [status] = in_address([("status", if session.is_admin() { "pending" } else { "" })]);
    let list = load(move || catalogue::list_access_requests(AccessStatus::parse(&status.get())));
    use_live().on(move |event| {
        // Requests and decisions come with a notification.
        if matches!(event, LiveEvent::Notification(_) | LiveEvent::Resync) {
            list.again();
        }
    });
    let write = Write::new();
    let decide = Callback::new(move |(request, approve): (AccessRequest, bool)| {
        write.run(catalogue::decide_access(request.id, approve), move |_| list.again());
    });
    let lead = if session.is_admin() {
        "Who asks for a resource that they may not book. Approving lets them reserve it from then on."
    } else {
        "What you asked for, and what was decided. Ask on the Reserve page."
    };
    view! {
        <PageHeader title="Access requests" lead=lead />
        <div class="toolbar">
            <Select
                label="Status"
                value=status
                options=words([("", "All"), ("pending", "Pending"), ("approved", "Approved"), ("denied", "Denied")])
            />
        </div>
        <FormProblem problem=write.problem />
        {list.show(move |page| {
            let items = Signal::derive(move || page.get().items);
            view! {
                <Show
                    when=move || !items.with(Vec::is_empty)
                    fallback=|| view! { <EmptyState icon=Icon::Lock title="No requests here" /> }
                >
                    <TableBox label="Access requests">
                        <table class="cards-on-phone">
                            <thead>
                                <tr>
                                    <th>"Resource"</th>
                                    <th>"Who"</th>
                                    <th>"Reason"</th>
                                    <th>"Asked"</th>
                                    <th>"Status"</th>
                                    <th><span class="visually-hidden">"Actions"</span></th>
                                </tr>
                            </thead>
                            <tbody>
                                {move || {
                                    items.get().into_iter().map(|request| view! { <Row request=request decide=decide admin=session.is_admin() /> }).collect_view()
                                }}
                            </tbody>
                        </table>
                    </TableBox>
                </Show>
            }
        })}
    }
}

#[component]
fn Row(request: AccessRequest, decide: Callback<(AccessRequest, bool)>, admin: bool) -> impl IntoView {
    let yes = request.clone();
    let no = request.clone();
    let approve = Callback::new(move |()| decide.run((yes.clone(), true)));
    let deny = Callback::new(move |()| decide.run((no.clone(), false)));
    let who = request.user_id;
    view! {
        <tr>
            <td data-label="Resource">
                <span class="wrap">{request.resource_name}<br /><span class="muted small">{request.resource_type}</span></span>
            </td>
            <td data-label="Who">{who.clone()}</td>
            <td data-label="Reason" class="wrap">{request.reason}</td>
            <td data-label="Asked"><Ago at=request.requested_at /></td>
            <td data-label="Status">
                <span>
                    <Chip state=request.status />
                    {request.decided_by.map(|by| view! { <br /><span class="muted small">"by "{by}</span> })}
                </span>
            </td>
            <td>
                {(admin && request.status == AccessStatus::Pending)
                    .then(|| {
                        view! {
                            <div class="row">
                                <Button on_click=approve label=format!("Approve the request of {who}")>"Approve"</Button>
                                <Button look=Look::Danger on_click=deny label=format!("Deny the request of {who}")>"Deny"</Button>
                            </div>
                        }
                    })}
            </td>
        </tr>
    }
}
