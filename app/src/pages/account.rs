//! Settings → Account of the user.

use crate::components::*;
use crate::erased::ErasedMemo;
use crate::pages::areas::{self, show_part};
use crate::pages::personal_data::PersonalData;
use crate::query::{Mutation, Query};
use crate::rpc::accounts;
use crate::session::use_session;
use crate::{intl, preferences, time};
use domain::Problem;
use domain::account::{LogInSession, UserPatch};
use domain::single_sign_on::{Identity, ProviderView};
use leptos::prelude::*;

/// `/settings/account`
#[component]
pub fn AccountPage() -> impl IntoView {
    let session = use_session();
    let on_erased = Callback::new(move |()| session.end());
    let has_password = move || session.info.with(|info| info.as_ref().is_none_or(|info| info.user.has_password));
    view! {
        <PageHeader title="Account" lead=move || format!("Logged in as {}.", session.username()) />
        <div class="stack narrow">
            <section class="card">
                <h2>"Profile"</h2>
                <ProfileForm />
            </section>
            <section class="card">
                <h2>"Dates and times"</h2>
                <FormatForm />
            </section>
            <Show when=has_password>
                <section class="card">
                    <h2>"Password"</h2>
                    <PasswordForm />
                </section>
                {show_part(areas::secondfactor::Screen::Own)}
            </Show>
            <Identities />
            <section class="card stack">
                <h2>"Sessions"</h2>
                <Sessions />
            </section>
            <section class="card stack">
                <h2>"Your data"</h2>
                <PersonalData username=session.username_untracked() is_own=true on_erased=on_erased />
            </section>
        </div>
    }
}

#[component]
fn ProfileForm() -> impl IntoView {
    let session = use_session();
    let user = session.info.get_untracked().map(|info| info.user);
    let email = RwSignal::new(user.as_ref().map(|u| u.email.clone()).unwrap_or_default());
    let key = RwSignal::new(user.map(|u| u.ssh_key).unwrap_or_default());
    let mutation = Mutation::new();
    let saved = RwSignal::new(false);
    let submit = Callback::new(move |()| {
        saved.set(false);
        let patch = UserPatch {
            email: Some(email.get_untracked().trim().to_owned()),
            ssh_key: Some(key.get_untracked().trim().to_owned()),
            ..Default::default()
        };
        mutation.run_to_end(accounts::patch_user(session.username_untracked(), patch), move |user| {
            saved.set(true);
            session.info.update(|info| {
                if let Some(info) = info {
                    info.user = user;
                }
            });
        });
    });
    view! {
        <Form on_submit=submit>
            <FormProblem problem=mutation.problem_except(&["email", "ssh_key"]) />
            <TextInput label="E-mail" value=email kind="email" autocomplete="email" error=mutation.field_error("email") />
            <TextArea
                label="SSH public key"
                value=key
                optional=true
                mono=true
                hint="Filled in when you reserve."
                placeholder="ssh-ed25519 AAAA… you@host"
                error=mutation.field_error("ssh_key")
            />
            <div class="row">
                <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Save profile"</Button>
                <span role="status">{move || saved.get().then_some("Saved.")}</span>
            </div>
        </Form>
    }
}

/// The formats of dates and times. This browser remembers them; each change takes effect at once.
#[component]
fn FormatForm() -> impl IntoView {
    let changed = Trigger::new();
    let select = |label: &'static str, key: &'static str, options: Vec<(String, String)>| {
        let value = RwSignal::new(preferences::get(key));
        Effect::watch(
            move || value.get(),
            move |value, _, _| {
                intl::set_preference(key, value);
                changed.notify();
            },
            false,
        );
        view! { <Select label=label value=value options=options /> }
    };
    let mut locales = select_options([("", "Browser's language")]);
    locales.extend(select_options(intl::LOCALES));
    let clocks = select_options([("", "As in the format"), ("h23", "24-hour"), ("h12", "12-hour")]);
    let days = select_options([("", "As in the format"), ("1", "Monday"), ("6", "Saturday"), ("7", "Sunday")]);
    let ticker = use_ticker();
    let example = move || {
        changed.track();
        let now = ticker.now();
        let week = time::date(now).week(intl::first_weekday()).first_day();
        format!("Example: {}. Weeks start on {}.", intl::timestamp(now), intl::weekday(week))
    };
    view! {
        <div class="stack">
            <div class="grid-2">
                {select("Format", preferences::LOCALE, locales)}
                {select("Clock", preferences::CLOCK, clocks)}
                {select("First day of the week", preferences::WEEK_START, days)}
            </div>
            <p class="muted small">{example}" Times are in "{intl::time_zone()}". This browser saves the choice."</p>
        </div>
    }
}

