//! Access information before the start of a reservation (docs/contract.md §12).

use super::Provisioning;
use crate::id::WebhookId;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Map;

/// Whether the access information of reservations is shown before their start. A setting of the resource type.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr, strum::EnumString,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum AccessBeforeStart {
    /// Hidden for services whose webhook provisions at the start, shown for the others.
    #[default]
    Automatic,
    /// Shown as soon as the service has sent it.
    Show,
    /// Hidden for every service until the start.
    Hide,
}

impl AccessBeforeStart {
    /// Every value, in the order of the form.
    pub const ALL: [Self; 3] = [Self::Automatic, Self::Show, Self::Hide];

    /// The wire name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The value with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    /// The label in the form.
    pub fn label(self) -> &'static str {
        match self {
            Self::Automatic => "Automatic",
            Self::Show => "Shown",
            Self::Hide => "Hidden",
        }
    }

    /// The explanation in the form, one sentence.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Automatic => "Hidden until the start for services that provision at the start, otherwise shown.",
            Self::Show => "Users see the access information as soon as the service has sent it.",
            Self::Hide => "Users see the access information from the start of their reservation on.",
        }
    }

    /// Whether the access information of a service is hidden before the start.
    pub fn hides(self, provisions_at_start: bool) -> bool {
        match self {
            Self::Automatic => provisions_at_start,
            Self::Show => false,
            Self::Hide => true,
        }
    }
}

/// The time before which the access information of a reservation can be hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EarlyAccess {
    /// The start; `None` if the reservation was cancelled before it, and never starts.
    pub available_at: Option<DateTime<Utc>>,
}

impl EarlyAccess {
    /// `None` if the reservation has started at `now`, so that nothing is hidden. `updated_at` is the time of its last change,
    /// which is the cancellation of a cancelled one.
    pub fn of(is_cancelled: bool, start: DateTime<Utc>, updated_at: DateTime<Utc>, now: DateTime<Utc>) -> Option<Self> {
        match is_cancelled {
            true => (updated_at < start).then_some(Self { available_at: None }),
            false => (now < start).then_some(Self { available_at: Some(start) }),
        }
    }
}

impl Provisioning {
    /// Whether a service has sent access information or details.
    pub fn has_access_info(&self) -> bool {
        let has = |access: bool, details: &Map<_, _>| access || !details.is_empty();
        has(self.access_info.is_some(), &self.details)
            || self.services.iter().any(|service| has(service.access_info.is_some(), &service.details))
    }

