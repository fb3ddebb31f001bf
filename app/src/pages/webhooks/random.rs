//! Random values for new secrets and keys.

use domain::signature::Secret;
use leptos::prelude::*;
use std::fmt::Write as _;

/// Random bytes of the browser's generator for cryptography. `None` if it has none.
fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    window().crypto().ok()?.get_random_values_with_u8_array(&mut bytes).ok()?;
    Some(bytes)
}

/// A new signing secret; empty if the browser cannot generate one. The server then does.
pub fn new_secret() -> String {
    random().map(|bytes| Secret::generate(bytes).expose().to_owned()).unwrap_or_default()
}

/// A new API key of 128 random bits; empty if the browser cannot generate one.
pub fn new_api_key() -> String {
    let bytes: [u8; 16] = random().unwrap_or_default();
    if bytes == [0; 16] {
        return String::new();
    }
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
