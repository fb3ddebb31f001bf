//! Requests for access to resources.

use crate::address::in_address;
use crate::components::*;
use crate::layout::use_session;
use crate::live::{LiveEvent, use_live};
use crate::load::{Write, load};
use crate::rpc::catalogue;
use crate::values::{Cell, Value};
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
    let leaving = Cell::new(None::<AccessRequest>);
    let confirm = RwSignal::new(false);
    let withdrawal = Write::new();
    let ask = Callback::new(move |request: AccessRequest| {
        withdrawal.problem.set(None);
        leaving.set(Some(request));
        confirm.set(true);
    });
    let revoke = Callback::new(move |()| {
        if let Some(request) = leaving.get_untracked() {
            withdrawal.run(catalogue::decide_access(request.id, false), move |_| {
                confirm.set(false);
                list.again();
            });
        }
    });
    let lead = if session.is_admin() {
        "Requests to use restricted resources. Approval lasts until you revoke it."
    } else {
        "Your access requests and their status."
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
            let items = Value::derive(move || page.get().items);
            view! {
                <When
                    when=move || !items.with(Vec::is_empty)
                    fallback=|| view! { <EmptyState icon=Icon::Lock title="No access requests" /> }
                >
                    <TableBox label="Access requests">
                        <table class="cards-on-phone">
                            <thead>
                                <tr>
                                    <th>"Resource"</th>
                                    <th>"Requested by"</th>
                                    <th>"Reason"</th>
                                    <th>"Requested"</th>
                                    <th>"Status"</th>
                                    <th><span class="visually-hidden">"Actions"</span></th>
                                </tr>
                            </thead>
                            <tbody>
                                {move || {
                                    items.get().into_iter().map(|request| view! { <Row request=request decide=decide revoke=ask admin=session.is_admin() /> }.into_any()).collect_view()
                                }}
                            </tbody>
                        </table>
                    </TableBox>
                </When>
            }
        })}
        <Dialog open=confirm title="Revoke this access?">
            <p>
                <strong>{move || leaving.get().map(|r| r.user_id)}</strong>
                " will not be able to reserve "
                <strong>{move || leaving.get().map(|r| r.resource_name)}</strong>
                " and will be notified. Existing reservations are kept."
            </p>
            <FormProblem problem=withdrawal.problem />
            <div class="dialog-actions">
                <Button on_click=Callback::new(move |()| confirm.set(false))>"Keep access"</Button>
                <Button look=Look::Danger busy=withdrawal.busy on_click=revoke>"Revoke access"</Button>
            </div>
        </Dialog>
    }
}

#[component]
fn Row(
    request: AccessRequest,
    decide: Callback<(AccessRequest, bool)>,
    revoke: Callback<AccessRequest>,
    admin: bool,
) -> impl IntoView {
    let yes = request.clone();
    let no = request.clone();
    let granted = request.clone();
    let withdraw = Callback::new(move |()| revoke.run(granted.clone()));
    let approve = Callback::new(move |()| decide.run((yes.clone(), true)));
    let deny = Callback::new(move |()| decide.run((no.clone(), false)));
    let who = request.user_id;
    view! {
        <tr>
            <td data-label="Resource">
                <span class="wrap">{request.resource_name}<br /><span class="muted small">{request.resource_type}</span></span>
            </td>
            <td data-label="Requested by">{who.clone()}</td>
            <td data-label="Reason" class="wrap">{request.reason}</td>
            <td data-label="Requested"><Ago at=request.requested_at /></td>
            <td data-label="Status">
                <span>
                    <Chip state=request.status />
                    {request.decided_by.map(|by| view! { <br /><span class="muted small">"by "{by}</span> }.into_any())}
                </span>
            </td>
            <td>
                {match request.status {
                    AccessStatus::Pending if admin => Some(view! {
                        <div class="row">
                            <Button on_click=approve label=format!("Approve request from {who}")>"Approve"</Button>
                            <Button look=Look::Danger on_click=deny label=format!("Deny request from {who}")>"Deny"</Button>
                        </div>
                    }
                    .into_any()),
                    AccessStatus::Approved if admin => Some(view! {
                        <Button look=Look::Quiet on_click=withdraw label=format!("Revoke access for {who}")>"Revoke"</Button>
                    }
                    .into_any()),
                    _ => None,
                }}
            </td>
        </tr>
    }
}
