//! Messages in a page: errors, notices, and what replaces missing content.

use super::{Button, Icon, IconView};
use domain::{Problem, ProblemKind};
use leptos::prelude::*;

/// Replaces a list without items.
#[component]
pub fn EmptyState(
    icon: Icon,
    #[prop(into)] title: String,
    #[prop(optional)] children: Option<Children>,
) -> impl IntoView {
    view! {
        <div class="empty">
            <IconView icon=icon />
            <h2>{title}</h2>
            {children.map(|children| children())}
        </div>
    }
}

/// A problem of a page, with the way to solve it.
#[component]
pub fn ErrorState(problem: Problem, #[prop(optional)] retry: Option<Callback<()>>) -> impl IntoView {
    let login = (problem.kind == ProblemKind::Unauthenticated).then(|| {
        let location = window().location();
        let address = location.pathname().and_then(|path| Ok(path + &location.search()?));
        let address = address.unwrap_or_else(|_| "/".to_owned());
        format!("/login?to={}", js_sys::encode_uri_component(&address))
    });
    let retry = retry.filter(|_| login.is_none());
    view! {
        <div class="notice error" role="alert">
            <IconView icon=Icon::Warning />
            <div>
                <strong>{problem.kind.title()}</strong>
                <p>{problem.detail}</p>
                // An external link reloads the page, which discards data of the expired session.
                {login.map(|href| view! { <a class="button" href=href rel="external">"Log in"</a> })}
                {retry.map(|retry| view! { <Button on_click=retry>"Try again"</Button> })}
            </div>
        </div>
    }
}

/// A problem that belongs to no field of the form.
#[component]
pub fn FormProblem(#[prop(into)] problem: Signal<Option<Problem>>) -> impl IntoView {
    move || {
        problem.get().map(|problem| {
            let text = if problem.errors.len() > 1 {
                let item = |error: domain::FieldError| view! { <li><code>{error.field}</code>": "{error.message}</li> };
                view! {
                    <strong>{problem.kind.title()}</strong>
                    <ul>{problem.errors.into_iter().map(item).collect_view()}</ul>
                }
                .into_any()
            } else {
                view! { <p>{problem.detail}</p> }.into_any()
            };
            view! {
                <div class="notice error" role="alert">
                    <IconView icon=Icon::Warning />
                    <div>{text}</div>
                </div>
            }
        })
    }
}

/// The kind of a [`Notice`].
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub enum NoticeKind {
    /// General information.
    #[default]
    Info,
    /// An action succeeded.
    Success,
    /// The user should act.
    Warning,
}

/// A highlighted message.
#[component]
pub fn Notice(#[prop(optional)] kind: NoticeKind, children: Children) -> impl IntoView {
    let (class, icon) = match kind {
        NoticeKind::Info => ("notice", Icon::Info),
        NoticeKind::Success => ("notice success", Icon::Check),
        NoticeKind::Warning => ("notice warning", Icon::Warning),
    };
    view! {
        <div class=class>
            <IconView icon=icon />
            <div>{children()}</div>
        </div>
    }
}

/// A placeholder for content that loads.
#[component]
pub fn Skeleton() -> impl IntoView {
    view! {
        <div class="skeleton" role="status">
            <span class="visually-hidden">"Loading"</span>
            <div></div>
            <div></div>
            <div></div>
        </div>
    }
}
