//! Texts that people copy into a terminal.

use serde::{Deserialize, Deserializer};

/// Whether a character can add a command (line breaks, ESC) or change the displayed order of a text (bidirectional
/// controls; Unicode Technical Report 36), or is invisible.
pub(super) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061C}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

/// Replaces unsafe characters by U+FFFD, so that the text visibly differs from what the service sent.
pub(super) fn sanitize(text: &str) -> String {
    text.chars().map(|c| if is_unsafe(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Reads an optional text, also one that an earlier release stored.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(|text| sanitize(&text)))
}

#[cfg(test)]
mod tests {
    use super::super::AccessInfo;
    use super::*;
    use serde_json::json;

    #[test]
    fn characters_that_hide_or_add_a_command_are_replaced() {
        assert_eq!(sanitize("ssh alice@192.0.2.1 -p 22"), "ssh alice@192.0.2.1 -p 22");
        assert_eq!(sanitize("ssh Zoë@hôte"), "ssh Zoë@hôte");
        for bad in
            ['\n', '\r', '\t', '\0', '\u{1b}', '\u{7f}', '\u{85}', '\u{202e}', '\u{2066}', '\u{200f}', '\u{2028}']
        {
            assert_eq!(sanitize(&format!("ssh a{bad}b")), "ssh a\u{fffd}b", "{bad:?}");
        }
    }

    #[test]
    fn stored_access_information_is_sanitized() {
        let stored = json!({"ip_address": "192.0.2.1", "connection_command": "ssh a\nrm -rf ~"});
        let info: AccessInfo = serde_json::from_value(stored).unwrap();
        assert_eq!(info.connection_command.as_deref(), Some("ssh a\u{fffd}rm -rf ~"));
        assert!(info.has_replaced_characters());
    }
}
