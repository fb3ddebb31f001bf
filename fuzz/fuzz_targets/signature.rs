//! Arbitrary headers and secrets never panic; only the correct signature is accepted.
#![no_main]

use domain::signature::{Secret, sign_body, verify_body};

libfuzzer_sys::fuzz_target!(|input: (&str, &[u8], &str)| {
    let (secret, body, header) = input;
    let Ok(secret) = Secret::parse(secret) else { return };
    let valid = sign_body(&secret, body);
    assert!(verify_body(&secret, body, &valid));
    assert_eq!(
        verify_body(&secret, body, header),
        header.eq_ignore_ascii_case(&valid) && header.starts_with("sha256=")
    );
});
