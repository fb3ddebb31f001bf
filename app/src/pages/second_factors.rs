//! Second factors of the user: the part of Settings → Account, and the screen that requires one.

use crate::components::*;
use crate::erased::{ErasedMemo, ErasedSignal};
use crate::passkey;
use crate::query::{Mutation, Query};
use crate::rpc::RpcError;
use crate::rpc::second_factor as rpc;
use crate::session::{Session, use_session};
use domain::second_factor::{
    APP_ID, AppEnrolment, FactorAdded, Passkey, PasskeyResponse, QrCode, RECOVERY_CODES, SecondFactors,
};
use domain::{Problem, validation};
use leptos::prelude::*;
use leptos::task::spawn_local;

/// The state that the parts of the section share.
#[derive(Clone, Copy)]
struct Section {
    session: Session,
    factors: Query<SecondFactors>,
    /// New recovery codes, while their dialog is open.
    codes: ErasedSignal<Option<Vec<String>>>,
    codes_open: RwSignal<bool>,
    passkey_open: RwSignal<bool>,
    app: ErasedSignal<Option<AppEnrolment>>,
    app_open: RwSignal<bool>,
    mutation: Mutation,
}

impl Section {
    fn new() -> Self {
        let session = use_session();
        let username = session.username_untracked();
        Self {
            session,
            factors: Query::new(move || rpc::second_factors(username.clone())),
            codes: ErasedSignal::new(None),
            codes_open: RwSignal::new(false),
            passkey_open: RwSignal::new(false),
            app: ErasedSignal::new(None),
            app_open: RwSignal::new(false),
            mutation: Mutation::new(),
        }
    }

    /// Shows the second factors after one was added, and the new recovery codes.
    fn added(self, added: FactorAdded) {
        self.factors.set(added.factors);
        self.passkey_open.set(false);
        self.app_open.set(false);
        match added.recovery_codes {
            Some(codes) => self.show_codes(codes),
            None => self.finish(),
        }
    }

    /// Shows recovery codes, once the dialog that created them has closed.
    fn show_codes(self, codes: Vec<String>) {
        self.codes.set(Some(codes));
        request_animation_frame(move || self.codes_open.set(true));
    }

    /// Continues with the page that the user wanted to open, if a second factor was required.
    fn finish(self) {
        if self.session.needs_second_factor_untracked() {
            spawn_local(self.session.refresh());
        }
    }
}

/// The section of Settings → Account.
#[component]
pub fn OwnFactors() -> impl IntoView {
    let section = Section::new();
    view! {
        <section class="card stack">
            <h2>"Second factors"</h2>
            <p class="muted">
                "With a second factor, a stolen password is not enough to log in. A passkey also logs you in without the password."
            </p>
            <SectionContent section=section />
        </section>
    }
}

/// The screen of a user who must set up a second factor.
#[component]
pub fn RequiredPage() -> impl IntoView {
    let section = Section::new();
    view! {
        <PageHeader title="Set up a second factor" lead="Your account needs one before you can continue." />
        <div class="stack narrow">
            <section class="card stack">
                <p>"Add a passkey or an authenticator app. You then get recovery codes, in case you lose it."</p>
                <SectionContent section=section />
            </section>
        </div>
    }
}

