//! Settings → API tokens of the user.

use crate::components::*;
use crate::erased::ErasedSignal;
use crate::new_secret::{SecretOwner, use_new_secret};
use crate::query::{Mutation, Query};
use crate::rpc::accounts;
use crate::time;
use chrono::Duration;
use domain::account::{ApiToken, ApiTokenInput};
use domain::authorization::Scope;
use leptos::prelude::*;

/// `/settings/tokens`
#[component]
pub fn TokensPage() -> impl IntoView {
    let list = Query::new(accounts::list_tokens);
    let create_open = RwSignal::new(false);
    let create = Callback::new(move |()| create_open.set(true));
    let mutation = Mutation::new();
    let revoked = ErasedSignal::new(None::<ApiToken>);
    let revoke_open = RwSignal::new(false);
    let revoke = Callback::new(move |()| {
        if let Some(token) = revoked.get_untracked() {
            mutation.run(accounts::revoke_token(token.id), move |()| {
                revoke_open.set(false);
                list.refetch();
            });
        }
    });
    let open_revoke = Callback::new(move |token: ApiToken| {
        revoked.set(Some(token));
        revoke_open.set(true);
    });
    view! {
        <PageHeader title="API tokens" lead="Credentials for scripts. Send as Authorization: Bearer <token>.">
            <a class="button" href="/api/docs" rel="external">"API documentation"</a>
            <Button variant=ButtonVariant::Primary on_click=create><IconView icon=Icon::Plus />"New token"</Button>
        </PageHeader>
        {list.view(move |tokens| {
            view! {
                <Show
                    when=move || !tokens.with(Vec::is_empty)
                    fallback=|| {
                        view! {
                            <EmptyState icon=Icon::Key title="No tokens yet">
                                <p>"A token lets a script reserve or manage webhooks on your behalf."</p>
                            </EmptyState>
                        }
                    }
                >
                    <ScrollableTable label="API tokens">
                        <table class="cards-on-phone">
                            <thead>
                                <tr>
                                    <th>"Name"</th>
                                    <th>"Scope"</th>
                                    <th>"Created"</th>
                                    <th>"Last used"</th>
                                    <th>"Expires"</th>
                                    <th><span class="visually-hidden">"Actions"</span></th>
                                </tr>
                            </thead>
                            <tbody>
                                {move || tokens.get().into_iter().map(|token| view! { <Row token=token on_revoke=open_revoke /> }).collect_view()}
                            </tbody>
                        </table>
                    </ScrollableTable>
                </Show>
            }
        })}
        <Dialog open=create_open title="New API token">
            <CreateForm on_done=Callback::new(move |()| list.refetch()) open=create_open />
        </Dialog>
        <Dialog open=revoke_open title="Revoke this token?">
            <p>
                "Scripts that use "
                <strong>{move || revoked.get().map(|t| t.name).unwrap_or_default()}</strong> " will stop working at once."
            </p>
            <FormProblem problem=mutation.problem />
            <div class="dialog-actions">
                <Button on_click=Callback::new(move |()| revoke_open.set(false))>"Keep token"</Button>
                <Button variant=ButtonVariant::Danger pending=mutation.pending on_click=revoke>"Revoke token"</Button>
            </div>
        </Dialog>
    }
}

#[component]
fn Row(token: ApiToken, on_revoke: Callback<ApiToken>) -> impl IntoView {
    let scopes = token.scopes.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(", ");
    let revoked = token.clone();
    let revoke = Callback::new(move |()| on_revoke.run(revoked.clone()));
    view! {
        <tr>
            <td data-label="Name" class="wrap">{token.name.clone()}</td>
            <td data-label="Scope">{scopes}</td>
            <td data-label="Created"><RelativeTime at=token.created_at /></td>
            <td data-label="Last used">
                {match token.last_used_at {
                    Some(at) => view! { <RelativeTime at=at /> }.into_any(),
                    None => view! { <span class="muted">"Never"</span> }.into_any(),
                }}
            </td>
            <td data-label="Expires">
                {match token.expires_at {
                    Some(at) => view! { <RelativeTime at=at /> }.into_any(),
                    None => view! { <span class="muted">"Never"</span> }.into_any(),
                }}
            </td>
            <td>
                <Button variant=ButtonVariant::Quiet on_click=revoke label=format!("Revoke {}", token.name)>"Revoke"</Button>
            </td>
        </tr>
    }
}

#[component]
fn CreateForm(on_done: Callback<()>, open: RwSignal<bool>) -> impl IntoView {
    let name = RwSignal::new(String::new());
    let scope = RwSignal::new("read".to_owned());
    let days = RwSignal::new("90".to_owned());
    let mutation = Mutation::new();
    let new_secret = use_new_secret();
    let submit = Callback::new(move |()| {
        let scopes = match scope.get_untracked().as_str() {
            "read" => vec![Scope::Read],
            "reserve" => vec![Scope::Read, Scope::Reserve],
            _ => Scope::ALL.to_vec(),
        };
        let expires_at = days.get_untracked().parse::<i64>().ok().map(|days| time::now() + Duration::days(days));
        let input = ApiTokenInput {
            name: name.get_untracked().trim().to_owned(),
            scopes: Some(scopes),
            expires_at,
            current_password: None,
        };
        let name = input.name.clone();
        mutation.run_to_end(accounts::create_token(input), move |new| {
            open.set(false);
            on_done.try_run(());
            new_secret.show(SecretOwner::Token(name), new.token);
        });
    });
    view! {
            <Form on_submit=submit>
                <FormProblem problem=mutation.problem_except(&["name", "expires_at"]) />
                <TextInput label="Name" value=name hint="For example: nightly training" error=mutation.field_error("name") />
                <RadioCards
                    legend="Scope"
                    value=scope
                    options=vec![
                        ("read", "Read", "View everything you can view."),
                        ("reserve", "Reserve", "Also create, modify and cancel reservations."),
                        ("admin", "Full access", "Everything you can do."),
                    ]
                />
                <Select
                    label="Expires"
                    value=days
                    options=select_options([("30", "In 30 days"), ("90", "In 90 days"), ("", "As late as possible")])
                    error=mutation.field_error("expires_at")
                />
                <div class="dialog-actions">
                    <Button on_click=Callback::new(move |()| open.set(false))>"Cancel"</Button>
                    <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Create token"</Button>
                </div>
            </Form>
    }
}
