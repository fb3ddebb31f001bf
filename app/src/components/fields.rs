//! Fields of forms: label above, hint and error below, tied together for assistive technology.

use super::{Icon, IconView};
use leptos::prelude::*;
use std::sync::atomic::{AtomicU32, Ordering};

/// An id for a field, unique in the page.
pub fn field_id() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("field-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The frame of a field.
#[component]
pub fn Field(
    id: String,
    label: TextProp,
    hint: Option<TextProp>,
    error: Signal<Option<String>>,
    #[prop(optional)] optional: bool,
    children: Children,
) -> impl IntoView {
    let error_id = format!("{id}-error");
    let hint_id = format!("{id}-hint");
    view! {
        <div class="field" class:invalid=move || error.get().is_some()>
            <label for=id>
                {move || label.get().to_string()} {optional.then(|| view! { <span class="optional">"optional"</span> }.into_any())}
            </label>
            {children()} {hint.map(|hint| view! { <p class="hint" id=hint_id>{move || hint.get().to_string()}</p> }.into_any())}
            <p class="error" id=error_id aria-live="polite">
                {move || {
                    error
                        .get()
                        .map(|error| view! { <IconView icon=Icon::Warning /><span>{error}</span> }.into_any())
                }}
            </p>
        </div>
    }
}

/// What describes a field: its hint and its error.
fn described(id: &str) -> String {
    format!("{id}-hint {id}-error")
}

/// A line of text.
#[component]
pub fn TextInput(
    #[prop(into)] label: TextProp,
    value: RwSignal<String>,
    #[prop(optional, into)] hint: Option<TextProp>,
    #[prop(optional, into)] error: Signal<Option<String>>,
    #[prop(optional, into)] kind: Option<&'static str>,
    #[prop(optional, into)] placeholder: Option<&'static str>,
    #[prop(optional, into)] autocomplete: Option<&'static str>,
    #[prop(optional)] optional: bool,
    #[prop(optional)] mono: bool,
    #[prop(optional)] numeric: bool,
    #[prop(optional)] disabled: bool,
    #[prop(optional)] on_blur: Option<Callback<()>>,
) -> impl IntoView {
    let id = field_id();
    let described = described(&id);
    let input_id = id.clone();
    let input = view! {
        <input
            id=input_id
            type=kind.unwrap_or("text")
            class:mono=mono
            disabled=disabled
            inputmode=numeric.then_some("decimal")
            placeholder=placeholder
            autocomplete=autocomplete.unwrap_or("off")
            spellcheck="false"
            aria-describedby=described
            aria-invalid=move || error.get().is_some().to_string()
            prop:value=move || value.get()
            on:input=move |event| value.set(event_target_value(&event))
            on:blur=move |_| {
                if let Some(act) = on_blur {
                    act.run(());
                }
            }
        />
    };
    view! { <Field id=id label=label hint=hint error=error optional=optional>{input}</Field> }
}

/// Several lines of text.
#[component]
pub fn TextArea(
    #[prop(into)] label: TextProp,
    value: RwSignal<String>,
    #[prop(optional, into)] hint: Option<TextProp>,
    #[prop(optional, into)] error: Signal<Option<String>>,
    #[prop(optional, into)] placeholder: Option<&'static str>,
    #[prop(optional)] optional: bool,
    #[prop(optional)] mono: bool,
    #[prop(default = 3)] rows: u32,
) -> impl IntoView {
    let id = field_id();
    let described = described(&id);
    let input_id = id.clone();
    let input = view! {
        <textarea
            id=input_id
            rows=rows
            class:mono=mono
            placeholder=placeholder
            spellcheck=if mono { "false" } else { "true" }
            aria-describedby=described
            aria-invalid=move || error.get().is_some().to_string()
            prop:value=move || value.get()
            on:input=move |event| value.set(event_target_value(&event))
        ></textarea>
    };
    view! { <Field id=id label=label hint=hint error=error optional=optional>{input}</Field> }
}

/// One of several, in a list that opens. Options are (value, words).
#[component]
pub fn Select(
    #[prop(into)] label: TextProp,
    value: RwSignal<String>,
    #[prop(into)] options: Signal<Vec<(String, String)>>,
    #[prop(optional, into)] hint: Option<TextProp>,
    #[prop(optional, into)] error: Signal<Option<String>>,
    #[prop(optional)] optional: bool,
) -> impl IntoView {
    let id = field_id();
    let described = described(&id);
    let input_id = id.clone();
    let input = view! {
        <select
            id=input_id
            aria-describedby=described
            aria-invalid=move || error.get().is_some().to_string()
            on:change=move |event| value.set(event_target_value(&event))
        >
            {move || {
                options
                    .get()
                    .into_iter()
                    .map(|(option, words)| {
                        let is = option.clone();
                        view! {
                            <option value=option selected=move || value.get() == is>
                                {words}
                            </option>
                        }.into_any()
                    })
                    .collect_view()
            }}
        </select>
    };
    view! { <Field id=id label=label hint=hint error=error optional=optional>{input}</Field> }
}

/// Yes or no, with words beside it.
#[component]
pub fn Checkbox(
    #[prop(into)] label: TextProp,
    value: RwSignal<bool>,
    #[prop(optional, into)] hint: Option<TextProp>,
) -> impl IntoView {
    let id = field_id();
    let hint_id = format!("{id}-hint");
    let describes = hint_id.clone();
    let for_id = id.clone();
    view! {
        <div class="checkbox">
            <input
                type="checkbox"
                id=id
                aria-describedby=describes
                prop:checked=move || value.get()
                on:change=move |event| value.set(event_target_checked(&event))
            />
            <div>
                <label for=for_id>{move || label.get().to_string()}</label>
                {hint.map(|hint| view! { <p class="hint" id=hint_id>{move || hint.get().to_string()}</p> }.into_any())}
            </div>
        </div>
    }
}

/// On or off, at once.
#[component]
pub fn Switch(
    #[prop(into)] label: TextProp,
    #[prop(into)] on: Signal<bool>,
    #[prop(optional, into)] busy: Signal<bool>,
    change: Callback<bool>,
) -> impl IntoView {
    view! {
        <button
            type="button"
            role="switch"
            class="switch"
            aria-checked=move || on.get().to_string()
            aria-label=move || label.get().to_string()
            aria-busy=move || busy.get().to_string()
            on:click=move |_| {
                if !busy.get_untracked() {
                    change.run(!on.get_untracked());
                }
            }
        >
            <span aria-hidden="true"></span>
        </button>
    }
}

/// One of few, all in sight. Options are (value, words, explanation).
#[component]
pub fn RadioCards(
    #[prop(into)] legend: String,
    value: RwSignal<String>,
    options: Vec<(&'static str, &'static str, &'static str)>,
) -> impl IntoView {
    let name = field_id();
    view! {
        <fieldset class="cards">
            <legend>{legend}</legend>
            <div>
                {options
                    .into_iter()
                    .map(|(option, words, explanation)| {
                        view! {
                            <label class="card-choice" class:chosen=move || value.get() == option>
                                <input
                                    type="radio"
                                    name=name.clone()
                                    value=option
                                    prop:checked=move || value.get() == option
                                    on:change=move |_| value.set(option.to_owned())
                                />
                                <span>
                                    <strong>{words}</strong>
                                    <small>{explanation}</small>
                                </span>
                            </label>
                        }.into_any()
                    })
                    .collect_view()}
            </div>
        </fieldset>
    }
}

/// A form: Enter sends it, the browser's own validation stays out of the way. After a refusal the first field at fault
/// gets the focus.
#[component]
pub fn Form(on_submit: Callback<()>, children: Children) -> impl IntoView {
    view! {
        <form
            novalidate
            class="stack"
            on:submit=move |event| {
                event.prevent_default();
                on_submit.run(());
            }
        >
            {children()}
        </form>
    }
}

/// Moves the focus to the first field at fault, once it shows.
pub fn focus_first_invalid() {
    use wasm_bindgen::JsCast as _;
    request_animation_frame(|| {
        let field = web_sys::window().and_then(|window| window.document()).and_then(|document| {
            document.query_selector("#app [aria-invalid=\"true\"], #app .notice.error").ok().flatten()
        });
        if let Some(field) = field {
            field.scroll_into_view();
            if let Ok(field) = field.dyn_into::<web_sys::HtmlElement>() {
                let _ = field.focus();
            }
        }
    });
}

/// Fixed options of a [`Select`]: (value, words).
pub fn words<const N: usize>(options: [(&'static str, &'static str); N]) -> Vec<(String, String)> {
    options.into_iter().map(|(value, words)| (value.to_owned(), words.to_owned())).collect()
}
