//! The form that requests access to a restricted resource.

use crate::components::*;
use crate::live::{LiveEvent, use_live};
use crate::query::{Mutation, Query};
use crate::rpc::catalogue;
use crate::session::use_session;
use domain::id::ResourceId;
use domain::resource::{AccessRequestInput, AccessStatus};
use leptos::prelude::*;

/// The form, or a notice while a request of the user is pending.
#[component]
pub fn AccessRequestForm(id: ResourceId) -> impl IntoView {
    let session = use_session();
    let pending_requests = Query::new(|| catalogue::list_access_requests(Some(AccessStatus::Pending)));
    use_live().on(move |event| {
        // Each decision comes with a notification.
        if matches!(event, LiveEvent::Notification(_)) {
            pending_requests.refetch();
        }
    });
    let is_requested = Memo::new(move |_| {
        let username = session.username();
        let requests = pending_requests.get();
        requests.is_some_and(|page| page.items.iter().any(|r| r.resource_id == id && r.user_id == username))
    });
    let reason = RwSignal::new(String::new());
    let mutation = Mutation::new();
    let submit = Callback::new(move |()| {
        let input = AccessRequestInput { resource_id: id, reason: reason.get_untracked().trim().to_owned() };
        mutation.run(catalogue::request_access(input), move |new| {
            pending_requests.update(|page| page.items.push(new));
            pending_requests.refetch();
        });
    });
    let form = move || {
        view! {
            <Form on_submit=submit unguarded=true>
                <FormProblem problem=mutation.problem_except(&["reason"]) />
                <TextArea label="Reason" value=reason error=mutation.field_error("reason") />
                <div>
                    <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Request access"</Button>
                </div>
            </Form>
        }
    };
    view! {
        <section class="card stack" aria-label="Request access">
            <div>
                <h2>"Access required"</h2>
                <p class="muted">"Access is approved by the owner. Describe what you need it for."</p>
            </div>
            <Show when=move || is_requested.get() fallback=form>
                <Notice kind=NoticeKind::Success>
                    <p>"Request sent. You will be notified."</p>
                    <a href="/access-requests">"View access requests"</a>
                </Notice>
            </Show>
        </section>
    }
}
