//! An accepted URL contains no blocked address, in any notation.
#![no_main]

use domain::endpoint::{Network, UrlPolicy, check_url, classify};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = Network::parse(text);
    let policy = UrlPolicy::default();
    if check_url(text, &policy).is_ok() {
        assert!(text.is_ascii() || !text.contains(char::is_whitespace));
        let host = text.split("//").nth(1).unwrap_or_default().split(['/', '?']).next().unwrap_or_default();
        let host = host.trim_start_matches('[').split(']').next().unwrap_or_default();
        if let Ok(address) = host.parse() {
            assert_eq!(classify(address), None, "{text}");
        }
    }
});
