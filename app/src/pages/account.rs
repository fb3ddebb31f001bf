//! Settings → Account of the user.

use crate::components::*;
use crate::query::Mutation;
use crate::rpc::accounts;
use crate::session::use_session;
use domain::Problem;
use domain::account::UserPatch;
use leptos::prelude::*;

/// `/settings/account`
#[component]
pub fn AccountPage() -> impl IntoView {
    let session = use_session();
    view! {
        <PageHeader title="Account" lead=move || format!("Logged in as {}.", session.username()) />
        <div class="stack narrow">
            <section class="card">
                <h2>"Profile"</h2>
                <ProfileForm />
            </section>
            <section class="card">
                <h2>"Password"</h2>
                <PasswordForm />
            </section>
        </div>
    }
}

#[component]
fn ProfileForm() -> impl IntoView {
    let session = use_session();
    let user = session.info.get_untracked().map(|info| info.user);
    let email = RwSignal::new(user.as_ref().map(|u| u.email.clone()).unwrap_or_default());
    let key = RwSignal::new(user.map(|u| u.ssh_key).unwrap_or_default());
    let mutation = Mutation::new();
    let saved = RwSignal::new(false);
    let submit = Callback::new(move |()| {
        saved.set(false);
        let patch = UserPatch {
            email: Some(email.get_untracked().trim().to_owned()),
            ssh_key: Some(key.get_untracked().trim().to_owned()),
            ..Default::default()
        };
        mutation.run(accounts::patch_user(session.username_untracked(), patch), move |user| {
            saved.set(true);
            session.info.update(|info| {
                if let Some(info) = info {
                    info.user = user;
                }
            });
        });
    });
    view! {
        <Form on_submit=submit>
            <FormProblem problem=mutation.problem_except(&["email", "ssh_key"]) />
            <TextInput label="E-mail" value=email kind="email" autocomplete="email" error=mutation.field_error("email") />
            <TextArea
                label="SSH public key"
                value=key
                optional=true
                mono=true
                hint="Filled in when you reserve."
                placeholder="ssh-ed25519 AAAA… you@host"
                error=mutation.field_error("ssh_key")
            />
            <div class="row">
                <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Save profile"</Button>
                <span role="status">{move || saved.get().then_some("Saved.")}</span>
            </div>
        </Form>
    }
}

#[component]
fn PasswordForm() -> impl IntoView {
    let session = use_session();
    let current = RwSignal::new(String::new());
    let new = RwSignal::new(String::new());
    let repeated = RwSignal::new(String::new());
    let mutation = Mutation::new();
    let submit = Callback::new(move |()| {
        let password = new.get_untracked();
        if password != repeated.get_untracked() {
            let message = "The passwords do not match. Enter the new password again.";
            return mutation.reject(Problem::field("repeated", message));
        }
        let patch = UserPatch {
            current_password: Some(current.get_untracked()),
            password: Some(password),
            ..Default::default()
        };
        // A new password ends every session, also this one.
        mutation.run(accounts::patch_user(session.username_untracked(), patch), move |_| session.end());
    });
    view! {
        <Form on_submit=submit>
            <FormProblem problem=mutation.problem_except(&["current_password", "password", "repeated"]) />
            <TextInput
                label="Current password"
                value=current
                kind="password"
                autocomplete="current-password"
                error=mutation.field_error("current_password")
            />
            <TextInput
                label="New password"
                value=new
                kind="password"
                autocomplete="new-password"
                hint="At least 10 characters. You will be logged out on every device."
                error=mutation.field_error("password")
            />
            <TextInput
                label="Confirm new password"
                value=repeated
                kind="password"
                autocomplete="new-password"
                error=mutation.field_error("repeated")
            />
            <div>
                <Button submit=true pending=mutation.pending>"Change password"</Button>
            </div>
        </Form>
    }
}
