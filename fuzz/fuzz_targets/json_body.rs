//! A JSON body is read from an object, or rejected with 400 or with 422 naming the field.
#![no_main]

use domain::account::UserPatch;
use domain::delivery::ReplayInput;
use domain::input::from_json;
use domain::reservation::ReservationInput;
use domain::webhook::{WebhookInput, WebhookPatch};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn check<T: DeserializeOwned + Serialize>(body: &[u8]) {
    match from_json::<T>(body) {
        Err(problem) => match problem.kind.status() {
            400 => {}
            422 => assert!(!problem.errors.is_empty() && problem.errors.iter().all(|error| !error.field.is_empty())),
            other => panic!("{other}"),
        },
        Ok(value) => {
            let sent: Value = serde_json::from_slice(body).expect("it is JSON");
            let sent = sent.as_object().expect("it is an object");
            // Nothing is ignored: every field that was sent is a field of the structure.
            let read = serde_json::to_value(&value).expect("it can be written");
            for name in sent.keys() {
                assert!(sent[name].is_null() || read.get(name).is_some(), "{name} was ignored");
            }
        }
    }
}

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    check::<WebhookInput>(body);
    check::<WebhookPatch>(body);
    check::<ReservationInput>(body);
    check::<ReplayInput>(body);
    check::<UserPatch>(body);
});
