//! Standard error for log lines in text format. Names, ids and hosts of clients can contain line breaks, escape sequences
//! and bidirectional controls, which could forge lines or control a terminal.

use std::borrow::Cow;
use std::io::{self, Write};

/// Writes each log line to standard error, with control characters escaped.
pub(crate) struct LogWriter {
    /// Whether the lines contain colours.
    pub(crate) colours: bool,
}

impl Write for LogWriter {
    /// Writes one line. The formatter passes whole lines.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let (text, end) = text.strip_suffix('\n').map_or((&*text, ""), |text| (text, "\n"));
        io::stderr().lock().write_all(format!("{}{end}", escape(text, self.colours)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

/// Replaces control characters and bidirectional controls by escape sequences of Rust. Colours can stay.
fn escape(text: &str, colours: bool) -> Cow<'_, str> {
    if !text.contains(is_dangerous) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(at) = rest.find(is_dangerous) {
        let (before, dangerous) = rest.split_at(at);
        escaped.push_str(before);
        let colour = if colours { colour_length(dangerous) } else { 0 };
        let mut characters = dangerous.chars();
        if colour > 0 {
            escaped.push_str(&dangerous[..colour]);
            rest = &dangerous[colour..];
        } else {
            escaped.extend(characters.next().into_iter().flat_map(char::escape_default));
            rest = characters.as_str();
        }
    }
    escaped.push_str(rest);
    Cow::Owned(escaped)
}

/// Whether a character can forge a line, or change how a terminal shows it.
fn is_dangerous(c: char) -> bool {
    (c.is_control() && c != '\t')
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Length of the colour sequence (`ESC [ digits m`) at the start; 0 without one.
fn colour_length(text: &str) -> usize {
    let Some(parameters) = text.strip_prefix("\u{1b}[") else { return 0 };
    match parameters.find(|c: char| !c.is_ascii_digit() && c != ';') {
        Some(end) if parameters[end..].starts_with('m') => "\u{1b}[".len() + end + 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_other_text_stays() {
        for text in ["", "plain", "tab\tand ümlaut → 😀"] {
            assert_eq!(escape(text, false), text);
        }
        assert_eq!(escape("a\r\nFORGED\u{0}", false), "a\\r\\nFORGED\\u{0}");
        assert_eq!(escape("\u{1b}[31mred\u{9b}", false), "\\u{1b}[31mred\\u{9b}");
        assert_eq!(escape("\u{202e}x\u{2066}\u{2028}", false), "\\u{202e}x\\u{2066}\\u{2028}");
        // With colours, only colours stay.
        assert_eq!(escape("\u{1b}[1;31mred\u{1b}[0m\n", true), "\u{1b}[1;31mred\u{1b}[0m\\n");
        assert_eq!(escape("\u{1b}[2Jx\u{1b}[", true), "\\u{1b}[2Jx\\u{1b}[");
    }
}
