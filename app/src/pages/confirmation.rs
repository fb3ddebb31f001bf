//! The confirmation of a sensitive change: a dialog that asks for a credential, after the server has required it.

use crate::components::*;
use crate::pages::areas::{self, show_part};
use crate::passkey;
use crate::prerendered_login;
use crate::proof_form::{ProofForm, Way};
use crate::provider_buttons::provider_buttons;
use crate::query::{Mutation, Query};
use crate::rpc::RpcError;
use crate::rpc::second_factor as rpc;
use crate::session::use_session;
use domain::second_factor::{ConfirmationInput, ConfirmationMethods, PasskeyResponse};
use leptos::prelude::*;

/// The dialog. The page below keeps its input.
#[component]
pub fn ConfirmationDialog() -> impl IntoView {
    let confirmation = use_session().confirmation;
    view! {
        <Dialog open=confirmation.open title="Confirm that it is you">
            <div class="stack">{show_part(areas::secondfactor::Screen::Confirmation)}</div>
        </Dialog>
    }
}

async fn confirm(way: Way, text: String) -> Result<(), RpcError> {
    match way {
        Way::Password => rpc::confirm(ConfirmationInput { password: Some(text), code: None }).await,
        Way::Code | Way::RecoveryCode => rpc::confirm(ConfirmationInput { code: Some(text), password: None }).await,
        Way::Passkey => {
            let request = rpc::start_confirmation().await?;
            let credential = passkey::get(&request.options).await?;
            rpc::confirm_with_passkey(PasskeyResponse { challenge: request.challenge, credential }).await
        }
    }
}

/// The content of the dialog.
#[component]
pub fn ConfirmationForm() -> impl IntoView {
    let confirmation = use_session().confirmation;
    let methods = Query::new(rpc::confirmation_methods);
    let mutation = Mutation::new();
    let submit = Callback::new(move |(way, text)| {
        mutation.run_to_end(confirm(way, text), move |()| confirmation.finish());
    });
    let form = move |methods: ConfirmationMethods| {
        let ways = [
            (methods.passkey && passkey::is_supported(), Way::Passkey),
            (methods.password && prerendered_login::accepts_passwords(), Way::Password),
            (methods.code, Way::Code),
        ];
        let ways: Vec<Way> = ways.into_iter().filter_map(|(is_possible, way)| is_possible.then_some(way)).collect();
        (!ways.is_empty())
            .then(|| view! { <ProofForm ways=ways button="Confirm" mutation=mutation on_submit=submit /> })
    };
    view! {
        <p>"You have not entered a credential for more than 10 minutes. Enter one to continue with the change."</p>
        {methods.view(move |methods| form(methods.get()))}
        <Providers />
    }
}

/// The identity providers, which ask for a credential in a new window. The dialog closes after the log-in there.
#[component]
fn Providers() -> impl IntoView {
    let buttons = provider_buttons(true);
    (!buttons.is_empty()).then(|| {
        view! {
            <p class="muted small">"Or log in again in a new window. The change then continues."</p>
            <div class="row">{buttons}</div>
        }
    })
}
