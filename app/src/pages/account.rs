//! Settings → Account of the user.

use crate::components::*;
use crate::query::Mutation;
use crate::rpc::accounts;
use crate::session::use_session;
use crate::{intl, preferences, time};
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
                <h2>"Dates and times"</h2>
                <FormatForm />
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

/// The formats of dates and times. This browser remembers them; each change takes effect at once.
#[component]
fn FormatForm() -> impl IntoView {
    let changed = Trigger::new();
    let select = |label: &'static str, key: &'static str, options: Vec<(String, String)>| {
        let value = RwSignal::new(preferences::get(key));
        Effect::watch(
            move || value.get(),
            move |value, _, _| {
                intl::set_preference(key, value);
                changed.notify();
            },
            false,
        );
        view! { <Select label=label value=value options=options /> }
    };
    let mut locales = select_options([("", "Browser's language")]);
    locales.extend(select_options(intl::LOCALES));
    let clocks = select_options([("", "As in the format"), ("h23", "24-hour"), ("h12", "12-hour")]);
    let days = select_options([("", "As in the format"), ("1", "Monday"), ("6", "Saturday"), ("7", "Sunday")]);
    let ticker = use_ticker();
    let example = move || {
        changed.track();
        let now = ticker.now();
        let week = time::date(now).week(intl::first_weekday()).first_day();
        format!("Example: {}. Weeks start on {}.", intl::timestamp(now), intl::weekday(week))
    };
    view! {
        <div class="stack">
            <div class="grid-2">
                {select("Format", preferences::LOCALE, locales)}
                {select("Clock", preferences::CLOCK, clocks)}
                {select("First day of the week", preferences::WEEK_START, days)}
            </div>
            <p class="muted small">{example}" Times are in "{intl::time_zone()}". This browser saves the choice."</p>
        </div>
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
    // The user corrects a mismatch in either field.
    Effect::watch(move || new.get(), move |_, _, _| mutation.clear_errors(&["repeated"]), false);
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
