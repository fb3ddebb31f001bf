//! One's own account.

use crate::components::*;
use crate::layout::use_session;
use crate::load::Write;
use crate::rpc::accounts;
use domain::Problem;
use domain::account::UserPatch;
use leptos::prelude::*;

/// `/settings/account`
#[component]
pub fn AccountPage() -> impl IntoView {
    let session = use_session();
    let user = session.info.get_untracked().map(|info| info.user);
    let email = RwSignal::new(user.as_ref().map(|u| u.email.clone()).unwrap_or_default());
    let key = RwSignal::new(user.map(|u| u.ssh_key).unwrap_or_default());
    let write = Write::new();
    let saved = RwSignal::new(false);
    let save = Callback::new(move |()| {
        saved.set(false);
        let patch = UserPatch {
            email: Some(email.get_untracked().trim().to_owned()),
            ssh_key: Some(key.get_untracked().trim().to_owned()),
            ..Default::default()
        };
        write.run(accounts::patch_user(session.username(), patch), move |user| {
            saved.set(true);
            session.info.update(|info| {
                if let Some(info) = info {
                    info.user = user;
                }
            });
        });
    });
    let current = RwSignal::new(String::new());
    let password = RwSignal::new(String::new());
    let again = RwSignal::new(String::new());
    let change = Write::new();
    let set = Callback::new(move |()| {
        let new = password.get_untracked();
        if new != again.get_untracked() {
            return change.refuse(Problem::field("again", "The passwords do not match. Enter the new password again."));
        }
        let patch =
            UserPatch { current_password: Some(current.get_untracked()), password: Some(new), ..Default::default() };
        // Every session ends with the old password, this one too.
        change.run(accounts::patch_user(session.username(), patch), move |_| session.end());
    });
    view! {
        <PageHeader title="Account" lead=move || format!("Logged in as {}.", session.username()) />
        <div class="stack narrow">
            <section class="card">
                <h2>"Profile"</h2>
                <Form on_submit=save>
                    <FormProblem problem=write.other_than(&["email", "ssh_key"]) />
                    <TextInput label="E-mail" value=email kind="email" autocomplete="email" error=write.message("email") />
                    <TextArea
                        label="SSH public key"
                        value=key
                        optional=true
                        mono=true
                        hint="Filled in when you reserve."
                        placeholder="ssh-ed25519 AAAA… you@host"
                        error=write.message("ssh_key")
                    />
                    <div class="row">
                        <Button look=Look::Primary submit=true busy=write.busy>"Save profile"</Button>
                        <span role="status">{move || saved.get().then_some("Saved.")}</span>
                    </div>
                </Form>
            </section>
            <section class="card">
                <h2>"Password"</h2>
                <Form on_submit=set>
                    <FormProblem problem=change.other_than(&["current_password", "password", "again"]) />
                    <TextInput
                        label="Current password"
                        value=current
                        kind="password"
                        autocomplete="current-password"
                        error=change.message("current_password")
                    />
                    <TextInput
                        label="New password"
                        value=password
                        kind="password"
                        autocomplete="new-password"
                        hint="At least 10 characters. You will be logged out on every device."
                        error=change.message("password")
                    />
                    <TextInput
                        label="Confirm new password"
                        value=again
                        kind="password"
                        autocomplete="new-password"
                        error=change.message("again")
                    />
                    <div>
                        <Button submit=true busy=change.busy>"Change password"</Button>
                    </div>
                </Form>
            </section>
        </div>
    }
}
