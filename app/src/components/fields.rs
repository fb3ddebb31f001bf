//! Form fields with label, hint and error, which ARIA attributes connect to the input.

use super::{Icon, IconView};
use crate::unsaved;
use crate::window_event::after_press;
use leptos::prelude::*;
use std::sync::atomic::{AtomicU32, Ordering};

/// Returns an element id that is unique in the page.
fn unique_id() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("field-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The error message of a field. An edit of the field removes it, unless a validation updates it anyway.
#[derive(Clone, Copy, Default)]
pub struct FieldMessage {
    text: Signal<Option<String>>,
    on_edit: Option<Callback<()>>,
}

impl FieldMessage {
    /// A message that `on_edit` removes.
    pub fn new(text: Signal<Option<String>>, on_edit: Callback<()>) -> Self {
        Self { text, on_edit: Some(on_edit) }
    }

    /// The message. Tracked.
    pub fn get(self) -> Option<String> {
        self.text.get()
    }

    /// Removes the message, after the user has edited the field.
    pub fn edited(self) {
        if let Some(on_edit) = self.on_edit {
            on_edit.run(());
        }
    }
}

impl From<Signal<Option<String>>> for FieldMessage {
    fn from(text: Signal<Option<String>>) -> Self {
        Self { text, on_edit: None }
    }
}

/// The label, hint and error around an input.
#[component]
fn Field(
    id: String,
    label: TextProp,
    hint: Option<TextProp>,
    error: FieldMessage,
    #[prop(optional)] optional: bool,
    children: Children,
) -> impl IntoView {
    let error_id = format!("{id}-error");
    let hint_id = format!("{id}-hint");
    view! {
        <div class="field" class:invalid=move || error.get().is_some()>
            <label for=id>
                {move || label.get().to_string()} {optional.then(|| view! { <span class="optional">"optional"</span> })}
            </label>
            {children()} {hint.map(|hint| view! { <p class="hint" id=hint_id>{move || hint.get().to_string()}</p> })}
            <p class="error" id=error_id aria-live="polite">
                {move || {
                    error
                        .get()
                        .map(|error| view! { <IconView icon=Icon::Warning /><span>{error}</span> })
                }}
            </p>
        </div>
    }
}

/// The value of `aria-describedby` for the input of a [`Field`].
fn description_ids(id: &str) -> String {
    format!("{id}-hint {id}-error")
}

/// A text input with one line.
#[component]
pub fn TextInput(
    #[prop(into)] label: TextProp,
    value: RwSignal<String>,
    #[prop(optional, into)] hint: Option<TextProp>,
    #[prop(optional, into)] error: FieldMessage,
    #[prop(optional, into)] kind: Option<&'static str>,
    #[prop(optional, into)] placeholder: Option<&'static str>,
    #[prop(optional, into)] autocomplete: Option<&'static str>,
    #[prop(optional)] optional: bool,
    #[prop(optional)] mono: bool,
    #[prop(optional)] numeric: bool,
    #[prop(optional)] disabled: bool,
    #[prop(optional)] on_blur: Option<Callback<()>>,
) -> impl IntoView {
    let id = unique_id();
    let described_by = description_ids(&id);
    let input_id = id.clone();
    let is_password = kind == Some("password");
    let is_shown = RwSignal::new(false);
    let input = view! {
        <input
            id=input_id
            type=move || if is_shown.get() { "text" } else { kind.unwrap_or("text") }
            class:mono=mono
            disabled=disabled
            inputmode=numeric.then_some("decimal")
            placeholder=placeholder
            autocomplete=autocomplete.unwrap_or("off")
            spellcheck="false"
            aria-describedby=described_by
            aria-invalid=move || error.get().is_some().to_string()
            prop:value=move || value.get()
            on:input=move |event| {
                value.set(event_target_value(&event));
                error.edited();
            }
            on:blur=move |_| {
                if let Some(on_blur) = on_blur {
                    after_press(move || on_blur.run(()));
                }
            }
        />
    };
    let input = if is_password {
        view! { <div class="concealed">{input}<ShowButton is_shown=is_shown /></div> }.into_any()
    } else {
        input.into_any()
    };
    view! { <Field id=id label=label hint=hint error=error optional=optional>{input}</Field> }
}

/// The button that shows what was entered in a password field, and hides it again.
#[component]
fn ShowButton(is_shown: RwSignal<bool>) -> impl IntoView {
    view! {
        <button
            type="button"
            class="button quiet show-entry"
            aria-label="Show entered text"
            aria-pressed=move || is_shown.get().to_string()
            on:click=move |_| is_shown.update(|shown| *shown = !*shown)
        >
            {move || if is_shown.get() { "Hide" } else { "Show" }}
        </button>
    }
}

/// A text input with several lines.
#[component]
pub fn TextArea(
    #[prop(into)] label: TextProp,
    value: RwSignal<String>,
    #[prop(optional, into)] hint: Option<TextProp>,
    #[prop(optional, into)] error: FieldMessage,
    #[prop(optional, into)] placeholder: Option<&'static str>,
    #[prop(optional)] optional: bool,
    #[prop(optional)] mono: bool,
    #[prop(default = 3)] rows: u32,
) -> impl IntoView {
    let id = unique_id();
    let described_by = description_ids(&id);
    let input_id = id.clone();
    let input = view! {
        <textarea
            id=input_id
            rows=rows
            class:mono=mono
            placeholder=placeholder
            spellcheck=if mono { "false" } else { "true" }
            autocomplete="off"
            aria-describedby=described_by
            aria-invalid=move || error.get().is_some().to_string()
            prop:value=move || value.get()
            on:input=move |event| {
                value.set(event_target_value(&event));
                error.edited();
            }
        ></textarea>
    };
    view! { <Field id=id label=label hint=hint error=error optional=optional>{input}</Field> }
}

/// A drop-down list. Options are pairs of value and label.
#[component]
pub fn Select(
    #[prop(into)] label: TextProp,
    value: RwSignal<String>,
    #[prop(into)] options: Signal<Vec<(String, String)>>,
    #[prop(optional, into)] hint: Option<TextProp>,
    #[prop(optional, into)] error: FieldMessage,
    #[prop(optional)] optional: bool,
) -> impl IntoView {
    let id = unique_id();
    let described_by = description_ids(&id);
    let input_id = id.clone();
    let input = view! {
        <select
            id=input_id
            aria-describedby=described_by
            aria-invalid=move || error.get().is_some().to_string()
            on:change=move |event| {
                value.set(event_target_value(&event));
                error.edited();
            }
        >
            {move || {
                options
                    .get()
                    .into_iter()
                    .map(|(option, label)| {
                        let own = option.clone();
                        view! {
                            <option value=option selected=move || value.get() == own>
                                {label}
                            </option>
                        }
                    })
                    .collect_view()
            }}
        </select>
    };
    view! { <Field id=id label=label hint=hint error=error optional=optional>{input}</Field> }
}

/// A checkbox with its label.
#[component]
pub fn Checkbox(
    #[prop(into)] label: TextProp,
    value: RwSignal<bool>,
    #[prop(optional, into)] hint: Option<TextProp>,
) -> impl IntoView {
    let id = unique_id();
    let hint_id = format!("{id}-hint");
    let described_by = hint_id.clone();
    let input_id = id.clone();
    view! {
        <div class="checkbox">
            <input
                type="checkbox"
                id=id
                aria-describedby=described_by
                prop:checked=move || value.get()
                on:change=move |event| value.set(event_target_checked(&event))
            />
            <div>
                <label for=input_id>{move || label.get().to_string()}</label>
                {hint.map(|hint| view! { <p class="hint" id=hint_id>{move || hint.get().to_string()}</p> })}
            </div>
        </div>
    }
}

/// A switch whose change takes effect at once. While the change is pending, a click does nothing.
#[component]
pub fn Switch(
    #[prop(into)] label: TextProp,
    #[prop(into)] on: Signal<bool>,
    #[prop(optional, into)] pending: Signal<bool>,
    #[prop(optional, into)] disabled: Signal<bool>,
    on_change: Callback<bool>,
) -> impl IntoView {
    view! {
        <button
            type="button"
            role="switch"
            class="switch"
            disabled=move || disabled.get()
            aria-checked=move || on.get().to_string()
            aria-label=move || label.get().to_string()
            aria-busy=move || pending.get().to_string()
            on:click=move |_| {
                if !pending.get_untracked() {
                    on_change.run(!on.get_untracked());
                }
            }
        >
            <span aria-hidden="true"></span>
        </button>
    }
}

/// Radio buttons as cards. Options are triples of value, label and explanation.
#[component]
pub fn RadioCards(
    #[prop(into)] legend: String,
    value: RwSignal<String>,
    options: Vec<(&'static str, &'static str, &'static str)>,
) -> impl IntoView {
    let name = unique_id();
    view! {
        <fieldset class="cards">
            <legend>{legend}</legend>
            <div>
                {options
                    .into_iter()
                    .map(|(option, label, explanation)| {
                        view! {
                            <label class="card-choice" class:selected=move || value.get() == option>
                                <input
                                    type="radio"
                                    name=name.clone()
                                    value=option
                                    prop:checked=move || value.get() == option
                                    on:change=move |_| value.set(option.to_owned())
                                />
                                <span>
                                    <strong>{label}</strong>
                                    <small>{explanation}</small>
                                </span>
                            </label>
                        }
                    })
                    .collect_view()}
            </div>
        </fieldset>
    }
}

/// A form without the browser's own validation.
#[component]
pub fn Form(
    on_submit: Callback<()>,
    /// Whether the user may leave the form without a question: it keeps its input, or has nothing to lose.
    #[prop(optional)]
    unguarded: bool,
    children: Children,
) -> impl IntoView {
    let mark = move |event: &web_sys::Event| {
        if !unguarded {
            unsaved::mark(event);
        }
    };
    view! {
        <form
            novalidate
            class="stack"
            on:input=move |event| mark(&event)
            on:change=move |event| mark(&event)
            on:submit=move |event| {
                event.prevent_default();
                unsaved::submit(&event);
                on_submit.run(());
            }
        >
            {children()}
        </form>
    }
}

/// Moves the focus to the first invalid field or error message, once it is rendered.
pub fn focus_first_invalid() {
    use wasm_bindgen::JsCast as _;
    request_animation_frame(|| {
        let invalid = document().query_selector("#app [aria-invalid=\"true\"], #app .notice.error");
        if let Ok(Some(element)) = invalid {
            element.scroll_into_view();
            if let Ok(element) = element.dyn_into::<web_sys::HtmlElement>() {
                let _ = element.focus();
            }
        }
    });
}

/// Converts fixed options of a [`Select`], pairs of value and label.
pub fn select_options<const N: usize>(options: [(&'static str, &'static str); N]) -> Vec<(String, String)> {
    options.into_iter().map(|(value, label)| (value.to_owned(), label.to_owned())).collect()
}