#[component]
fn SectionContent(section: Section) -> impl IntoView {
    let Section { mutation, session, .. } = section;
    let add_passkey = Callback::new(move |()| section.passkey_open.set(true));
    let add_app = Callback::new(move |()| {
        mutation.run(rpc::start_app(), move |enrolment| {
            section.app.set(Some(enrolment));
            section.app_open.set(true);
        });
    });
    let renew = Callback::new(move |()| {
        mutation.run(rpc::replace_recovery_codes(), move |codes| {
            section.factors.refetch();
            section.show_codes(codes);
        });
    });
    let remove = Callback::new(move |id: String| {
        let username = session.username_untracked();
        mutation.run(rpc::remove_second_factor(username, id), move |()| section.factors.refetch());
    });
    let content = move |factors: ErasedMemo<SecondFactors>| {
        let has_app = move || factors.with(|factors| factors.authenticator_app.is_some());
        let has_any = move || factors.with(|factors| !factors.is_empty());
        view! {
            <Show when=has_any fallback=|| view! { <p>"You have no second factor."</p> }>
                <FactorTable factors=factors on_remove=remove />
                <RecoveryCodes factors=factors />
            </Show>
            <div class="row">
                {passkey::is_supported().then(|| view! { <Button on_click=add_passkey>"Add passkey"</Button> })}
                <Show when=move || !has_app()>
                    <Button pending=mutation.pending on_click=add_app>"Add authenticator app"</Button>
                </Show>
                <Show when=has_any>
                    <Button pending=mutation.pending on_click=renew>"Create new recovery codes"</Button>
                </Show>
            </div>
        }
    };
    view! {
        <FormProblem problem=mutation.problem_except(&[]) />
        {section.factors.view(content)}
        <Dialog open=section.passkey_open title="Add passkey">
            <PasskeyForm section=section />
        </Dialog>
        <Dialog open=section.app_open title="Add authenticator app">
            {move || section.app.get().map(|enrolment| view! { <AppForm section=section enrolment=enrolment /> })}
        </Dialog>
        <CodesDialog section=section />
    }
}

#[component]
fn FactorTable(factors: ErasedMemo<SecondFactors>, on_remove: Callback<String>) -> impl IntoView {
    let rows = move || {
        let factors = factors.get();
        let app = factors.authenticator_app.map(|app| Passkey {
            id: APP_ID.to_owned(),
            name: "Authenticator app".to_owned(),
            created_at: app.created_at,
            last_used_at: Some(app.last_used_at),
        });
        let rows = factors.passkeys.into_iter().map(|passkey| (passkey, "Passkey"));
        let rows = rows.chain(app.map(|app| (app, "Codes")));
        rows.map(|(row, kind)| view! { <FactorRow row=row kind=kind on_remove=on_remove /> }).collect_view()
    };
    view! {
        <ScrollableTable label="Second factors">
            <table class="cards-on-phone">
                <thead>
                    <tr>
                        <th>"Name"</th>
                        <th>"Kind"</th>
                        <th>"Created"</th>
                        <th>"Last used"</th>
                        <th><span class="visually-hidden">"Actions"</span></th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </ScrollableTable>
    }
}

#[component]
fn FactorRow(row: Passkey, kind: &'static str, on_remove: Callback<String>) -> impl IntoView {
    let id = row.id;
    let remove = Callback::new(move |()| on_remove.run(id.clone()));
    view! {
        <tr>
            <td data-label="Name" class="wrap">{row.name.clone()}</td>
            <td data-label="Kind">{kind}</td>
            <td data-label="Created"><RelativeTime at=row.created_at /></td>
            <td data-label="Last used">
                {match row.last_used_at {
                    Some(at) => view! { <RelativeTime at=at /> }.into_any(),
                    None => view! { <span class="muted">"Never"</span> }.into_any(),
                }}
            </td>
            <td>
                <Button variant=ButtonVariant::Quiet on_click=remove label=format!("Remove {}", row.name)>"Remove"</Button>
            </td>
        </tr>
    }
}

/// The number of recovery codes that are left, with a warning if they are few.
#[component]
fn RecoveryCodes(factors: ErasedMemo<SecondFactors>) -> impl IntoView {
    let left = move || factors.with(|factors| factors.recovery_codes_left);
    let text = move || format!("Recovery codes left: {} of {RECOVERY_CODES}.", left());
    view! {
        <p>{text}" Each logs you in once if you lose your second factors."</p>
        <Show when=move || left() <= 2>
            <Notice kind=NoticeKind::Warning>
                <p>"Few recovery codes are left. Create new ones."</p>
            </Notice>
        </Show>
    }
}

async fn add_passkey(name: String) -> Result<FactorAdded, RpcError> {
    let request = rpc::start_passkey().await?;
    let credential = passkey::create(&request.options).await?;
    rpc::add_passkey(name, PasskeyResponse { challenge: request.challenge, credential }).await
}

