//! Accounts, for administrators.

use crate::components::*;
use crate::layout::use_session;
use crate::load::{Write, load};
use crate::rpc::accounts;
use crate::values::Cell;
use domain::account::{User, UserInput, UserPatch};
use domain::authorization::Role;
use leptos::prelude::*;

/// `/settings/users`
#[component]
pub fn UsersPage() -> impl IntoView {
    let list = load(accounts::list_users);
    let making = RwSignal::new(false);
    let editing = Cell::new(None::<User>);
    let edit_open = RwSignal::new(false);
    let make = Callback::new(move |()| making.set(true));
    let edit = Callback::new(move |user: User| {
        editing.set(Some(user));
        edit_open.set(true);
    });
    let done = Callback::new(move |()| list.again());
    view! {
        <PageHeader title="Users" lead="People with access.">
            <Button look=Look::Primary on_click=make><IconView icon=Icon::Plus />"New user"</Button>
        </PageHeader>
        {list.show(move |users| {
            view! {
                <TableBox label="Users">
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
                        <tbody>{move || users.get().into_iter().map(|user| view! { <Row user=user edit=edit /> }.into_any()).collect_view()}</tbody>
                    </table>
                </TableBox>
            }
        })}
        <Dialog open=making title="New user">
            <Make open=making done=done />
        </Dialog>
        <Dialog open=edit_open title="Edit user">
            {move || editing.get().map(|user| view! { <Edit user=user open=edit_open done=done /> }.into_any())}
        </Dialog>
    }
}

#[component]
fn Row(user: User, edit: Callback<User>) -> impl IntoView {
    let of = user.clone();
    let ask = Callback::new(move |()| edit.run(of.clone()));
    view! {
        <tr>
            <td data-label="Username">{user.username.clone()}</td>
            <td data-label="E-mail" class="wrap">{user.email}</td>
            <td data-label="Role">
                <span class="row">{role_word(user.role)} {user.disabled.then(|| view! { <span class="chip bad">"Disabled"</span> }.into_any())}</span>
            </td>
            <td data-label="Created"><Ago at=user.created_at /></td>
            <td>
                <Button look=Look::Quiet on_click=ask label=format!("Edit {}", user.username)>"Edit"</Button>
            </td>
        </tr>
    }
}

fn roles() -> Vec<(&'static str, &'static str, &'static str)> {
    vec![
        ("user", "User", "Reserves resources and sees their own reservations."),
        ("administrator", "Administrator", "Manages catalogue, webhooks and users; sees everything."),
    ]
}

/// A role's word.
fn role_word(role: Role) -> &'static str {
    match role {
        Role::User => "User",
        Role::Administrator => "Administrator",
    }
}

fn role_of(text: &str) -> Role {
    Role::parse(text).unwrap_or(Role::User)
}

#[component]
fn Make(open: RwSignal<bool>, done: Callback<()>) -> impl IntoView {
    let username = RwSignal::new(String::new());
    let email = RwSignal::new(String::new());
    let password = RwSignal::new(String::new());
    let role = RwSignal::new("user".to_owned());
    let write = Write::new();
    let submit = Callback::new(move |()| {
        let input = UserInput {
            username: username.get_untracked().trim().to_owned(),
            email: email.get_untracked().trim().to_owned(),
            password: password.get_untracked(),
            role: role_of(&role.get_untracked()),
        };
        write.run(accounts::create_user(input), move |_| {
            open.set(false);
            done.run(());
        });
    });
    view! {
        <Form on_submit=submit>
            <FormProblem problem=write.other_than(&["username", "email", "password"]) />
            <TextInput
                label="Username"
                value=username
                hint="Cannot be changed; used as the account name on resources."
                error=write.message("username")
            />
            <TextInput label="E-mail" value=email kind="email" error=write.message("email") />
            <TextInput
                label="Password"
                value=password
                kind="password"
                autocomplete="new-password"
                hint="At least 10 characters. The user can change it."
                error=write.message("password")
            />
            <RadioCards legend="Role" value=role options=roles() />
            <div class="dialog-actions">
                <Button on_click=Callback::new(move |()| open.set(false))>"Cancel"</Button>
                <Button look=Look::Primary submit=true busy=write.busy>"Create user"</Button>
            </div>
        </Form>
    }
}

#[component]
fn Edit(user: User, open: RwSignal<bool>, done: Callback<()>) -> impl IntoView {
    let session = use_session();
    let own = user.username == session.username();
    let email = RwSignal::new(user.email.clone());
    let password = RwSignal::new(String::new());
    let role = RwSignal::new(user.role.as_str().to_owned());
    let disabled = RwSignal::new(user.disabled);
    let write = Write::new();
    let name = user.username.clone();
    let submit = Callback::new(move |()| {
        let new = password.get_untracked();
        let patch = UserPatch {
            email: Some(email.get_untracked().trim().to_owned()),
            password: (!new.is_empty()).then_some(new),
            role: (!own).then(|| role_of(&role.get_untracked())),
            disabled: (!own).then(|| disabled.get_untracked()),
            ..Default::default()
        };
        write.run(accounts::patch_user(name.clone(), patch), move |_| {
            open.set(false);
            done.run(());
        });
    });
    view! {
        <Form on_submit=submit>
            <p><strong>{user.username}</strong></p>
            <FormProblem problem=write.other_than(&["email", "password"]) />
            <TextInput label="E-mail" value=email kind="email" error=write.message("email") />
            {if own {
                view! { <p><a href="/settings/account">"Change your password in Account"</a></p> }.into_any()
            } else {
                view! {
                    <TextInput
                        label="New password"
                        value=password
                        kind="password"
                        optional=true
                        autocomplete="new-password"
                        hint="Ends every session and deletes the user's API tokens."
                        error=write.message("password")
                    />
                    <RadioCards legend="Role" value=role options=roles() />
                    <Checkbox label="Disabled" value=disabled hint="Blocks log-in and API tokens." />
                }
                    .into_any()
            }}
            <div class="dialog-actions">
                <Button on_click=Callback::new(move |()| open.set(false))>"Cancel"</Button>
                <Button look=Look::Primary submit=true busy=write.busy>"Save user"</Button>
            </div>
        </Form>
    }
}
