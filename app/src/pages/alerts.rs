//! Alerts, and the health tab of a webhook.

mod channels;
mod health;
mod list;
mod rules;

pub use health::HealthTab;

use crate::components::*;
use crate::session::use_session;
use channels::{Channels, Preferences};
use domain::alert::AlertStatus;
use domain::webhook::HealthCheckStatus;
use leptos::prelude::*;
use list::{FiringAlerts, History};
use rules::DefaultRules;

impl Status for AlertStatus {
    fn label(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Pending => "Pending",
            Self::Firing => "Firing",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Ok => Tone::Good,
            Self::Pending => Tone::Warn,
            Self::Firing => Tone::Bad,
        }
    }
}

impl Status for HealthCheckStatus {
    fn label(self) -> &'static str {
        match self {
            Self::Unknown => "No data",
            Self::Passing => "Healthy",
            Self::Failing => "Failing",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Unknown => Tone::Neutral,
            Self::Passing => Tone::Good,
            Self::Failing => Tone::Bad,
        }
    }
}

/// `/alerts`
#[component]
pub fn AlertsPage() -> impl IntoView {
    let session = use_session();
    view! {
        <PageHeader title="Alerts" lead="Webhooks that need attention, and the channels that report them." />
        <div class="stack">
            <FiringAlerts />
            <DefaultRules />
            <Show when=move || session.reads_everything()>
                <Channels />
            </Show>
            <Preferences />
            <History />
        </div>
    }
}
