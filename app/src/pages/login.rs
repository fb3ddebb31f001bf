//! Log-in, and the set-up of the first administrator.

use crate::components::*;
use crate::pages::areas::{self, show_part};
use crate::prerendered_login;
use crate::query::Mutation;
use crate::rpc::session;
use crate::second_step::{log_in_with_passkey, proceed};
use crate::session::use_session;
use domain::account::{SetupInput, destination};
use leptos::prelude::*;
use leptos_router::NavigateOptions;
use leptos_router::hooks::{use_navigate, use_query_map};

/// Replaces the log-in page in the history, so that *Back* skips it.
fn replace() -> NavigateOptions {
    NavigateOptions { replace: true, ..Default::default() }
}

/// `/login?to=…`
#[component]
pub fn LoginPage() -> impl IntoView {
    let current = use_session();
    let query = use_query_map();
    let navigate = use_navigate();
    Effect::new(move |_| {
        if current.needs_setup.get() {
            navigate("/setup", replace());
        } else if current.is_logged_in() {
            navigate(destination(query.read_untracked().get("to").as_deref()), replace());
        }
    });
    let mutation = Mutation::new();
    let submitted = window_event_listener(leptos::ev::submit, move |event| {
        if prerendered_login::is_source_of(&event) {
            event.prevent_default();
            let credentials = prerendered_login::credentials();
            mutation.run_to_end(session::log_in(credentials), move |result| proceed(current, result));
        }
    });
    let clicked = window_event_listener(leptos::ev::click, move |event| {
        if prerendered_login::is_passkey_button(&event) {
            mutation.run_to_end(log_in_with_passkey(), move |info| current.log_in(info));
        }
    });
    // The form has no field for the errors of a passkey.
    let problem = mutation.problem_except(&[]);
    Effect::watch(
        move || (mutation.pending.get(), problem.get()),
        |(pending, problem), _, _| {
            prerendered_login::set_pending(*pending);
            prerendered_login::show_problem(problem.as_ref().map(|problem| problem.detail.as_str()));
        },
        false,
    );
    Effect::new(move |_| {
        if current.second_step.with(Option::is_some) { prerendered_login::close() } else { prerendered_login::open() }
    });
    on_cleanup(move || {
        submitted.remove();
        clicked.remove();
        prerendered_login::close();
    });
    let second_step = move || {
        let pending = current.second_step.get()?;
        Some(view! {
            <main class="centered-page">
                <div>
                    <div class="brand"><img src="/favicon.svg" alt="" />"Berth"</div>
                    <div class="card stack">
                        <h1>"Log in"</h1>
                        {show_part(areas::secondfactor::Screen::SecondStep(pending))}
                    </div>
                </div>
            </main>
        })
    };
    view! {
        <leptos_meta::Title text="Log in · Berth" />
        {second_step}
    }
}

/// `/setup?code=…`
#[component]
pub fn SetupPage() -> impl IntoView {
    prerendered_login::close();
    let current = use_session();
    let query = use_query_map();
    let navigate = use_navigate();
    Effect::new(move |_| {
        if !current.needs_setup.get() {
            let target = if current.is_logged_in() { "/settings/webhooks" } else { "/login" };
            navigate(target, replace());
        }
    });
    let code = query.read_untracked().get("code");
    let can_set_up = current.local.get_untracked() || code.is_some();
    let username = RwSignal::new(String::new());
    let email = RwSignal::new(String::new());
    let password = RwSignal::new(String::new());
    let mutation = Mutation::new();
    let submit = Callback::new(move |()| {
        let input = SetupInput {
            code: code.clone(),
            username: username.get_untracked().trim().to_owned(),
            email: email.get_untracked().trim().to_owned(),
            password: password.get_untracked(),
        };
        mutation.run_to_end(session::set_up(input), move |info| current.log_in(info));
    });
    view! {
        <leptos_meta::Title text="Set up Berth · Berth" />
        <main class="centered-page">
            <div>
                <div class="brand"><img src="/favicon.svg" alt="" />"Berth"</div>
                <div class="card stack">
                    <div>
                        <h1>"Set up Berth"</h1>
                        <p class="muted">"Create the first administrator."</p>
                    </div>
                    {if can_set_up {
                        view! {
                            <Form on_submit=submit unguarded=true>
                                <FormProblem problem=mutation.problem_except(&["username", "email", "password"]) />
                                <TextInput
                                    label="Username"
                                    value=username
                                    autocomplete="username"
                                    hint="Lower-case letters, digits, dots, hyphens or underscores."
                                    error=mutation.field_error("username")
                                />
                                <TextInput label="E-mail" value=email kind="email" autocomplete="email" error=mutation.field_error("email") />
                                <TextInput
                                    label="Password"
                                    value=password
                                    kind="password"
                                    autocomplete="new-password"
                                    hint="At least 12 characters, not a common password."
                                    error=mutation.field_error("password")
                                />
                                <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Create administrator"</Button>
                            </Form>
                        }
                            .into_any()
                    } else {
                        view! {
                            <Notice kind=NoticeKind::Warning>
                                <p>
                                    "Berth has no administrator yet. Open the setup link from the server log, or open this page on the server itself."
                                </p>
                            </Notice>
                        }
                            .into_any()
                    }}
                </div>
            </div>
        </main>
    }
}
