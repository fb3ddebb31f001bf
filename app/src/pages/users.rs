//! Settings → Users: all accounts, for administrators.

use crate::components::*;
use crate::erased::{ErasedMemo, ErasedSignal};
use crate::intl;
use crate::list::{Action, BulkChange, BulkText, Cell, Cells, ChangeRow, Column, Filter, List, ListSpec};
use crate::pages::areas;
use crate::pages::personal_data::PersonalData;
use crate::query::{Mutation, Query};
use crate::rpc::{accounts, second_factor};
use crate::session::{ForAdministrators, Session, use_session};
use crate::toast::use_toasts;
use domain::Problem;
use domain::account::{ReservationsOfDisabled, User, UserInput, UserPatch};
use domain::authorization::Role;
use domain::natural_order;
use domain::second_factor::APP_ID;
use domain::single_sign_on::{Identity, IdentityInput, ProviderView};
use leptos::prelude::*;
use std::rc::Rc;
use std::sync::Arc;

type UsersQuery = Query<Arc<Vec<User>>>;

/// `/settings/users`
#[component]
pub fn UsersPage() -> impl IntoView {
    let session = use_session();
    let list = Query::new(|| async { Ok(Arc::new(accounts::list_users().await?)) });
    let create_open = RwSignal::new(false);
    let editing = ErasedSignal::new(None::<User>);
    let edit_open = RwSignal::new(false);
    let disabling = ErasedSignal::new(Vec::<User>::new());
    let disable_open = RwSignal::new(false);
    let change = BulkChange::new();
    let create = Callback::new(move |()| create_open.set(true));
    let edit = Callback::new(move |user: User| {
        editing.set(Some(user));
        edit_open.set(true);
    });
    let disable = Callback::new(move |users: Vec<User>| {
        disabling.set(users);
        disable_open.set(true);
    });
    let on_done = Callback::new(move |()| list.refetch());
    let cells: Cells<User> = Arc::new(move |user| (move || row_cells(user.get(), edit)).into_any());
    view! {
        <PageHeader title="Users" lead="People with access.">
            <ForAdministrators>
                <Button variant=ButtonVariant::Primary on_click=create><IconView icon=Icon::Plus />"New user"</Button>
            </ForAdministrators>
        </PageHeader>
        {list.view(move |users| {
            view! { <List rows=users spec=list_spec(session, list, change, disable) cells=cells.clone() /> }
        })}
        <Dialog open=create_open title="New user">
            {areas::show_part(areas::userforms::Screen::Create(create_open, on_done))}
        </Dialog>
        <Dialog open=disable_open title=move || disabling.with(|users| format!("Disable {}?", user_count(users.len())))>
            {move || view! { <DisableForm users=disabling.get() list=list change=change open=disable_open /> }}
        </Dialog>
        <Dialog open=edit_open title="Edit user">
            {move || {
                editing
                    .get()
                    .map(|user| {
                        areas::show_part(areas::userforms::Screen::Edit(StoredValue::new(user), edit_open, on_done))
                    })
            }}
        </Dialog>
    }
}

/// How the list finds, compares and changes users.
fn list_spec(session: Session, list: UsersQuery, change: BulkChange, disable: Callback<Vec<User>>) -> ListSpec<User> {
    let option = |value: &str, label: &str| (value.to_owned(), label.to_owned());
    let roles = role_options().into_iter().map(|(value, label, _)| option(value, label)).collect::<Vec<_>>();
    let states = vec![option("active", "Active"), option("disabled", "Disabled")];
    let enable = Callback::new(move |users| set_disabled(list, change, users, None));
    // Administrators cannot disable themselves.
    let own = session.username_untracked();
    let disable = Callback::new(move |mut users: Vec<User>| {
        users.retain(|user| user.username != own);
        if !users.is_empty() {
            disable.run(users);
        }
    });
    let actions = vec![
        Action { verb: ["Disable", ""], applies: |user: &User| !user.disabled, run: disable },
        Action { verb: ["Enable", ""], applies: |user: &User| user.disabled, run: enable },
    ];
    ListSpec {
        label: "Users",
        nouns: USER_NOUNS,
        parameters: ["q", "sort"],
        columns: vec![
            Column::sorted("username", "Username", |one: &User, other| {
                natural_order::compare(&one.username, &other.username)
            }),
            Column::sorted("email", "E-mail", |one: &User, other| natural_order::compare(&one.email, &other.email)),
            Column::sorted("role", "Role", |one: &User, other| {
                role_label(one.role).cmp(role_label(other.role)).then(one.disabled.cmp(&other.disabled))
            }),
            Column::sorted("created", "Created", |one: &User, other| one.created_at.cmp(&other.created_at)),
            Column::plain("actions", "Actions").with_cell(Cell::Controls),
        ],
        filters: vec![
            Filter {
                parameter: "role",
                label: "Role",
                options: Signal::stored(roles),
                matches: |user, value| user.role.as_str() == value,
            },
            Filter {
                parameter: "state",
                label: "Account",
                options: Signal::stored(states),
                matches: |user, value| user.disabled == (value == "disabled"),
            },
        ],
        actions: if session.is_admin_untracked() { actions } else { Vec::new() },
        change,
        id: |user| user.username.clone(),
        name: |user| user.username.clone(),
        text: |user| format!("{} {}", user.username, user.email),
    }
}

