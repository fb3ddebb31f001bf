//! One's own API tokens.

use crate::components::*;
use crate::load::{Write, load};
use crate::rpc::accounts;
use crate::time;
use crate::values::Cell;
use chrono::Duration;
use domain::account::{ApiToken, ApiTokenInput, NewApiToken};
use domain::authorization::Scope;
use leptos::prelude::*;

/// `/settings/tokens`
#[component]
pub fn TokensPage() -> impl IntoView {
    let list = load(accounts::list_tokens);
    let making = RwSignal::new(false);
    let make = Callback::new(move |()| making.set(true));
    let write = Write::new();
    let leaving = Cell::new(None::<ApiToken>);
    let confirm = RwSignal::new(false);
    let revoke = Callback::new(move |()| {
        if let Some(token) = leaving.get_untracked() {
            write.run(accounts::revoke_token(token.id), move |()| {
                confirm.set(false);
                list.again();
            });
        }
    });
    let ask = Callback::new(move |token: ApiToken| {
        leaving.set(Some(token));
        confirm.set(true);
    });
    view! {
        <PageHeader title="API tokens" lead="Credentials for scripts. Send as Authorization: Bearer <token>.">
            <a class="button" href="/api/docs" rel="external">"API documentation"</a>
            <Button look=Look::Primary on_click=make><IconView icon=Icon::Plus />"New token"</Button>
        </PageHeader>
        {list.show(move |tokens| {
            view! {
                <When
                    when=move || !tokens.with(Vec::is_empty)
                    fallback=|| {
                        view! {
                            <EmptyState icon=Icon::Key title="No tokens yet">
                                <p>"A token lets a script reserve or manage webhooks on your behalf."</p>
                            </EmptyState>
                        }
                    }
                >
                    <TableBox label="API tokens">
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
                                {move || tokens.get().into_iter().map(|token| view! { <Row token=token revoke=ask /> }.into_any()).collect_view()}
                            </tbody>
                        </table>
                    </TableBox>
                </When>
            }
        })}
        <Dialog open=making title="New API token">
            <Make made=Callback::new(move |()| list.again()) open=making />
        </Dialog>
        <Dialog open=confirm title="Revoke this token?">
            <p>
                "Scripts that use "
                <strong>{move || leaving.get().map(|t| t.name).unwrap_or_default()}</strong> " will stop working at once."
            </p>
            <FormProblem problem=write.problem />
            <div class="dialog-actions">
                <Button on_click=Callback::new(move |()| confirm.set(false))>"Keep token"</Button>
                <Button look=Look::Danger busy=write.busy on_click=revoke>"Revoke token"</Button>
            </div>
        </Dialog>
    }
}

#[component]
fn Row(token: ApiToken, revoke: Callback<ApiToken>) -> impl IntoView {
    let scopes = token.scopes.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(", ");
    let of = token.clone();
    let ask = Callback::new(move |()| revoke.run(of.clone()));
    view! {
        <tr>
            <td data-label="Name" class="wrap">{token.name.clone()}</td>
            <td data-label="Scope">{scopes}</td>
            <td data-label="Created"><Ago at=token.created_at /></td>
            <td data-label="Last used">
                {match token.last_used_at {
                    Some(at) => view! { <Ago at=at /> }.into_any(),
                    None => view! { <span class="muted">"Never"</span> }.into_any(),
                }}
            </td>
            <td data-label="Expires">
                {match token.expires_at {
                    Some(at) => view! { <Ago at=at /> }.into_any(),
                    None => view! { <span class="muted">"Never"</span> }.into_any(),
                }}
            </td>
            <td>
                <Button look=Look::Quiet on_click=ask label=format!("Revoke {}", token.name)>"Revoke"</Button>
            </td>
        </tr>
    }
}

#[component]
fn Make(made: Callback<()>, open: RwSignal<bool>) -> impl IntoView {
    let name = RwSignal::new(String::new());
    let scope = RwSignal::new("read".to_owned());
    let days = RwSignal::new("90".to_owned());
    let write = Write::new();
    let token = Cell::new(None::<NewApiToken>);
    let submit = Callback::new(move |()| {
        let scopes = match scope.get_untracked().as_str() {
            "read" => vec![Scope::Read],
            "reserve" => vec![Scope::Read, Scope::Reserve],
            _ => Scope::ALL.to_vec(),
        };
        let expires_at = days.get_untracked().parse::<i64>().ok().map(|days| time::now() + Duration::days(days));
        let input = ApiTokenInput { name: name.get_untracked().trim().to_owned(), scopes: Some(scopes), expires_at };
        write.run(accounts::create_token(input), move |new| {
            token.set(Some(new));
            made.run(());
        });
    });
    let close = Callback::new(move |()| open.set(false));
    move || match token.get() {
        Some(new) => view! {
            <Notice kind="success">
                <p>"Copy the token now. It is not shown again."</p>
            </Notice>
            <CodeBlock text=new.token label="Token" />
            <div class="dialog-actions">
                <Button look=Look::Primary on_click=close>"Done"</Button>
            </div>
        }
        .into_any(),
        None => view! {
            <Form on_submit=submit>
                <FormProblem problem=write.other_than(&["name", "expires_at"]) />
                <TextInput label="Name" value=name hint="For example: nightly training" error=write.message("name") />
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
                    options=words([("30", "In 30 days"), ("90", "In 90 days"), ("365", "In 1 year"), ("", "Never")])
                    error=write.message("expires_at")
                />
                <div class="dialog-actions">
                    <Button on_click=close>"Cancel"</Button>
                    <Button look=Look::Primary submit=true busy=write.busy>"Create token"</Button>
                </div>
            </Form>
        }
        .into_any(),
    }
}
