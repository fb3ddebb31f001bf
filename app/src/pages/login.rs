//! Log-in and first setup.

use crate::components::*;
use crate::layout::use_session;
use crate::load::Write;
use crate::prerendered_login;
use crate::rpc::session;
use crate::values::{effect, on_change};
use domain::account::{SetupInput, destination};
use leptos::prelude::*;
use leptos_router::NavigateOptions;
use leptos_router::hooks::{use_navigate, use_query_map};

fn replace() -> NavigateOptions {
    NavigateOptions { replace: true, ..Default::default() }
}

/// `/login?to=…`
#[component]
pub fn LoginPage() -> impl IntoView {
    let who = use_session();
    let query = use_query_map();
    let navigate = use_navigate();
    effect(move || {
        if who.needs_setup.get() {
            navigate("/setup", replace());
        } else if who.info.with(Option::is_some) {
            navigate(destination(query.read_untracked().get("to").as_deref()), replace());
        }
    });
    let write = Write::new();
    let submitted = window_event_listener(leptos::ev::submit, move |event| {
        if prerendered_login::is_source_of(&event) {
            event.prevent_default();
            write.run(session::log_in(prerendered_login::credentials()), move |info| who.begin(info));
        }
    });
    on_change(
        move || (write.busy.get(), write.problem.get()),
        |(busy, problem)| {
            prerendered_login::set_busy(busy);
            prerendered_login::show_problem(problem.as_ref().map(|problem| problem.detail.as_str()));
        },
    );
    prerendered_login::open();
    on_cleanup(move || {
        submitted.remove();
        prerendered_login::close();
    });
    view! { <leptos_meta::Title text="Log in · Berth" /> }
}

/// `/setup?code=…`
#[component]
pub fn SetupPage() -> impl IntoView {
    prerendered_login::close();
    let who = use_session();
    let query = use_query_map();
    let navigate = use_navigate();
    effect(move || {
        if !who.needs_setup.get() {
            let target = if who.info.with(Option::is_some) { "/settings/webhooks" } else { "/login" };
            navigate(target, replace());
        }
    });
    let code = query.read_untracked().get("code");
    let may = who.local.get_untracked() || code.is_some();
    let username = RwSignal::new(String::new());
    let email = RwSignal::new(String::new());
    let password = RwSignal::new(String::new());
    let write = Write::new();
    let submit = Callback::new(move |()| {
        let input = SetupInput {
            code: code.clone(),
            username: username.get_untracked().trim().to_owned(),
            email: email.get_untracked().trim().to_owned(),
            password: password.get_untracked(),
        };
        write.run(session::set_up(input), move |info| who.begin(info));
    });
    view! {
        <leptos_meta::Title text="Set up Berth · Berth" />
        <main class="entrance">
            <div>
                <div class="brand"><img src="/favicon.svg" alt="" />"Berth"</div>
                <div class="card stack">
                    <div>
                        <h1>"Set up Berth"</h1>
                        <p class="muted">"Create the first administrator."</p>
                    </div>
                    {if may {
                        view! {
                            <Form on_submit=submit>
                                <FormProblem problem=write.other_than(&["username", "email", "password"]) />
                                <TextInput
                                    label="Username"
                                    value=username
                                    autocomplete="username"
                                    hint="Lower-case letters, digits, dots, hyphens or underscores."
                                    error=write.message("username")
                                />
                                <TextInput label="E-mail" value=email kind="email" autocomplete="email" error=write.message("email") />
                                <TextInput
                                    label="Password"
                                    value=password
                                    kind="password"
                                    autocomplete="new-password"
                                    hint="At least 10 characters."
                                    error=write.message("password")
                                />
                                <Button look=Look::Primary submit=true busy=write.busy>"Create administrator"</Button>
                            </Form>
                        }
                            .into_any()
                    } else {
                        view! {
                            <Notice kind="warning">
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
