//! The signature checker: finds the part of a received request with which its signature does not fit.
//!
//! It runs in the browser, so that neither the secret nor the request leave it.

use crate::components::*;
use crate::erased::ErasedSignal;
use crate::time;
use domain::header::Header;
use domain::signature_check::{CheckedHeader, SignatureCheckInput, SignatureReport, check_signature};
use leptos::prelude::*;

/// The headers of the text: a name and a value in each line. Lines without a colon, e.g. `POST / HTTP/1.1`, are ignored.
fn parse_headers(text: &str) -> Vec<Header> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| Header { name: name.trim().to_owned(), value: value.trim().to_owned() }).collect()
}

/// `/settings/webhooks/signature-check`
#[component]
pub fn SignatureCheckPage() -> impl IntoView {
    let [body, headers, secret, previous] = [(); 4].map(|()| RwSignal::new(String::new()));
    let report = ErasedSignal::new(None::<SignatureReport>);
    let secret_error = RwSignal::new(None::<String>);
    let headers_error = RwSignal::new(None::<String>);
    let check = Callback::new(move |()| {
        let previous = previous.get_untracked();
        let previous_secrets = previous.lines().map(str::to_owned).filter(|line| !line.is_empty());
        let input = SignatureCheckInput {
            body: body.get_untracked(),
            headers: parse_headers(&headers.get_untracked()),
            secret: secret.get_untracked(),
            previous_secrets: previous_secrets.collect(),
        };
        let problem = input.check().err();
        let message = |field: &str| problem.as_ref().and_then(|problem| problem.message_for(field)).map(str::to_owned);
        let no_headers = "Paste one header in each line, for example X-Webhook-Signature: sha256=….";
        secret_error.set(message("secret"));
        headers_error.set(message("headers").or_else(|| input.headers.is_empty().then(|| no_headers.to_owned())));
        if problem.is_some() || input.headers.is_empty() {
            report.set(None);
            return focus_first_invalid();
        }
        let SignatureCheckInput { body, headers, secret, previous_secrets } = &input;
        report.set(Some(check_signature(body.as_bytes(), headers, secret, previous_secrets, time::now())));
    });
    let message =
        |error: RwSignal<Option<String>>| FieldMessage::new(error.into(), Callback::new(move |()| error.set(None)));
    view! {
        <PageHeader
            title="Signature checker"
            lead="Paste a request as your service received it. The check runs in your browser: nothing is sent or stored."
        />
        <div class="columns">
            <section class="card">
                <Form on_submit=check unguarded=true>
                    <TextArea label="Request body" value=body mono=true rows=6 hint="The exact text, before it is parsed." />
                    <TextArea
                        label="Request headers"
                        value=headers
                        mono=true
                        rows=5
                        placeholder="X-Webhook-Signature: sha256=…"
                        error=message(headers_error)
                    />
                    <TextInput
                        label="Signing secret"
                        value=secret
                        kind="password"
                        autocomplete="off"
                        mono=true
                        hint="As your service has it."
                        error=message(secret_error)
                    />
                    <TextArea label="Previous secrets" value=previous mono=true optional=true rows=2 hint="One in each line, after a rotation." />
                    <div><Button variant=ButtonVariant::Primary submit=true>"Check signature"</Button></div>
                </Form>
            </section>
            <section class="card stack tight" aria-label="Result">
                <h2>"Result"</h2>
                <div aria-live="polite">
                    {move || match report.get() {
                        Some(report) => view! { <Report report=report /> }.into_any(),
                        None => {
                            view! { <p class="muted">"The result names the part that is wrong: encoding, body, prefix, secret or clock."</p> }
                                .into_any()
                        }
                    }}
                </div>
            </section>
        </div>
    }
}

#[component]
fn Report(report: SignatureReport) -> impl IntoView {
    let row = |header: CheckedHeader| {
        let (class, icon) =
            if header.valid { ("notice success", Icon::Check) } else { ("notice error", Icon::Warning) };
        view! {
            <li class=class>
                <IconView icon=icon />
                <div>
                    <code>{header.header}</code>
                    <strong>{header.message}</strong>
                    {(!header.remedy.is_empty()).then(|| view! { <p>{header.remedy}</p> })}
                </div>
            </li>
        }
    };
    let verdict = if report.valid {
        "A receiver should accept this request."
    } else {
        "A receiver that verifies signatures rejects this request."
    };
    view! {
        <div class="stack tight">
            <p><strong>{verdict}</strong></p>
            <ul class="stack tight">{report.headers.into_iter().map(row).collect_view()}</ul>
        </div>
    }
}