#[component]
fn PasswordForm() -> impl IntoView {
    let session = use_session();
    let current = RwSignal::new(String::new());
    let new = RwSignal::new(String::new());
    let repeated = RwSignal::new(String::new());
    let keep_tokens = RwSignal::new(false);
    let changed = RwSignal::new(false);
    let mutation = Mutation::new();
    let submit = Callback::new(move |()| {
        let password = new.get_untracked();
        if password != repeated.get_untracked() {
            let message = "The passwords do not match. Enter the new password again.";
            return mutation.reject(Problem::field("repeated", message));
        }
        changed.set(false);
        let patch = UserPatch {
            current_password: Some(current.get_untracked()),
            password: Some(password),
            keep_tokens: Some(keep_tokens.get_untracked()),
            ..Default::default()
        };
        mutation.run(accounts::patch_user(session.username_untracked(), patch), move |_| {
            [current, new, repeated].iter().for_each(|field| field.set(String::new()));
            changed.set(true);
        });
    });
    // The user corrects a mismatch in either field.
    Effect::watch(move || new.get(), move |_, _, _| mutation.clear_errors(&["repeated"]), false);
    view! {
        <Form on_submit=submit>
            <FormProblem problem=mutation.problem_except(&["current_password", "password", "repeated"]) />
            <TextInput
                label="Current password"
                value=current
                kind="password"
                autocomplete="current-password"
                error=mutation.field_error("current_password")
            />
            <TextInput
                label="New password"
                value=new
                kind="password"
                autocomplete="new-password"
                hint="At least 12 characters, not a common password. You will be signed out on other devices."
                error=mutation.field_error("password")
            />
            <TextInput
                label="Confirm new password"
                value=repeated
                kind="password"
                autocomplete="new-password"
                error=mutation.field_error("repeated")
            />
            <Checkbox label="Keep API tokens" value=keep_tokens hint="Otherwise your API tokens are revoked." />
            <div class="row">
                <Button submit=true pending=mutation.pending>"Change password"</Button>
                <span role="status">{move || changed.get().then_some("Password changed.")}</span>
            </div>
        </Form>
    }
}

/// The links to identity providers. Hidden if there is neither a provider nor a link.
#[component]
fn Identities() -> impl IntoView {
    let session = use_session();
    let list = Query::new(move || accounts::list_identities(session.username_untracked()));
    let providers = Query::new(accounts::list_providers);
    let mutation = Mutation::new();
    let link = Callback::new(move |provider: String| {
        mutation.run(accounts::link_identity(provider, None), |url| {
            let _ = window().location().assign(&url);
        });
    });
    let remove = Callback::new(move |id: String| {
        let username = session.username_untracked();
        mutation.run(accounts::remove_identity(username, id, None), move |()| list.refetch());
    });
    let content = move |identities: ErasedMemo<Vec<Identity>>| {
        providers.view(move |providers: ErasedMemo<Vec<ProviderView>>| {
            view! {
                {move || {
                    let identities = identities.get();
                    let unlinked: Vec<ProviderView> = providers
                        .get()
                        .into_iter()
                        .filter(|provider| identities.iter().all(|known| known.provider != provider.display_name))
                        .collect();
                    if identities.is_empty() && unlinked.is_empty() {
                        return None;
                    }
                    let rows = identities
                        .into_iter()
                        .map(|identity| view! { <IdentityRow identity=identity on_remove=remove /> })
                        .collect_view();
                    let buttons = unlinked
                        .into_iter()
                        .map(|provider| {
                            let name = provider.name.clone();
                            let click = Callback::new(move |()| link.run(name.clone()));
                            view! {
                                <Button pending=mutation.pending on_click=click>{format!("Link {}", provider.display_name)}</Button>
                            }
                        })
                        .collect_view();
                    Some(
                        view! {
                            <section class="card stack">
                                <h2>"Single sign-on"</h2>
                                <FormProblem problem=mutation.problem />
                                {(!rows.is_empty()).then(|| view! { <IdentityTable rows=rows.into_any() /> })}
                                {(!buttons.is_empty()).then(|| view! { <div class="row">{buttons}</div> })}
                            </section>
                        },
                    )
                }}
            }
        })
    };
    list.view(content)
}

