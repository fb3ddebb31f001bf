//! The dialog that logs in again over the page, after the session has ended.

use crate::components::*;
use crate::pages::areas::{self, show_part};
use crate::passkey;
use crate::prerendered_login;
use crate::provider_buttons::provider_buttons;
use crate::query::Mutation;
use crate::rpc;
use crate::second_step::{log_in_with_passkey, proceed};
use crate::session::use_session;
use domain::account::Credentials;
use leptos::prelude::*;

/// Asks for a log-in. The page below keeps its input, and the requests that failed are sent again.
#[component]
pub fn LogInDialog() -> impl IntoView {
    let session = use_session();
    view! {
        <Dialog open=session.asks title="Log in again">
            <div class="stack">
                <p>"Your session has ended. The page and its input are kept."</p>
                {move || match session.second_step.get() {
                    Some(pending) => show_part(areas::secondfactor::Screen::SecondStep(pending)),
                    None => {
                        view! {
                            <Providers />
                            {prerendered_login::accepts_passwords().then(|| view! { <LogInForm /> })}
                        }
                            .into_any()
                    }
                }}
            </div>
        </Dialog>
    }
}

/// The identity providers. Each opens in a new window; the dialog closes after the log-in there.
#[component]
fn Providers() -> impl IntoView {
    let buttons = provider_buttons(false);
    (!buttons.is_empty()).then(|| {
        view! {
            <div class="stack">{buttons}</div>
            <p class="muted small">"Opens in a new window. Come back here afterwards."</p>
        }
    })
}

#[component]
fn LogInForm() -> impl IntoView {
    let session = use_session();
    let username = RwSignal::new(session.username_untracked());
    let password = RwSignal::new(String::new());
    let mutation = Mutation::new();
    let submit = Callback::new(move |()| {
        let credentials =
            Credentials { username: username.get_untracked().trim().to_owned(), password: password.get_untracked() };
        mutation.run_to_end(rpc::session::log_in(credentials), move |result| proceed(session, result));
    });
    let use_passkey =
        Callback::new(move |()| mutation.run_to_end(log_in_with_passkey(), move |info| session.log_in(info)));
    view! {
        <Form on_submit=submit unguarded=true>
            <FormProblem problem=mutation.problem_except(&[]) />
            <TextInput label="Username" value=username autocomplete="username" />
            <TextInput label="Password" value=password kind="password" autocomplete="current-password" />
            <div class="dialog-actions">
                {passkey::is_supported()
                    .then(|| view! { <Button pending=mutation.pending on_click=use_passkey>"Log in with a passkey"</Button> })}
                <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Log in"</Button>
            </div>
        </Form>
    }
}
