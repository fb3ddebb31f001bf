//! Messages in a page: errors, notices, and what replaces missing content.

use super::{Button, Icon, IconView};
use crate::session::use_session;
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
    let session = use_session();
    let needs_log_in = problem.kind == ProblemKind::Unauthenticated;
    let log_in = Callback::new(move |()| session.asks.set(true));
    let action = match retry {
        _ if needs_log_in => Some(view! { <Button on_click=log_in>"Log in"</Button> }),
        Some(retry) => Some(view! { <Button on_click=retry>"Try again"</Button> }),
        None => None,
    };
    view! {
        <div class="notice error" role="alert">
            <IconView icon=Icon::Warning />
            <div>
                <strong>{problem.kind.title()}</strong>
                <p>{problem.detail}</p>
                {action}
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
