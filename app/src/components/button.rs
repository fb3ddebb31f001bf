//! Buttons.

use leptos::prelude::*;

/// The appearance of a button.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub enum ButtonVariant {
    /// The main action of a page or form.
    Primary,
    /// Another action.
    #[default]
    Secondary,
    /// An action that cannot be undone.
    Danger,
    /// An action of low importance, without a border.
    Quiet,
}

impl ButtonVariant {
    /// The CSS classes.
    fn class(self) -> &'static str {
        match self {
            Self::Primary => "button primary",
            Self::Secondary => "button",
            Self::Danger => "button danger",
            Self::Quiet => "button quiet",
        }
    }
}

/// A button with a spinner while its action is pending. A click in that time does nothing.
#[component]
pub fn Button(
    #[prop(optional)] variant: ButtonVariant,
    #[prop(optional, into)] pending: Signal<bool>,
    #[prop(optional, into)] disabled: Signal<bool>,
    #[prop(optional)] submit: bool,
    #[prop(optional, into)] label: Option<String>,
    #[prop(optional)] on_click: Option<Callback<()>>,
    children: Children,
) -> impl IntoView {
    view! {
        <button
            type=if submit { "submit" } else { "button" }
            class=variant.class()
            aria-label=label
            aria-busy=move || pending.get().to_string()
            disabled=move || disabled.get()
            on:click=move |_| {
                if let Some(on_click) = on_click
                    && !pending.get_untracked()
                {
                    on_click.run(());
                }
            }
        >
            <Show when=move || pending.get()>
                <span class="spinner" aria-hidden="true"></span>
            </Show>
            {children()}
        </button>
    }
}