#[component]
fn PasskeyForm(section: Section) -> impl IntoView {
    let name = RwSignal::new(String::new());
    let mutation = Mutation::new();
    let submit = Callback::new(move |()| {
        let name = name.get_untracked();
        // Before the ceremony: the device would keep a passkey that Berth then rejects.
        if let Err(message) = validation::name(name.trim()) {
            return mutation.reject(Problem::field("name", message));
        }
        mutation.run(add_passkey(name), move |added| section.added(added));
    });
    view! {
        <Form on_submit=submit unguarded=true>
            <FormProblem problem=mutation.problem_except(&["name"]) />
            <TextInput label="Name" value=name hint="For example: laptop, or security key" error=mutation.field_error("name") />
            <p class="muted small">"Your device then asks for your PIN, fingerprint or face."</p>
            <div class="dialog-actions">
                <Button on_click=Callback::new(move |()| section.passkey_open.set(false))>"Cancel"</Button>
                <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Add passkey"</Button>
            </div>
        </Form>
    }
}

#[component]
fn AppForm(section: Section, enrolment: AppEnrolment) -> impl IntoView {
    let code = RwSignal::new(String::new());
    let mutation = Mutation::new();
    let challenge = enrolment.challenge;
    let submit = Callback::new(move |()| {
        let request = rpc::add_app(challenge.clone(), code.get_untracked());
        mutation.run(request, move |added| section.added(added));
    });
    view! {
        <Form on_submit=submit unguarded=true>
            <FormProblem problem=mutation.problem_except(&["code"]) />
            <p>"Scan the QR code with your authenticator app, or enter the key there."</p>
            <QrImage code=enrolment.qr />
            <CodeBlock text=enrolment.key label="Key" />
            <TextInput
                label="Code"
                value=code
                autocomplete="one-time-code"
                numeric=true
                hint="Six digits that the app shows now."
                error=mutation.field_error("code")
            />
            <div class="dialog-actions">
                <Button on_click=Callback::new(move |()| section.app_open.set(false))>"Cancel"</Button>
                <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Add authenticator app"</Button>
            </div>
        </Form>
    }
}

/// A QR code, dark on light in every theme: cameras need it.
#[component]
fn QrImage(code: QrCode) -> impl IntoView {
    let view_box = format!("0 0 {size} {size}", size = code.size);
    view! {
        <svg class="qr-code" viewBox=view_box role="img" aria-label="QR code of the key" shape-rendering="crispEdges">
            <rect width="100%" height="100%"></rect>
            <path d=code.path></path>
        </svg>
    }
}

/// The only display of new recovery codes. It stays open until they are copied or downloaded, or the user gives them up.
#[component]
fn CodesDialog(section: Section) -> impl IntoView {
    let saved = RwSignal::new(false);
    let Section { codes, codes_open, .. } = section;
    Effect::watch(
        move || codes_open.get(),
        move |is_open, _, _| {
            if *is_open {
                saved.set(false);
            } else {
                codes.set(None);
                section.finish();
            }
        },
        false,
    );
    view! {
        <Dialog open=codes_open title="Recovery codes" held=Signal::derive(move || !saved.get())>
            {move || codes.get().map(|codes| view! { <Codes codes=codes saved=saved open=codes_open /> })}
        </Dialog>
    }
}

#[component]
fn Codes(codes: Vec<String>, saved: RwSignal<bool>, open: RwSignal<bool>) -> impl IntoView {
    let text = codes.join("\n");
    let file = format!("data:text/plain;charset=utf-8,{}", js_sys::encode_uri_component(&format!("{text}\n")));
    let on_save = Callback::new(move |()| saved.set(true));
    let close = Callback::new(move |()| open.set(false));
    view! {
        <Notice kind=NoticeKind::Warning>
            <p><strong>"Save them now. They are not shown again."</strong>" Each logs you in once if you lose your second factors."</p>
        </Notice>
        <CodeBlock text=text label="Recovery codes" on_copy=on_save />
        <div class="dialog-actions">
            <a class="button" href=file download="berth-recovery-codes.txt" rel="external" on:click=move |_| on_save.run(())>
                "Download"
            </a>
            <Show
                when=move || saved.get()
                fallback=move || view! { <Button variant=ButtonVariant::Danger on_click=close>"Close anyway"</Button> }
            >
                <Button variant=ButtonVariant::Primary on_click=close>"Done"</Button>
            </Show>
        </div>
    }
}
