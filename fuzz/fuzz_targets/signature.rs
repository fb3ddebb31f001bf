//! Arbitrary headers and secrets never panic; only the correct signature is accepted.
#![no_main]

use domain::header::Header;
use domain::signature::{Secret, sign_body, verify_body};
use domain::signature_check::check_signature;

libfuzzer_sys::fuzz_target!(|input: (&str, &[u8], &str)| {
    let (secret, body, header) = input;
    for name in ["X-Webhook-Signature", "webhook-signature", "webhook-timestamp", "X-Other"] {
        let headers = [Header { name: name.to_owned(), value: header.to_owned() }];
        // Without an id, only the signature of the body can be valid.
        let report = check_signature(body, &headers, secret, &[], Default::default());
        let fits = Secret::parse(secret).is_ok_and(|secret| verify_body(&secret, body, header.trim()));
        assert!(!report.valid || name == "X-Webhook-Signature" && (fits || Secret::parse(secret).is_err()));
    }
    let Ok(secret) = Secret::parse(secret) else { return };
    let expected = sign_body(&secret, body);
    assert!(verify_body(&secret, body, &expected));
    assert_eq!(
        verify_body(&secret, body, header),
        header.eq_ignore_ascii_case(&expected) && header.starts_with("sha256=")
    );
});
