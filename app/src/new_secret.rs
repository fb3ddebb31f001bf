//! The only display of a new signing secret or API token.
//!
//! The dialog belongs to the layout, so that navigation does not discard the secret. Before it was copied, Escape does not close the
//! dialog, and the browser asks before it reloads or closes the page.

use crate::components::*;
use crate::erased::ErasedSignal;
use domain::id::WebhookId;
use leptos::ev;
use leptos::prelude::*;

/// The credential that a secret belongs to.
#[derive(Clone)]
pub enum SecretOwner {
    /// A signing secret.
    Webhook {
        /// The webhook.
        id: WebhookId,
        /// Its name.
        name: String,
        /// Whether the webhook is new. Otherwise its secret was rotated.
        created: bool,
    },
    /// An API token with this name.
    Token(String),
}

impl SecretOwner {
    fn title(&self) -> String {
        match self {
            Self::Webhook { name, created: true, .. } => format!("{name} created"),
            Self::Webhook { name, .. } => format!("New signing secret of {name}"),
            Self::Token(name) => format!("New API token {name}"),
        }
    }
}

/// The new secret, as a context. The page cannot show it again.
#[derive(Clone, Copy)]
pub struct NewSecret {
    secret: ErasedSignal<Option<(SecretOwner, String)>>,
    copied: RwSignal<bool>,
    open: RwSignal<bool>,
}

impl NewSecret {
    /// Without a secret.
    pub fn new() -> Self {
        Self { secret: ErasedSignal::new(None), copied: RwSignal::new(false), open: RwSignal::new(false) }
    }

    /// Shows a secret, once the dialog that created it has closed.
    pub fn show(self, owner: SecretOwner, secret: String) {
        self.copied.set(false);
        self.secret.set(Some((owner, secret)));
        request_animation_frame(move || self.open.set(true));
    }

    fn is_uncopied(self) -> bool {
        self.open.get_untracked() && !self.copied.get_untracked()
    }
}

/// Returns the display of new secrets.
pub fn use_new_secret() -> NewSecret {
    expect_context::<NewSecret>()
}

/// The dialog with the new secret.
#[component]
pub fn NewSecretDialog() -> impl IntoView {
    let new_secret = use_new_secret();
    let NewSecret { secret, copied, open } = new_secret;
    let on_leave = window_event_listener(ev::beforeunload, move |event| {
        if new_secret.is_uncopied() {
            event.prevent_default();
            event.set_return_value("");
        }
    });
    on_cleanup(move || on_leave.remove());
    Effect::new(move |_| {
        if !open.get() {
            secret.set(None);
        }
    });
    let title = move || secret.with(|secret| secret.as_ref().map(|(owner, _)| owner.title()).unwrap_or_default());
    view! {
        <Dialog open=open title=title held=Signal::derive(move || !copied.get())>
            {move || {
                let (owner, secret) = secret.get()?;
                Some(view! { <Content owner=owner secret=secret copied=copied open=open /> })
            }}
        </Dialog>
    }
}

#[component]
fn Content(owner: SecretOwner, secret: String, copied: RwSignal<bool>, open: RwSignal<bool>) -> impl IntoView {
    let close = Callback::new(move |()| open.set(false));
    let on_copy = Callback::new(move |()| copied.set(true));
    let (label, remedy, use_of_it) = match owner {
        SecretOwner::Webhook { id, .. } => (
            "Signing secret",
            "If you lose it, rotate it.",
            view! {
                "Your service verifies requests with it. Set it there, e.g. as "<code>"WEBHOOK_SECRET"</code>
                ". To post status updates, the service also sends the webhook ID, "<strong>{id}</strong>", as "
                <code>"X-Webhook-Id"</code>"."
            }
            .into_any(),
        ),
        SecretOwner::Token(_) => (
            "Token",
            "If you lose it, revoke it and create another one.",
            view! { "Scripts send it as "<code>"Authorization: Bearer <token>"</code>"." }.into_any(),
        ),
    };
    view! {
        <Notice kind=NoticeKind::Warning>
            <p><strong>"Copy it now. It is not shown again."</strong>" "{remedy}</p>
        </Notice>
        <CodeBlock text=secret label=label on_copy=on_copy />
        <p class="wrap">{use_of_it}</p>
        <div class="dialog-actions">
            <Show
                when=move || copied.get()
                fallback=move || view! { <Button variant=ButtonVariant::Danger on_click=close>"Close anyway"</Button> }
            >
                <Button variant=ButtonVariant::Primary on_click=close>"Done"</Button>
            </Show>
        </div>
    }
}
