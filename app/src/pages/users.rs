//! Settings → Users: all accounts, for administrators.

use crate::components::*;
use crate::erased::{ErasedMemo, ErasedSignal};
use crate::pages::personal_data::PersonalData;
use crate::query::{Mutation, Query};
use crate::rpc::{accounts, second_factor};
use crate::session::{ForAdministrators, use_session};
use domain::Problem;
use domain::account::{ReservationsOfDisabled, User, UserInput, UserPatch};
use domain::authorization::Role;
use domain::second_factor::APP_ID;
use domain::single_sign_on::{Identity, IdentityInput, ProviderView};
use leptos::prelude::*;

/// `/settings/users`
#[component]
pub fn UsersPage() -> impl IntoView {
    let session = use_session();
    let list = Query::new(accounts::list_users);
    let create_open = RwSignal::new(false);
    let editing = ErasedSignal::new(None::<User>);
    let edit_open = RwSignal::new(false);
    let create = Callback::new(move |()| create_open.set(true));
    let edit = Callback::new(move |user: User| {
        editing.set(Some(user));
        edit_open.set(true);
    });
    let on_done = Callback::new(move |()| list.refetch());
    view! {
        <PageHeader title="Users" lead="People with access.">
            <ForAdministrators>
                <Button variant=ButtonVariant::Primary on_click=create><IconView icon=Icon::Plus />"New user"</Button>
            </ForAdministrators>
        </PageHeader>
        {list.view(move |users| {
            view! {
                <ScrollableTable label="Users">
                    <table class="cards-on-phone">
                        <thead>
                            <tr>
                                <th>"Username"</th>
                                <th>"E-mail"</th>
                                <th>"Role"</th>
                                <th>"Created"</th>
                                <th><span class="visually-hidden">"Actions"</span></th>
                            </tr>
                        </thead>
                        <tbody>{move || users.get().into_iter().map(|user| view! { <Row user=user on_edit=edit /> }).collect_view()}</tbody>
                    </table>
                </ScrollableTable>
            }
        })}
        <Dialog open=create_open title="New user">
            <CreateForm open=create_open on_done=on_done />
        </Dialog>
        <Dialog open=edit_open title="Edit user">
            {move || {
                editing
                    .get()
                    .map(|user| {
                        let username = user.username.clone();
                        let on_erased = Callback::new(move |()| {
                            edit_open.set(false);
                            on_done.run(());
                        });
                        view! {
                            <EditForm user=user open=edit_open on_done=on_done />
                            // Users erase their own account in Account.
                            {(username != session.username_untracked())
                                .then(|| view! { <PersonalData username=username is_own=false on_erased=on_erased /> })}
                        }
                    })
            }}
        </Dialog>
    }
}

#[component]
fn Row(user: User, on_edit: Callback<User>) -> impl IntoView {
    let edited = user.clone();
    let edit = Callback::new(move |()| on_edit.run(edited.clone()));
    let edit_label = format!("Edit {}", user.username);
    view! {
        <tr>
            <td data-label="Username" class="wrap">{user.username.clone()}</td>
            <td data-label="E-mail" class="wrap">{user.email}</td>
            <td data-label="Role">
                <span class="row">
                    {role_label(user.role)}
                    {(!user.has_password || user.role_provider.is_some()).then(|| view! { <span class="badge">"Single sign-on"</span> })}
                    {user.disabled.then(|| view! { <span class="badge bad">"Disabled"</span> })}
                </span>
            </td>
            <td data-label="Created"><RelativeTime at=user.created_at /></td>
            <td>
                <div class="row">
                    <ForAdministrators>
                        <Button variant=ButtonVariant::Quiet on_click=edit label=edit_label.clone()>"Edit"</Button>
                    </ForAdministrators>
                    <ChangesLink target="user" id=user.username.clone() name=user.username.clone() />
                </div>
            </td>
        </tr>
    }
}

/// The options of the role.
fn role_options() -> Vec<(&'static str, &'static str, &'static str)> {
    vec![
        ("user", "User", "Reserves resources and sees their own reservations."),
        ("auditor", "Auditor", "Sees everything and changes nothing."),
        ("administrator", "Administrator", "Manages catalogue, webhooks and users; sees everything."),
    ]
}

/// The answers to the question what happens to the reservations of a disabled user.
fn reservation_options() -> Vec<(&'static str, &'static str, &'static str)> {
    vec![
        ("keep", "Keep", "They stay active until they end."),
        ("cancel", "Cancel", "They end now, and webhooks are notified."),
    ]
}

fn role_label(role: Role) -> &'static str {
    match role {
        Role::User => "User",
        Role::Administrator => "Administrator",
        Role::Auditor => "Auditor",
    }
}

/// The role of an option.
fn parse_role(text: &str) -> Role {
    Role::parse(text).unwrap_or(Role::User)
}

