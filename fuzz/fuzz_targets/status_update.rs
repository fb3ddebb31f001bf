//! A status update is accepted, or rejected with 400 or 422 naming its fields; an accepted one can be stored.
#![no_main]

use domain::provisioning::{DrivingWebhook, Provisioning, StatusUpdate};

libfuzzer_sys::fuzz_target!(|body: &[u8]| match StatusUpdate::parse(body) {
    Err(problem) => match problem.kind.status() {
        400 => {}
        422 => assert!(!problem.errors.is_empty()),
        other => panic!("{other}"),
    },
    Ok(update) => {
        assert!(update.progress.unwrap_or_default() <= 100);
        let now = chrono::DateTime::UNIX_EPOCH;
        let webhook = DrivingWebhook { id: 1, name: "GPU" };
        if let Ok(Some(next)) = Provisioning::waiting([webhook], now).after_update(webhook, &update, now) {
            let stored = serde_json::to_string(&next).unwrap();
            assert!(!stored.contains("\\u0000"));
            assert_eq!(serde_json::from_str::<Provisioning>(&stored).unwrap(), next);
        }
    }
});
