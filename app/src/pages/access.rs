//! Access requests: for administrators and owners to decide, for other users to follow.

use crate::components::*;
use crate::erased::{ErasedMemo, ErasedSignal};
use crate::live::{LiveEvent, use_live};
use crate::query::{Mutation, Query};
use crate::query_signals::query_signals;
use crate::rpc::catalogue;
use crate::session::use_session;
use domain::ownership::ResourceKey;
use domain::resource::{AccessRequest, AccessStatus};
use leptos::prelude::*;

/// `/access-requests`
#[component]
pub fn AccessRequestsPage() -> impl IntoView {
    let session = use_session();
    let decides = untrack(|| session.manages_resources());
    let [status] = query_signals([("status", if decides { "pending" } else { "" })]);
    let list = Query::new(move || catalogue::list_access_requests(AccessStatus::parse(&status.get())));
    use_live().on(move |event| {
        // Each request and decision comes with a notification.
        if matches!(event, LiveEvent::Notification(_)) {
            list.refetch();
        }
    });
    let mutation = Mutation::new();
    let decide = Callback::new(move |(request, approve): (AccessRequest, bool)| {
        mutation.run(catalogue::decide_access(request.id, approve), move |_| list.refetch());
    });
    let revoked = ErasedSignal::new(None::<AccessRequest>);
    let revoke_open = RwSignal::new(false);
    let revocation = Mutation::new();
    let open_revoke = Callback::new(move |request: AccessRequest| {
        revocation.problem.set(None);
        revoked.set(Some(request));
        revoke_open.set(true);
    });
    let revoke = Callback::new(move |()| {
        if let Some(request) = revoked.get_untracked() {
            revocation.run(catalogue::decide_access(request.id, false), move |_| {
                revoke_open.set(false);
                list.refetch();
            });
        }
    });
    let lead = if untrack(|| session.reads_everything() || session.is_owner()) {
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
                options=select_options([("", "All"), ("pending", "Pending"), ("approved", "Approved"), ("denied", "Denied")])
            />
        </div>
        <FormProblem problem=mutation.problem />
        {list.view(move |page| {
            let items = ErasedMemo::derive(move || page.get().items);
            view! {
                <Show
                    when=move || !items.with(Vec::is_empty)
                    fallback=|| view! { <EmptyState icon=Icon::Lock title="No access requests" /> }
                >
                    <ScrollableTable label="Access requests">
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
                                    items.get().into_iter().map(|request| view! { <Row request=request on_decide=decide on_revoke=open_revoke /> }.into_any()).collect_view()
                                }}
                            </tbody>
                        </table>
                    </ScrollableTable>
                </Show>
            }
        })}
        <Dialog open=revoke_open title="Revoke this access?">
            <p>
                <strong>{move || revoked.get().map(|r| r.user_id)}</strong>
                " will not be able to reserve "
                <strong>{move || revoked.get().map(|r| r.resource_name)}</strong>
                " and will be notified. Existing reservations are kept."
            </p>
            <FormProblem problem=revocation.problem />
            <div class="dialog-actions">
                <Button on_click=Callback::new(move |()| revoke_open.set(false))>"Keep access"</Button>
                <Button variant=ButtonVariant::Danger pending=revocation.pending on_click=revoke>"Revoke access"</Button>
            </div>
        </Dialog>
    }
}

#[component]
fn Row(
    request: AccessRequest,
    on_decide: Callback<(AccessRequest, bool)>,
    on_revoke: Callback<AccessRequest>,
) -> impl IntoView {
    let manages = untrack(|| use_session().manages(ResourceKey::new(&request.resource_type, request.resource_id)));
    let (approved, denied, revoked) = (request.clone(), request.clone(), request.clone());
    let approve = Callback::new(move |()| on_decide.run((approved.clone(), true)));
    let deny = Callback::new(move |()| on_decide.run((denied.clone(), false)));
    let revoke = Callback::new(move |()| on_revoke.run(revoked.clone()));
    let user = request.user_id;
    view! {
        <tr>
            <td data-label="Resource" class="wrap">
                <span>{request.resource_name}<br /><span class="muted small">{request.resource_type}</span></span>
            </td>
            <td data-label="Requested by" class="wrap">{user.clone()}</td>
            <td data-label="Reason" class="wrap">{request.reason}</td>
            <td data-label="Requested"><RelativeTime at=request.requested_at /></td>
            <td data-label="Status" class="wrap">
                <span>
                    <Badge status=request.status />
                    {request.decided_by.map(|by| view! { <br /><span class="muted small">"by "{by}</span> }.into_any())}
                </span>
            </td>
            <td>
                {match request.status {
                    AccessStatus::Pending if manages => Some(view! {
                        <div class="row">
                            <Button on_click=approve label=format!("Approve request from {user}")>"Approve"</Button>
                            <Button variant=ButtonVariant::Danger on_click=deny label=format!("Deny request from {user}")>"Deny"</Button>
                        </div>
                    }
                    .into_any()),
                    AccessStatus::Approved if manages => Some(view! {
                        <Button variant=ButtonVariant::Quiet on_click=revoke label=format!("Revoke access for {user}")>"Revoke"</Button>
                    }
                    .into_any()),
                    _ => None,
                }}
            </td>
        </tr>
    }
}