    /// Removes the access information and the details of the services that `hides` names by their webhooks, and records until
    /// when they are hidden. A state without services belongs to the webhook 0. Do not store the result.
    pub fn hide_access(&mut self, early: EarlyAccess, hides: impl Fn(WebhookId) -> bool) {
        if self.services.is_empty() {
            if hides(0) && self.has_access_info() {
                (self.access_info, self.details) = (None, Map::new());
                self.access_available_at = early.available_at;
            }
            return;
        }
        let mut is_hidden = false;
        for service in &mut self.services {
            if hides(service.webhook_id) && (service.access_info.is_some() || !service.details.is_empty()) {
                (service.access_info, service.details) = (None, Map::new());
                service.access_available_at = early.available_at;
                is_hidden = true;
            }
        }
        if is_hidden {
            *self = self.clone().derived();
            self.access_available_at = early.available_at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provisioning::DrivingWebhook;
    use chrono::Duration;
    use proptest::prelude::*;
    use serde_json::json;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + Duration::seconds(seconds)
    }

    /// The start of the reservation.
    const START: i64 = 100;

    /// A state with one service for each webhook: whether it has access information, and whether it has details.
    fn state(services: &[(bool, bool)]) -> Provisioning {
        const NAMES: [&str; 4] = ["a", "b", "c", "d"];
        let ids = 1..=services.len() as i64;
        let webhooks = ids.zip(NAMES).map(|(id, name)| DrivingWebhook { id, name });
        let mut state = Provisioning::waiting(webhooks, at(0));
        for (service, (access, details)) in state.services.iter_mut().zip(services) {
            let id = service.webhook_id;
            let command = access.then(|| json!({"connection_command": format!("ssh secret-{id}")}));
            service.access_info = command.map(|access| serde_json::from_value(access).unwrap());
            if *details {
                service.details.insert("node".into(), json!(format!("secret-{id}")));
            }
        }
        if state.services.is_empty() { state } else { state.derived() }
    }

    #[test]
    fn automatic_hides_only_services_that_provision_at_the_start() {
        let hides = |setting: AccessBeforeStart| [true, false].map(|at_start| setting.hides(at_start));
        assert_eq!(hides(AccessBeforeStart::default()), [true, false]);
        assert_eq!(hides(AccessBeforeStart::Show), [false, false]);
        assert_eq!(hides(AccessBeforeStart::Hide), [true, true]);
    }

    #[test]
    fn access_is_early_until_the_start_and_forever_after_a_cancellation_before_it() {
        let early = |is_cancelled, updated, now| EarlyAccess::of(is_cancelled, at(START), at(updated), at(now));
        let until_start = Some(EarlyAccess { available_at: Some(at(START)) });
        assert_eq!(early(false, 0, START - 1), until_start);
        assert_eq!(early(false, 0, START), None);
        assert_eq!(early(false, 0, START + 1), None);
        let never = Some(EarlyAccess { available_at: None });
        assert_eq!(early(true, START - 1, START + 50), never);
        assert_eq!(early(true, START, START + 50), None);
    }

    #[test]
    fn headline_shows_the_access_information_of_a_service_that_is_not_hidden() {
        let mut state = state(&[(true, true), (true, true)]);
        state.hide_access(EarlyAccess { available_at: Some(at(START)) }, |id| id == 1);
        assert_eq!(state.access_info, state.services[1].access_info);
        assert!(state.details.is_empty(), "the details were those of the hidden service");
        assert_eq!(state.access_available_at, Some(at(START)));
        let per_service: Vec<_> = state.services.iter().map(|service| service.access_available_at).collect();
        assert_eq!(per_service, [Some(at(START)), None]);
    }

    #[test]
    fn state_without_services_is_hidden_as_a_whole() {
        let mut stored = state(&[(true, true)]);
        stored.services.clear();
        let mut shown = stored.clone();
        shown.hide_access(EarlyAccess { available_at: Some(at(START)) }, |_| false);
        assert_eq!(shown, stored);
        stored.hide_access(EarlyAccess { available_at: Some(at(START)) }, |_| true);
        assert!(!serde_json::to_string(&stored).unwrap().contains("secret"));
        assert_eq!(stored.access_available_at, Some(at(START)));
    }

    proptest! {
        /// No value of a hidden service is left, every other service is unchanged, and so are the statuses.
        #[test]
        fn hidden_values_are_nowhere_in_the_state(
            services in prop::collection::vec((any::<bool>(), any::<bool>()), 0..4),
            hidden in prop::collection::vec(any::<bool>(), 4),
        ) {
            let before = state(&services);
            let mut after = before.clone();
            let hides = |id: WebhookId| usize::try_from(id).ok().and_then(|id| hidden.get(id)).copied().unwrap_or_default();
            after.hide_access(EarlyAccess { available_at: Some(at(START)) }, hides);
            let text = serde_json::to_string(&after).unwrap();
            for (old, new) in before.services.iter().zip(&after.services) {
                let has_values = old.access_info.is_some() || !old.details.is_empty();
                if hides(old.webhook_id) && has_values {
                    let secret = format!("secret-{}", old.webhook_id);
                    prop_assert!(!text.contains(&secret), "{}", text);
                    prop_assert_eq!(new.access_available_at, Some(at(START)));
                } else {
                    prop_assert_eq!(new, old);
                }
            }
            prop_assert_eq!(after.status, before.status);
            prop_assert_eq!(after.updated_at, before.updated_at);
        }
    }
}
