//! The stored form of provisioning states.
//!
//! Each new reservation and each first response writes a state. Nearly always it has one service, whose state is the
//! headline. Only the webhook of such a service is stored, which makes the text less than half as long.

use super::codec;
use super::column::StoredJson;
use chrono::{DateTime, Utc};
use domain::Problem;
use domain::id::WebhookId;
use domain::provisioning::{AccessInfo, DrivingWebhook, Provisioning, ProvisioningStatus};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// A state whose only service is as the headline. The previous release reads it as a state without services.
#[derive(Serialize)]
struct WithOnlyService<'a> {
    status: ProvisioningStatus,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_ready_time: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_info: Option<&'a AccessInfo>,
    details: &'a Map<String, Value>,
    updated_at: DateTime<Utc>,
    /// Id and name of the webhook.
    only_service: (WebhookId, &'a str),
}

/// The part of [`WithOnlyService`] that a [`Provisioning`] does not have.
#[derive(Deserialize)]
struct OnlyService<'a> {
    #[serde(borrow)]
    only_service: Option<(WebhookId, Cow<'a, str>)>,
}

impl StoredJson for Provisioning {
    fn from_json(text: &str) -> serde_json::Result<Self> {
        let state: Self = serde_json::from_str(text).or_else(|_| {
            let mut stored: Value = serde_json::from_str(text)?;
            replace_unknown_statuses(&mut stored);
            serde_json::from_value(stored)
        })?;
        if !state.services.is_empty() {
            return Ok(state);
        }
        let OnlyService { only_service } = serde_json::from_str(text)?;
        Ok(match only_service {
            Some((id, name)) => state.with_only_service(DrivingWebhook { id, name: &name }),
            None => state,
        })
    }

    fn to_json(&self) -> serde_json::Result<String> {
        let Some(webhook) = self.only_service() else { return serde_json::to_string(self) };
        serde_json::to_string(&WithOnlyService {
            status: self.status,
            message: &self.message,
            progress: self.progress,
            estimated_ready_time: self.estimated_ready_time.as_deref(),
            access_info: self.access_info.as_ref(),
            details: &self.details,
            updated_at: self.updated_at,
            only_service: (webhook.id, webhook.name),
        })
    }
}

/// The text to store for a state.
pub(crate) fn to_stored(state: &Provisioning) -> Result<String, Problem> {
    state.to_json().map_err(codec::not_written)
}

/// The state of a stored text.
pub(crate) fn from_stored(text: &str) -> Result<Provisioning, Problem> {
    Provisioning::from_json(text).map_err(codec::not_read)
}

/// Replaces unknown provisioning statuses by `provisioning`, which promises nothing.
fn replace_unknown_statuses(stored: &mut Value) {
    match stored {
        Value::Array(elements) => elements.iter_mut().for_each(replace_unknown_statuses),
        Value::Object(fields) => {
            for (name, value) in fields {
                let is_unknown = |status: &str| ProvisioningStatus::ALL.iter().all(|known| known.as_str() != status);
                if name == "status" && value.as_str().is_some_and(is_unknown) {
                    *value = ProvisioningStatus::Provisioning.as_str().into();
                } else {
                    replace_unknown_statuses(value);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::event::EventType;
    use domain::provisioning::ReceiverResponse;

    const A: DrivingWebhook<'static> = DrivingWebhook { id: 1, name: "Machines \"A\"" };
    const B: DrivingWebhook<'static> = DrivingWebhook { id: 2, name: "Network" };
    const START: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn ready() -> ReceiverResponse {
        let body =
            br#"{"status":"success","message":"Done","details":{"rack":7,"access_info":{"ip_address":"192.0.2.1"}}}"#;
        ReceiverResponse::parse(EventType::ReservationCreated, 200, true, body)
    }

    #[test]
    fn states_are_read_as_they_were_stored() {
        let later = START + chrono::Duration::seconds(5);
        let first =
            Provisioning::after_first_response(A, EventType::ReservationCreated, &ready(), START, later).unwrap();
        let states = [
            Provisioning::waiting([], START),
            Provisioning::waiting([A], START),
            Provisioning::waiting([A, B], START),
            first.after_change(&[A], later),
            first.after_failure(B, EventType::ReservationUpdated, "500", later).unwrap(),
            first.on_release(&[A], later),
            first.clone(),
        ];
        for state in states {
            let text = state.to_json().unwrap();
            assert_eq!(Provisioning::from_json(&text).unwrap(), state, "{text}");
        }
        let texts = [first.to_json().unwrap(), serde_json::to_string(&first).unwrap()];
        assert!(texts[0].len() * 2 < texts[1].len(), "{texts:?}");
    }

    #[test]
    fn states_of_earlier_releases_are_read() {
        let text = r#"{"status":"ready","message":"","progress":null,"estimated_ready_time":null,"access_info":null,
            "details":{},"updated_at":"1970-01-01T00:00:00Z"}"#;
        let state = Provisioning::from_json(text).unwrap();
        assert_eq!((state.status, state.services.len()), (ProvisioningStatus::Ready, 0));
    }

    #[test]
    fn unknown_status_of_a_newer_release_is_read_as_provisioning() {
        for state in [Provisioning::waiting([], START), Provisioning::waiting([A], START)] {
            let text = state.to_json().unwrap().replace("waiting", "hibernating");
            assert_eq!(Provisioning::from_json(&text).unwrap().status, ProvisioningStatus::Provisioning);
        }
    }
}
