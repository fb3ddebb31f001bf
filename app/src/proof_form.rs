//! The form in which users prove who they are: the second step of a log-in, and the confirmation of a change.

use crate::components::*;
use crate::focus;
use crate::query::Mutation;
use leptos::html;
use leptos::prelude::*;

/// A way to prove who one is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A passkey.
    Passkey,
    /// The code of an authenticator app.
    Code,
    /// A recovery code.
    RecoveryCode,
    /// The current password.
    Password,
}

impl Way {
    /// The button that chooses it.
    fn choice(self) -> &'static str {
        match self {
            Self::Passkey => "Use a passkey",
            Self::Code => "Use a code",
            Self::RecoveryCode => "Use a recovery code",
            Self::Password => "Use the password",
        }
    }
}

/// Asks for one of `ways`, of which there is at least one, and lets the user choose another. `on_submit` gets the way and
/// the entered text, which is empty for a passkey.
#[component]
pub fn ProofForm(
    ways: Vec<Way>,
    /// The text of the button that submits.
    button: &'static str,
    mutation: Mutation,
    on_submit: Callback<(Way, String)>,
) -> impl IntoView {
    let way = RwSignal::new(ways.first().copied().unwrap_or(Way::Password));
    let text = RwSignal::new(String::new());
    let submit = Callback::new(move |()| on_submit.run((way.get_untracked(), text.get_untracked())));
    let node = NodeRef::<html::Div>::new();
    // The form appears after its dialog or page, which has moved the focus to its title.
    Effect::new(move |_| {
        way.track();
        let Some(form) = node.get() else { return };
        request_animation_frame(move || {
            if let Ok(Some(field)) = form.query_selector("input, button[type=submit]") {
                focus::move_to(&field);
            }
        });
    });
    let input = move || {
        match way.get() {
        Way::Passkey => view! { <p>"Your device asks for your PIN, fingerprint or face."</p> }.into_any(),
        Way::Code => view! {
            <TextInput
                label="Code"
                value=text
                autocomplete="one-time-code"
                numeric=true
                hint="Six digits from your authenticator app."
                error=mutation.field_error("code")
            />
        }
        .into_any(),
        Way::RecoveryCode => view! {
            <TextInput label="Recovery code" value=text mono=true hint="Each works once." error=mutation.field_error("recovery_code") />
        }
        .into_any(),
        Way::Password => view! {
            <TextInput
                label="Current password"
                value=text
                kind="password"
                autocomplete="current-password"
                error=mutation.field_error("password")
            />
        }
        .into_any(),
    }
    };
    let choices = move || {
        let others = ways.iter().copied().filter(|other| *other != way.get());
        let choice = |other: Way| {
            let choose = Callback::new(move |()| {
                text.set(String::new());
                mutation.problem.set(None);
                way.set(other);
            });
            view! { <Button variant=ButtonVariant::Quiet on_click=choose>{other.choice()}</Button> }
        };
        others.map(choice).collect_view()
    };
    view! {
        <div node_ref=node>
            <Form on_submit=submit unguarded=true>
                <FormProblem problem=mutation.problem_except(&["code", "recovery_code", "password"]) />
                {input}
                <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>
                    {move || if way.get() == Way::Passkey { Way::Passkey.choice() } else { button }}
                </Button>
                <div class="row">{choices}</div>
            </Form>
        </div>
    }
}
