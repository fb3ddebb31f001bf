//! Settings → Users: all accounts, for administrators.

use crate::components::*;
use crate::erased::ErasedSignal;
use crate::query::{Mutation, Query};
use crate::rpc::accounts;
use crate::session::{ForAdministrators, use_session};
use domain::Problem;
use domain::account::{ReservationsOfDisabled, User, UserInput, UserPatch};
use domain::authorization::Role;
use leptos::prelude::*;

/// `/settings/users`
#[component]
pub fn UsersPage() -> impl IntoView {
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
            {move || editing.get().map(|user| view! { <EditForm user=user open=edit_open on_done=on_done /> })}
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
                <span class="row">{role_label(user.role)} {user.disabled.then(|| view! { <span class="badge bad">"Disabled"</span> })}</span>
            </td>
            <td data-label="Created"><RelativeTime at=user.created_at /></td>
            <td>
                <ForAdministrators>
                    <Button variant=ButtonVariant::Quiet on_click=edit label=edit_label.clone()>"Edit"</Button>
                </ForAdministrators>
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

#[component]
fn EditForm(user: User, open: RwSignal<bool>, on_done: Callback<()>) -> impl IntoView {
    let session = use_session();
    // Administrators can neither disable nor demote themselves.
    let is_own = user.username == session.username_untracked();
    let email = RwSignal::new(user.email.clone());
    let password = RwSignal::new(String::new());
    let role = RwSignal::new(user.role.as_str().to_owned());
    let disabled = RwSignal::new(user.disabled);
    // The question what happens to the reservations appears when the account is being disabled. It has no default.
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
            role: (!is_own).then(|| parse_role(&role.get_untracked())),
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
                        hint="At least 12 characters. Ends every session and revokes the user's API tokens."
                        error=mutation.field_error("password")
                    />
                    <RadioCards legend="Role" value=role options=role_options() />
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