#[component]
fn CreateForm(open: RwSignal<bool>, on_done: Callback<()>) -> impl IntoView {
    let username = RwSignal::new(String::new());
    let email = RwSignal::new(String::new());
    let password = RwSignal::new(String::new());
    let role = RwSignal::new("user".to_owned());
    let mutation = Mutation::new();
    let submit = Callback::new(move |()| {
        let input = UserInput {
            username: username.get_untracked().trim().to_owned(),
            email: email.get_untracked().trim().to_owned(),
            password: password.get_untracked(),
            role: parse_role(&role.get_untracked()),
        };
        mutation.run(accounts::create_user(input), move |_| {
            open.set(false);
            on_done.run(());
        });
    });
    view! {
        <Form on_submit=submit>
            <FormProblem problem=mutation.problem_except(&["username", "email", "password"]) />
            <TextInput
                label="Username"
                value=username
                hint="Cannot be changed; used as the account name on resources."
                error=mutation.field_error("username")
            />
            <TextInput label="E-mail" value=email kind="email" error=mutation.field_error("email") />
            <TextInput
                label="Password"
                value=password
                kind="password"
                autocomplete="new-password"
                hint="At least 12 characters, not a common password. The user can change it."
                error=mutation.field_error("password")
            />
            <RadioCards legend="Role" value=role options=role_options() />
            <div class="dialog-actions">
                <Button on_click=Callback::new(move |()| open.set(false))>"Cancel"</Button>
                <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Create user"</Button>
            </div>
        </Form>
    }
}

/// The links of an account to identity providers. Hidden if there is neither a provider nor a link.
#[component]
fn Identities(username: String) -> impl IntoView {
    let owner = StoredValue::new(username);
    let list = Query::new(move || accounts::list_identities(owner.get_value()));
    let providers = Query::new(accounts::list_providers);
    let provider = RwSignal::new(String::new());
    let subject = RwSignal::new(String::new());
    let mutation = Mutation::new();
    let remove = Callback::new(move |id: String| {
        mutation.run(accounts::remove_identity(owner.get_value(), id, None), move |()| list.refetch());
    });
    let link = Callback::new(move |()| {
        let input =
            IdentityInput { provider: provider.get_untracked(), subject: subject.get_untracked().trim().to_owned() };
        mutation.run(accounts::add_identity(owner.get_value(), input), move |_| {
            subject.set(String::new());
            list.refetch();
        });
    });
    let row = move |identity: Identity| {
        let id = identity.id;
        let remove = Callback::new(move |()| remove.run(id.clone()));
        view! {
            <li class="row">
                <span class="wrap">{format!("{}: {}", identity.provider, identity.subject)}</span>
                <Button variant=ButtonVariant::Quiet pending=mutation.pending on_click=remove label=format!("Remove {}", identity.provider)>
                    "Remove"
                </Button>
            </li>
        }
    };
    let content = move |providers: ErasedMemo<Vec<ProviderView>>, identities: ErasedMemo<Vec<Identity>>| {
        // An account has one link at most for each provider.
        let unlinked = move || {
            let linked = identities.get();
            let is_unlinked =
                |provider: &ProviderView| linked.iter().all(|known| known.provider != provider.display_name);
            providers.get().into_iter().filter(is_unlinked).collect::<Vec<_>>()
        };
        let options = move || {
            let options = unlinked().into_iter().map(|provider| (provider.name, provider.display_name));
            std::iter::once((String::new(), "Choose a provider".to_owned())).chain(options).collect::<Vec<_>>()
        };
        view! {
            <Show when=move || !providers.with(Vec::is_empty) || !identities.with(Vec::is_empty)>
                <fieldset class="stack">
                    <legend>"Single sign-on"</legend>
                    <FormProblem problem=mutation.problem_except(&["provider", "subject"]) />
                    <ul class="stack">{move || identities.get().into_iter().map(row).collect_view()}</ul>
                    <Show when=move || !unlinked().is_empty()>
                        <div class="grid-2">
                            <Select label="Provider" value=provider options=Signal::derive(options) error=mutation.field_error("provider") />
                            <TextInput
                                label="Subject"
                                value=subject
                                optional=true
                                hint="Claim sub of the user there."
                                error=mutation.field_error("subject")
                            />
                        </div>
                        <div><Button pending=mutation.pending on_click=link>"Link account"</Button></div>
                    </Show>
                </fieldset>
            </Show>
        }
    };
    providers.view(move |providers| list.view(move |identities| content(providers, identities)))
}

