//! Descriptions of JSON syntax errors without parser terms.

/// Describes a syntax error with its position: "Invalid JSON at line 1, column 52: missing `}`."
pub fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    let cause = text.strip_suffix(&position).unwrap_or(&text);
    format!("Invalid JSON at line {}, column {}: {}.", error.line(), error.column(), explain(cause))
}

/// Describes the cause. `serde_json` names it only in its message; an unknown message gets a general description.
fn explain(cause: &str) -> &'static str {
    match cause {
        "EOF while parsing an object" => "missing `}`",
        "EOF while parsing a list" => "missing `]`",
        "EOF while parsing a string" => "missing `\"` at the end of a string",
        "EOF while parsing a value" => "the text ends where a value is expected",
        "expected `:`" => "expected `:` after a field name",
        "expected `,` or `]`" => "expected `,` or `]`",
        "expected `,` or `}`" => "expected `,` or `}`",
        "expected ident" | "expected value" => {
            "expected a value: a string in double quotes, a number, true, false, null, `{` or `[`"
        }
        "expected `\"`" | "key must be a string" => "field names must be in double quotes",
        "invalid escape" | "unexpected end of hex escape" => "invalid escape sequence after `\\`",
        "invalid number" => "invalid number",
        "number out of range" => "the number is too large",
        "invalid unicode code point" | "lone leading surrogate in hex escape" => "a string is not valid Unicode",
        "trailing comma" => "remove the comma before the closing bracket",
        "trailing characters" => "unexpected text after the end",
        "recursion limit exceeded" => "it is nested too deeply",
        _ if cause.starts_with("control character") => {
            "a string contains a line break or control character; write it as `\\n` or `\\u000a`"
        }
        _ => "unexpected text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn syntax_errors_are_described_in_plain_words() {
        let describe = |text: &str| describe(&serde_json::from_str::<Value>(text).expect_err(text));
        for (text, expected) in [
            ("{\"a\": 1", "Invalid JSON at line 1, column 7: missing `}`."),
            ("[1,", "Invalid JSON at line 1, column 3: the text ends where a value is expected."),
            ("[1", "Invalid JSON at line 1, column 2: missing `]`."),
            ("", "Invalid JSON at line 1, column 0: the text ends where a value is expected."),
            ("{\"a", "Invalid JSON at line 1, column 3: missing `\"` at the end of a string."),
            ("{\n \"a\" 1}", "Invalid JSON at line 2, column 6: expected `:` after a field name."),
            ("{\"a\": 1,}", "Invalid JSON at line 1, column 9: remove the comma before the closing bracket."),
            ("{a: 1}", "Invalid JSON at line 1, column 2: field names must be in double quotes."),
            ("{} {}", "Invalid JSON at line 1, column 4: unexpected text after the end."),
        ] {
            assert_eq!(describe(text), expected, "{text}");
        }
        for text in [
            "nope",
            "[1 2]",
            "{\"a\" \"b\"}",
            "\"\\x\"",
            "\"\n\"",
            "01",
            "1e999",
            "\"\\ud800\"",
            &"[".repeat(200),
            "{1: 2}",
        ] {
            let description = describe(text);
            for jargon in ["EOF", "ident", "parsing", "surrogate", "recursion"] {
                assert!(!description.contains(jargon), "{text}: {description}");
            }
        }
    }
}