#[component]
fn IdentityTable(rows: AnyView) -> impl IntoView {
    view! {
        <ScrollableTable label="Single sign-on">
            <table class="cards-on-phone">
                <thead>
                    <tr>
                        <th>"Provider"</th>
                        <th>"Subject"</th>
                        <th>"Last used"</th>
                        <th><span class="visually-hidden">"Actions"</span></th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </ScrollableTable>
    }
}

/// One link of an account to an identity provider.
#[component]
fn IdentityRow(identity: Identity, on_remove: Callback<String>) -> impl IntoView {
    let id = identity.id;
    let remove = Callback::new(move |()| on_remove.run(id.clone()));
    view! {
        <tr>
            <td data-label="Provider">{identity.provider.clone()}</td>
            <td data-label="Subject" class="wrap">{identity.subject}</td>
            <td data-label="Last used">
                {match identity.last_used_at {
                    Some(at) => view! { <RelativeTime at=at /> }.into_any(),
                    None => view! { <span class="muted">"Never"</span> }.into_any(),
                }}
            </td>
            <td>
                <Button variant=ButtonVariant::Quiet on_click=remove label=format!("Remove {}", identity.provider)>"Remove"</Button>
            </td>
        </tr>
    }
}

/// The list of the user's sessions.
#[component]
fn Sessions() -> impl IntoView {
    let session = use_session();
    let list = Query::new(accounts::list_sessions);
    let mutation = Mutation::new();
    let sign_out = Callback::new(move |ended: LogInSession| {
        let request = accounts::end_session(ended.id);
        mutation.run_to_end(request, move |()| if ended.current { session.end() } else { list.refetch() });
    });
    let sign_out_everywhere = Callback::new(move |()| {
        mutation.run_to_end(accounts::end_all_sessions(session.username_untracked()), move |()| session.end());
    });
    view! {
        <FormProblem problem=mutation.problem />
        {list.view(move |sessions: ErasedMemo<Vec<LogInSession>>| {
            let rows = move || {
                sessions.get().into_iter().map(|row| view! { <SessionRow row=row on_sign_out=sign_out /> }).collect_view()
            };
            view! {
                <ScrollableTable label="Sessions">
                    <table class="cards-on-phone">
                        <thead>
                            <tr>
                                <th>"Device"</th>
                                <th>"Address"</th>
                                <th>"Created"</th>
                                <th>"Last used"</th>
                                <th><span class="visually-hidden">"Actions"</span></th>
                            </tr>
                        </thead>
                        <tbody>{rows}</tbody>
                    </table>
                </ScrollableTable>
            }
        })}
        <div>
            <Button pending=mutation.pending on_click=sign_out_everywhere>"Sign out everywhere"</Button>
        </div>
    }
}

#[component]
fn SessionRow(row: LogInSession, on_sign_out: Callback<LogInSession>) -> impl IntoView {
    let unknown = |text: &str| if text.is_empty() { "Unknown".to_owned() } else { text.to_owned() };
    let device = unknown(&row.device);
    let ended = row.clone();
    let sign_out = Callback::new(move |()| on_sign_out.run(ended.clone()));
    view! {
        <tr>
            <td data-label="Device">
                <span>
                    <span class="nowrap">{device.clone()}</span>
                    {row.current.then(|| view! { " " <span class="badge">"This session"</span> })}
                </span>
            </td>
            <td data-label="Address" class="wrap">{unknown(&row.source)}</td>
            <td data-label="Created"><RelativeTime at=row.created_at /></td>
            <td data-label="Last used">
                {match row.last_used_at {
                    Some(at) => view! { <RelativeTime at=at /> }.into_any(),
                    None => view! { <span class="muted">"Unknown"</span> }.into_any(),
                }}
            </td>
            <td>
                <Button variant=ButtonVariant::Quiet on_click=sign_out label=format!("Sign out {device}")>"Sign out"</Button>
            </td>
        </tr>
    }
}
