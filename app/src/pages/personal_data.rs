//! Export of a user's data, and erasure of an account: parts of Settings → Account and of Settings → Users.

use crate::components::*;
use crate::query::Mutation;
use crate::rpc::accounts;
use domain::Problem;
use domain::privacy::ErasureInput;
use leptos::prelude::*;

/// The buttons that export the data about a user and open the dialog for the erasure.
#[component]
pub fn PersonalData(#[prop(into)] username: String, is_own: bool, on_erased: Callback<()>) -> impl IntoView {
    let address = if is_own { "/api/v1/account/export".to_owned() } else { format!("/api/v1/users/{username}/export") };
    let file = format!("berth-{username}.json");
    let open = RwSignal::new(false);
    let erase = Callback::new(move |()| open.set(true));
    let name = StoredValue::new(username);
    view! {
        <div class="row">
            // A download outside the page's router.
            <a class="button" href=address download=file rel="external">"Export data"</a>
            <Button variant=ButtonVariant::Danger on_click=erase>"Erase account…"</Button>
        </div>
        <Dialog open=open title="Erase account">
            <EraseForm username=name.get_value() is_own=is_own open=open on_erased=on_erased />
        </Dialog>
    }
}

#[component]
fn EraseForm(username: String, is_own: bool, open: RwSignal<bool>, on_erased: Callback<()>) -> impl IntoView {
    let typed = RwSignal::new(String::new());
    let ignore_unreleased = RwSignal::new(false);
    let mutation = Mutation::new();
    let text = if is_own {
        "Your sessions, API tokens, second factors, notifications, e-mail address and SSH key are deleted. A pseudonym replaces your name in \
         reservations and logs. You cannot log in again. This cannot be undone."
    } else {
        "Sessions, API tokens, second factors, notifications, e-mail address and SSH key are deleted. A pseudonym replaces the name in \
         reservations and logs. The username cannot be used again. This cannot be undone."
    };
    let label = format!("Enter {username} to confirm");
    let submit = Callback::new(move |()| {
        if typed.get_untracked().trim() != username {
            return mutation.reject(Problem::field("username", format!("Enter {username}.")));
        }
        let input = ErasureInput { current_password: None, ignore_unreleased: ignore_unreleased.get_untracked() };
        mutation.run(accounts::erase_account(username.clone(), input), move |_| {
            open.set(false);
            on_erased.run(());
        });
    });
    view! {
        <Form on_submit=submit unguarded=true>
            <p>{text}</p>
            <FormProblem problem=mutation.problem_except(&["username"]) />
            <TextInput label=label value=typed autocomplete="off" error=mutation.field_error("username") />
            {(!is_own)
                .then(|| {
                    view! {
                        <Checkbox
                            label="Ignore resources that are not released"
                            value=ignore_unreleased
                            hint="Receivers cannot find the account by its name later."
                        />
                    }
                })}
            <div class="dialog-actions">
                <Button on_click=Callback::new(move |()| open.set(false))>"Cancel"</Button>
                <Button variant=ButtonVariant::Danger submit=true pending=mutation.pending>"Erase account"</Button>
            </div>
        </Form>
    }
}
