//! Parsing a response body never fails, and the result can be stored.
#![no_main]

use domain::event::EventType;
use domain::provisioning::{DrivingWebhook, Provisioning, ReceiverResponse};

libfuzzer_sys::fuzz_target!(|input: (u16, bool, &[u8])| {
    let (status, is_json, body) = input;
    let webhook = DrivingWebhook { id: 1, name: "GPU" };
    for event in EventType::ALL {
        let response = ReceiverResponse::parse(event, status, is_json, body);
        assert!(response.message.as_deref().unwrap_or_default().chars().count() <= 500);
        let now = chrono::DateTime::UNIX_EPOCH;
        let Some(next) = Provisioning::waiting([webhook], now).after_response(webhook, event, &response, now, now)
        else {
            continue;
        };
        let stored = serde_json::to_string(&next).unwrap();
        // PostgreSQL rejects NUL.
        assert!(!stored.contains("\\u0000"));
        assert_eq!(serde_json::from_str::<Provisioning>(&stored).unwrap(), next);
    }
});
