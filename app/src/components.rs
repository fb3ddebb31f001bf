//! The parts that pages are made of. They present; they read nothing from the server.

mod chips;
mod code;
mod config_form;
mod dialog;
mod fields;
mod icon;
mod rows;
mod times;
mod when;

pub use chips::*;
pub use code::*;
pub use config_form::*;
pub use dialog::*;
pub use fields::*;
pub use icon::*;
pub use rows::*;
pub use times::*;
pub use when::*;

use crate::values::Value;
use domain::pagination::Page;
use domain::{Problem, ProblemKind};
use leptos::prelude::*;

/// What a button looks like.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub enum Look {
    /// The one thing to do here.
    Primary,
    /// Another thing to do.
    #[default]
    Plain,
    /// Something that cannot be undone.
    Danger,
    /// Little more than its words.
    Quiet,
}

impl Look {
    /// Its class.
    pub fn class(self) -> &'static str {
        match self {
            Self::Primary => "button primary",
            Self::Plain => "button",
            Self::Danger => "button danger",
            Self::Quiet => "button quiet",
        }
    }
}

/// A button that shows when it works.
#[component]
pub fn Button(
    #[prop(optional)] look: Look,
    #[prop(optional, into)] busy: Signal<bool>,
    #[prop(optional, into)] disabled: Signal<bool>,
    #[prop(optional)] submit: bool,
    #[prop(optional, into)] label: Option<String>,
    #[prop(optional)] on_click: Option<Callback<()>>,
    children: Children,
) -> impl IntoView {
    view! {
        <button
            type=if submit { "submit" } else { "button" }
            class=look.class()
            aria-label=label
            aria-busy=move || busy.get().to_string()
            disabled=move || disabled.get()
            on:click=move |_| {
                if let Some(act) = on_click
                    && !busy.get_untracked()
                {
                    act.run(());
                }
            }
        >
            <When when=move || busy.get()>
                <span class="spinner" aria-hidden="true"></span>
            </When>
            {children()}
        </button>
    }
}

/// A page's title with what can be done on it.
#[component]
pub fn PageHeader(
    #[prop(into)] title: TextProp,
    #[prop(optional, into)] lead: Option<TextProp>,
    #[prop(optional)] children: Option<Children>,
) -> impl IntoView {
    let named = title.clone();
    view! {
        <leptos_meta::Title text=move || format!("{} · Berth", named.get()) />
        <header class="page-header">
            <div>
                <h1 tabindex="-1">{move || title.get().to_string()}</h1>
                {lead.map(|lead| view! { <p class="lead">{move || lead.get().to_string()}</p> }.into_any())}
            </div>
            {children.map(|children| view! { <div class="actions">{children()}</div> }.into_any())}
        </header>
    }
}

/// What stands where there is nothing yet.
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

/// What went wrong and what to do.
#[component]
pub fn ErrorState(problem: Problem, #[prop(optional)] retry: Option<Callback<()>>) -> impl IntoView {
    let login = (problem.kind == ProblemKind::Unauthenticated).then(|| {
        let here = web_sys::window().and_then(|w| Some((w.location().pathname().ok()?, w.location().search().ok()?)));
        let here = here.map_or_else(|| "/".to_owned(), |(path, search)| path + &search);
        format!("/login?to={}", js_sys::encode_uri_component(&here))
    });
    let retry = retry.filter(|_| login.is_none());
    view! {
        <div class="notice error" role="alert">
            <IconView icon=Icon::Warning />
            <div>
                <strong>{problem.kind.title()}</strong>
                <p>{problem.detail}</p>
                // Loaded anew, so that nothing of the session that ended stays in the page.
                {login.map(|href| view! { <a class="button" href=href rel="external">"Log in"</a> }.into_any())}
                {retry.map(|retry| view! { <Button on_click=retry>"Try again"</Button> }.into_any())}
            </div>
        </div>
    }
}

/// A problem that belongs to no field of the form around it.
#[component]
pub fn FormProblem(#[prop(into)] problem: Signal<Option<Problem>>) -> impl IntoView {
    move || {
        problem.get().map(|problem| {
            let several = problem.errors.len() > 1;
            view! {
                <div class="notice error" role="alert">
                    <IconView icon=Icon::Warning />
                    <div>
                        {if several {
                            view! {
                                <strong>{problem.kind.title()}</strong>
                                <ul>
                                    {problem
                                        .errors
                                        .into_iter()
                                        .map(|e| view! { <li><code>{e.field}</code>": "{e.message}</li> }.into_any())
                                        .collect_view()}
                                </ul>
                            }
                                .into_any()
                        } else {
                            view! { <p>{problem.detail}</p> }.into_any()
                        }}
                    </div>
                </div>
            }
            .into_any()
        })
    }
}

/// Something to know.
#[component]
pub fn Notice(#[prop(optional, into)] kind: Option<&'static str>, children: Children) -> impl IntoView {
    let (class, icon) = match kind {
        Some("success") => ("notice success", Icon::Check),
        Some("warning") => ("notice warning", Icon::Warning),
        _ => ("notice", Icon::Info),
    };
    view! {
        <div class=class>
            <IconView icon=icon />
            <div>{children()}</div>
        </div>
    }
}

/// Grey bars while something loads.
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

/// A wide table that scrolls inside itself on a phone.
#[component]
pub fn TableBox(#[prop(into)] label: String, children: Children) -> impl IntoView {
    view! {
        <div class="table-box" role="region" aria-label=label tabindex="0">
            {children()}
        </div>
    }
}

/// What reads the next page of a list, where there is one.
#[component]
pub fn More<T: Clone + Send + Sync + 'static>(
    page: Value<Page<T>>,
    #[prop(into)] busy: Signal<bool>,
    next: Callback<()>,
) -> impl IntoView {
    let there_is = move || page.with(|page| page.next_cursor.is_some());
    view! {
        <When when=there_is>
            <div class="more">
                <Button busy=busy on_click=next>"Show more"</Button>
            </div>
        </When>
    }
}
