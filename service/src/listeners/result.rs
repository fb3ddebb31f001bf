//! Results that listeners report.

use super::{Listeners, parse_lease};
use crate::Result;
use crate::outbox::AttemptResult;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use delivery::{Forwarded, ReceiverReply};
use domain::Problem;
use domain::authorization::Actor;
use domain::delivery::{Diagnosis, DiagnosisCode};
use domain::id::WebhookId;
use domain::webhook::{ForwardedResponse, ListenerRecorded, ListenerResult, MAX_RESULT_BODY};

impl Listeners {
    /// Records the result of a forwarded request, with the effects of one of the dispatcher: diagnosis, provisioning, retries
    /// and the order of events. A result whose lease was lost changes nothing.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator or an owner; 404, also for a webhook of another owner; 409 for a webhook with
    /// another delivery mode; 422 naming every invalid field.
    #[tracing::instrument(skip_all, fields(webhook_id = id), err(level = "debug"))]
    pub async fn record(&self, actor: &Actor, id: WebhookId, result: ListenerResult) -> Result<ListenerRecorded> {
        self.find(actor, id).await?;
        result.check()?;
        let lost = ListenerRecorded { recorded: false, status: None, next_attempt_at: None };
        let lease = parse_lease(&result.lease).ok_or_else(|| Problem::field("lease", "This is not a lease."))?;
        let forwarded = forwarded(result)?;
        let Some(claim) = self.outbox.find_claimed(id, lease).await? else { return Ok(lost) };
        let outcome = self.sender.reported(&claim.request, claim.signed_at(), forwarded);
        let result = AttemptResult::new(claim, outcome, self.context.now());
        let recorded = self.recorder.record(std::slice::from_ref(&result)).await?;
        if recorded.applied == 0 {
            return Ok(lost);
        }
        Ok(ListenerRecorded { recorded: true, status: Some(result.status), next_attempt_at: result.due })
    }
}

fn forwarded(result: ListenerResult) -> Result<Forwarded, Problem> {
    let reply = match (result.response, result.failure) {
        (Some(response), _) => Ok(reply(response)?),
        (None, Some(failure)) => Err(failure),
        // `ListenerResult::check` rejects it.
        (None, None) => {
            Err(Diagnosis { code: DiagnosisCode::Unknown, message: "No result.".into(), hint: String::new() })
        }
    };
    Ok(Forwarded { timings: result.timings, result: reply })
}

fn reply(response: ForwardedResponse) -> Result<ReceiverReply, Problem> {
    let invalid = |message: &str| Problem::field("response.body_base64", message);
    let body = STANDARD.decode(response.body_base64).map_err(|_| invalid("This is not Base64."))?;
    if body.len() > MAX_RESULT_BODY {
        return Err(invalid("Report at most 64 KiB of the body."));
    }
    Ok(ReceiverReply {
        status_code: response.status_code,
        headers: response.headers,
        body: body.into(),
        truncated: response.truncated,
        decode_error: response.decode_error,
    })
}