/// The second factors of an account. Hidden if there is none.
#[component]
fn SecondFactors(username: String) -> impl IntoView {
    let owner = StoredValue::new(username);
    let factors = Query::new(move || second_factor::second_factors(owner.get_value()));
    let mutation = Mutation::new();
    let remove = Callback::new(move |id: String| {
        mutation.run(second_factor::remove_second_factor(owner.get_value(), id), move |()| factors.refetch());
    });
    let reset = Callback::new(move |()| {
        mutation.run(second_factor::reset_second_factors(owner.get_value()), move |()| factors.refetch());
    });
    let row = move |(id, name): (String, String)| {
        let remove = Callback::new(move |()| remove.run(id.clone()));
        view! {
            <li class="row">
                <span class="wrap">{name.clone()}</span>
                <Button variant=ButtonVariant::Quiet pending=mutation.pending on_click=remove label=format!("Remove {name}")>
                    "Remove"
                </Button>
            </li>
        }
    };
    factors.view(move |factors| {
        let rows = move || {
            let factors = factors.get();
            let app = factors.authenticator_app.map(|_| (APP_ID.to_owned(), "Authenticator app".to_owned()));
            let passkeys =
                factors.passkeys.into_iter().map(|passkey| (passkey.id, format!("Passkey {}", passkey.name)));
            passkeys.chain(app).map(row).collect_view()
        };
        view! {
            <Show when=move || factors.with(|factors| !factors.is_empty())>
                <fieldset class="stack">
                    <legend>"Second factors"</legend>
                    <FormProblem problem=mutation.problem />
                    <ul class="stack">{rows}</ul>
                    <div><Button pending=mutation.pending on_click=reset>"Remove all second factors"</Button></div>
                </fieldset>
            </Show>
        }
    })
}

#[component]
fn EditForm(user: User, open: RwSignal<bool>, on_done: Callback<()>) -> impl IntoView {
    let session = use_session();
    // Administrators can neither disable nor demote themselves.
    let is_own = user.username == session.username_untracked();
    let role_provider = user.role_provider.clone();
    let has_password = user.has_password;
    let identities_of = user.username.clone();
    let factors_of = user.username.clone();
    let email = RwSignal::new(user.email.clone());
    let password = RwSignal::new(String::new());
    let role = RwSignal::new(user.role.as_str().to_owned());
    let disabled = RwSignal::new(user.disabled);
    // The question what happens to the reservations appears when the account is being disabled. It has no default.
    let is_role_managed = role_provider.is_some();
    let was_disabled = user.disabled;
    let asks_for_reservations = move || disabled.get() && !was_disabled;
    let reservations = RwSignal::new(String::new());
    let mutation = Mutation::new();
    let name = user.username.clone();
    let owner = user.username.clone();
    let sign_out = Callback::new(move |()| {
        mutation.run(accounts::end_all_sessions(owner.clone()), move |()| open.set(false));
    });
    let submit = Callback::new(move |()| {
        let new = password.get_untracked();
        let is_disabling = !is_own && disabled.get_untracked() && !was_disabled;
        let choice = match reservations.get_untracked().as_str() {
            _ if !is_disabling => None,
            "keep" => Some(ReservationsOfDisabled::Keep),
            "cancel" => Some(ReservationsOfDisabled::Cancel),
            _ => {
                mutation.reject(Problem::field("reservations", "Choose what happens to this user's reservations."));
                return;
            }
        };
        let patch = UserPatch {
            email: Some(email.get_untracked().trim().to_owned()),
            password: (!new.is_empty()).then_some(new),
            role: (!is_own && !is_role_managed).then(|| parse_role(&role.get_untracked())),
            disabled: (!is_own).then(|| disabled.get_untracked()),
            reservations: choice,
            ..Default::default()
        };
        mutation.run(accounts::patch_user(name.clone(), patch), move |_| {
            open.set(false);
            on_done.run(());
        });
    });
    view! {
        <Form on_submit=submit>
            <p><strong>{user.username}</strong></p>
            <FormProblem problem=mutation.problem_except(&["email", "password"]) />
            <TextInput label="E-mail" value=email kind="email" error=mutation.field_error("email") />
            {if is_own {
                view! { <p><a href="/settings/account">"Change your password in Account"</a></p> }.into_any()
            } else {
                view! {
                    <TextInput
                        label="New password"
                        value=password
                        kind="password"
                        optional=true
                        autocomplete="new-password"
                        hint=if has_password {
                            "At least 12 characters. Ends every session and revokes the user's API tokens."
                        } else {
                            "The user logs in at an identity provider, without a password. At least 12 characters."
                        }
                        error=mutation.field_error("password")
                    />
                    {match role_provider {
                        Some(provider) => {
                            view! {
                                <div>
                                    <p>{format!("Role: {}", role_label(user.role))}</p>
                                    <p class="muted small">
                                        {format!("Groups at the identity provider {provider} decide on the role. Change them there; they apply at the next log-in.")}
                                    </p>
                                </div>
                            }
                                .into_any()
                        }
                        None => view! { <RadioCards legend="Role" value=role options=role_options() /> }.into_any(),
                    }}
                    <SecondFactors username=factors_of />
                    <Identities username=identities_of />
                    <Checkbox label="Disabled" value=disabled hint="Blocks log-in, ends every session and revokes the user's API tokens." />
                    <Show when=asks_for_reservations>
                        <RadioCards legend="Active reservations" value=reservations options=reservation_options() />
                    </Show>
                }
                    .into_any()
            }}
            <div class="dialog-actions">
                {(!is_own)
                    .then(|| view! { <Button pending=mutation.pending on_click=sign_out>"Sign out everywhere"</Button> })}
                <Button on_click=Callback::new(move |()| open.set(false))>"Cancel"</Button>
                <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Save user"</Button>
            </div>
        </Form>
    }
}