/// The name of one user and of several.
const USER_NOUNS: [&str; 2] = ["user", "users"];

fn user_count(number: usize) -> String {
    if number == 1 { "1 user".to_owned() } else { format!("{} users", intl::number(number as u64)) }
}

/// Disables users, with the answer what happens to their reservations, or enables them.
fn set_disabled(list: UsersQuery, change: BulkChange, users: Vec<User>, disable: Option<ReservationsOfDisabled>) {
    let set = |reservations: Option<ReservationsOfDisabled>| -> ChangeRow<User> {
        Rc::new(move |user| {
            let patch = UserPatch { disabled: Some(reservations.is_some()), reservations, ..Default::default() };
            Box::pin(async move { accounts::patch_user(user.username, patch).await.map(|_| ()) })
        })
    };
    // Enabling does not bring back reservations that have ended.
    let undone = match disable {
        None => Some(["Disabled", ""]),
        Some(ReservationsOfDisabled::Keep) => Some(["Enabled", ""]),
        Some(ReservationsOfDisabled::Cancel) => None,
    };
    let text =
        BulkText { done: [if disable.is_some() { "Disabled" } else { "Enabled" }, ""], undone, nouns: USER_NOUNS };
    let reverse = if disable.is_some() { None } else { Some(ReservationsOfDisabled::Keep) };
    let name = |user: &User| user.username.clone();
    change.run(text, users, name, set(disable), set(reverse), Rc::new(move || list.refetch()));
}

/// The question what happens to the reservations of users before they are disabled.
#[component]
fn DisableForm(users: Vec<User>, list: UsersQuery, change: BulkChange, open: RwSignal<bool>) -> impl IntoView {
    let reservations = RwSignal::new(String::new());
    let mutation = Mutation::new();
    let submit = Callback::new(move |()| {
        let answer = match reservations.get_untracked().as_str() {
            "keep" => ReservationsOfDisabled::Keep,
            "cancel" => ReservationsOfDisabled::Cancel,
            _ => {
                mutation.reject(Problem::field("reservations", "Choose what happens to the active reservations."));
                return;
            }
        };
        open.set(false);
        set_disabled(list, change, users.clone(), Some(answer));
    });
    view! {
        <Form on_submit=submit>
            <p>"Blocks log-in, ends every session and revokes the API tokens."</p>
            <FormProblem problem=mutation.problem />
            <RadioCards legend="Active reservations" value=reservations options=reservation_options() />
            <div class="dialog-actions">
                <Button on_click=Callback::new(move |()| open.set(false))>"Cancel"</Button>
                <Button variant=ButtonVariant::Danger submit=true>"Disable"</Button>
            </div>
        </Form>
    }
}

/// The cells of a user.
fn row_cells(user: User, on_edit: Callback<User>) -> impl IntoView {
    let edited = user.clone();
    let edit = Callback::new(move |()| on_edit.run(edited.clone()));
    let edit_label = format!("Edit {}", user.username);
    view! {
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
        <td class=Cell::Controls.class()>
            <div class="row">
                <ForAdministrators>
                    <Button variant=ButtonVariant::Quiet on_click=edit label=edit_label.clone()>"Edit"</Button>
                </ForAdministrators>
                <ChangesLink target="user" id=user.username.clone() name=user.username.clone() />
            </div>
        </td>
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

/// The form for a new user.
#[component]
pub fn CreateForm(open: RwSignal<bool>, on_done: Callback<()>) -> impl IntoView {
    let username = RwSignal::new(String::new());
    let email = RwSignal::new(String::new());
    let password = RwSignal::new(String::new());
    let role = RwSignal::new("user".to_owned());
    let mutation = Mutation::new();
    let toasts = use_toasts();
    let submit = Callback::new(move |()| {
        let input = UserInput {
            username: username.get_untracked().trim().to_owned(),
            email: email.get_untracked().trim().to_owned(),
            password: password.get_untracked(),
            role: parse_role(&role.get_untracked()),
        };
        mutation.run(accounts::create_user(input), move |user| {
            open.set(false);
            toasts.show(format!("Created {}.", user.username));
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

/// The content of the dialog that changes a user.
#[component]
pub fn EditDialog(user: User, open: RwSignal<bool>, on_done: Callback<()>) -> impl IntoView {
    let username = user.username.clone();
    let on_erased = Callback::new(move |()| {
        open.set(false);
        on_done.run(());
    });
    view! {
        <EditForm user=user open=open on_done=on_done />
        // Users erase their own account in Account.
        {(username != use_session().username_untracked())
            .then(|| view! { <PersonalData username=username is_own=false on_erased=on_erased /> })}
    }
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
    let toasts = use_toasts();
    let name = user.username.clone();
    let owner = user.username.clone();
    let sign_out = Callback::new(move |()| {
        let username = owner.clone();
        mutation.run(accounts::end_all_sessions(owner.clone()), move |()| {
            open.set(false);
            toasts.show(format!("Ended every session of {username}."));
        });
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
        mutation.run(accounts::patch_user(name.clone(), patch), move |user| {
            open.set(false);
            toasts.show(format!("Saved {}.", user.username));
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
