//! The second step of a log-in, and log-in with a passkey alone.

use crate::components::*;
use crate::passkey;
use crate::proof_form::{ProofForm, Way};
use crate::query::Mutation;
use crate::rpc::RpcError;
use crate::rpc::session::{self as rpc, LogInResult};
use crate::session::{Session, use_session};
use domain::account::SessionInfo;
use domain::second_factor::{PasskeyResponse, PendingLogIn, SecondFactorInput};
use leptos::prelude::*;

/// Continues after a correct password.
pub fn proceed(session: Session, result: LogInResult) {
    match result {
        LogInResult::Started(info) => session.log_in(info),
        LogInResult::SecondStep(pending) => session.second_step.set(Some(pending)),
    }
}

/// Logs in with a passkey alone.
pub async fn log_in_with_passkey() -> Result<SessionInfo, RpcError> {
    let request = rpc::start_passkey_log_in().await?;
    let credential = passkey::get(&request.options).await?;
    rpc::log_in_with_passkey(PasskeyResponse { challenge: request.challenge, credential }).await
}

async fn finish(way: Way, text: String) -> Result<SessionInfo, RpcError> {
    let input = match way {
        Way::RecoveryCode => SecondFactorInput { recovery_code: Some(text), code: None },
        Way::Code | Way::Password => SecondFactorInput { code: Some(text), recovery_code: None },
        Way::Passkey => {
            let request = rpc::start_second_step().await?;
            let credential = passkey::get(&request.options).await?;
            return rpc::finish_second_step(PasskeyResponse { challenge: request.challenge, credential }).await;
        }
    };
    rpc::finish_log_in(input).await
}

/// Asks for the second factor of a log-in.
#[component]
pub fn SecondStepForm(pending: PendingLogIn) -> impl IntoView {
    let session = use_session();
    let mutation = Mutation::new();
    let ways = [
        (pending.passkey && passkey::is_supported(), Way::Passkey),
        (pending.code, Way::Code),
        (pending.recovery_code, Way::RecoveryCode),
    ];
    let ways: Vec<Way> = ways.into_iter().filter_map(|(is_possible, way)| is_possible.then_some(way)).collect();
    let submit =
        Callback::new(move |(way, text)| mutation.run_to_end(finish(way, text), move |info| session.log_in(info)));
    let cancel = Mutation::new();
    let start_again =
        Callback::new(move |()| cancel.run_to_end(rpc::cancel_log_in(), move |()| session.second_step.set(None)));
    view! {
        <p class="muted">"Your password is correct. Your account also needs a second factor."</p>
        {if ways.is_empty() {
            view! {
                <Notice kind=NoticeKind::Warning>
                    <p>"This browser supports none of your second factors. Use another browser, or ask an administrator."</p>
                </Notice>
            }
                .into_any()
        } else {
            view! { <ProofForm ways=ways button="Log in" mutation=mutation on_submit=submit /> }.into_any()
        }}
        <div>
            <Button variant=ButtonVariant::Quiet pending=cancel.pending on_click=start_again>"Start again"</Button>
        </div>
    }
}
