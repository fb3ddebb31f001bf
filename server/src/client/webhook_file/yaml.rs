//! YAML with the line of each value, so that an error names it; and the writing of YAML.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::iter::Peekable;

/// Deepest nesting that is read. The API accepts less.
const MAX_DEPTH: usize = 32;

/// A document: its value, and the line of each value by its path (`webhooks.0.name`).
#[derive(Debug, PartialEq)]
pub(super) struct Document {
    pub(super) value: Value,
    lines: BTreeMap<String, usize>,
}

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    /// A sentence with the line.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { events: Parser::new_from_str(text).peekable(), lines: BTreeMap::new() };
        let value = reader.document()?;
        Ok(Self { value, lines: reader.lines })
    }

    /// The line of a value, or of the closest one that contains it.
    pub(super) fn line(&self, path: &str) -> usize {
        let mut path = path;
        loop {
            if let Some(line) = self.lines.get(path) {
                return *line;
            }
            match path.rsplit_once('.') {
                Some((parent, _)) => path = parent,
                None => return 1,
            }
        }
    }
}

struct Reader<'a, I: Iterator<Item = Result<(Event<'a>, Span), saphyr_parser::ScanError>>> {
    events: Peekable<I>,
    lines: BTreeMap<String, usize>,
}

impl<'a, I: Iterator<Item = Result<(Event<'a>, Span), saphyr_parser::ScanError>>> Reader<'a, I> {
    fn next(&mut self) -> Result<(Event<'a>, usize), String> {
        match self.events.next() {
            Some(Ok((event, span))) => Ok((event, span.start.line())),
            Some(Err(error)) => Err(format!("line {}: {}", error.marker().line(), error.info())),
            None => Err("The file ends early.".into()),
        }
    }

    fn document(&mut self) -> Result<Value, String> {
        let mut value = None;
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return value.ok_or_else(|| "The file is empty.".into()),
                (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing, _) => {}
                (_, line) if value.is_some() => {
                    return Err(format!("line {line}: Write one document in the file, without further ---."));
                }
                (event, line) => value = Some(self.node(event, line, "", 0)?),
            }
        }
    }

    fn node(&mut self, event: Event<'a>, line: usize, path: &str, depth: usize) -> Result<Value, String> {
        self.lines.entry(path.to_owned()).or_insert(line);
        if depth > MAX_DEPTH {
            return Err(format!("line {line}: The values are nested too deeply."));
        }
        match event {
            Event::Scalar(_, _, _, Some(tag))
            | Event::SequenceStart(_, Some(tag))
            | Event::MappingStart(_, Some(tag)) => Err(format!("line {line}: Remove the tag {tag}.")),
            Event::Scalar(text, style, _, None) => match style {
                ScalarStyle::Plain => plain(&text).ok_or_else(|| format!("line {line}: {text} is not a number.")),
                _ => Ok(text.into_owned().into()),
            },
            Event::SequenceStart(_, None) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => return Ok(items.into()),
                        (event, line) => {
                            let path = child(path, &items.len().to_string());
                            items.push(self.node(event, line, &path, depth + 1)?);
                        }
                    }
                }
            }
            Event::MappingStart(_, None) => self.mapping(path, depth),
            Event::Alias(_) => Err(format!("line {line}: Aliases are not supported. Repeat the value.")),
            _ => Err(format!("line {line}: A value is missing.")),
        }
    }

    fn mapping(&mut self, path: &str, depth: usize) -> Result<Value, String> {
        let mut fields = Map::new();
        loop {
            let (key, line) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(fields.into()),
                (Event::Scalar(key, ..), line) => (key.into_owned(), line),
                (_, line) => return Err(format!("line {line}: A key must be a text.")),
            };
            if fields.contains_key(&key) {
                return Err(format!("line {line}: The key {key} occurs twice."));
            }
            let path = child(path, &key);
            self.lines.insert(path.clone(), line);
            let (event, line) = self.next()?;
            let value = self.node(event, line, &path, depth + 1)?;
            fields.insert(key, value);
        }
    }
}

fn child(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The value of a plain scalar (YAML 1.2 §10.3.2, core schema). `None` for a number that JSON cannot represent.
fn plain(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Value::Null),
        "true" | "True" | "TRUE" => return Some(true.into()),
        "false" | "False" | "FALSE" => return Some(false.into()),
        ".inf" | "-.inf" | "+.inf" | ".nan" => return None,
        _ => {}
    }
    if let Ok(number) = text.strip_prefix('+').unwrap_or(text).parse::<i64>() {
        return Some(number.into());
    }
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
        && text.bytes().any(|byte| byte.is_ascii_digit());
    match text.parse::<f64>() {
        Ok(number) if is_number => serde_json::Number::from_f64(number).map(Value::Number),
        _ => Some(text.into()),
    }
}

/// Writes a value in block style. Texts are in quotation marks, which are the same in JSON and YAML.
pub(super) fn write(value: &Value) -> String {
    let mut text = String::new();
    write_value(value, 0, &mut text);
    text
}

fn write_value(value: &Value, indent: usize, text: &mut String) {
    let margin = " ".repeat(indent);
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (n, (name, value)) in fields.iter().enumerate() {
                // The first field of a list item is on the line of its dash.
                if n > 0 || text.is_empty() || text.ends_with('\n') {
                    text.push_str(&margin);
                }
                text.push_str(name);
                text.push(':');
                write_child(value, indent, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                text.push_str(&margin);
                text.push_str("- ");
                match item {
                    Value::Object(fields) if !fields.is_empty() => write_value(item, indent + 2, text),
                    _ => {
                        text.push_str(&item.to_string());
                        text.push('\n');
                    }
                }
            }
        }
        other => {
            text.push_str(&other.to_string());
            text.push('\n');
        }
    }
}

/// Writes the value of a field: a list or an object on the following lines, others on the same one.
fn write_child(value: &Value, indent: usize, text: &mut String) {
    let is_block = match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => items.iter().any(|item| item.is_object() || item.is_array()),
        _ => false,
    };
    if is_block {
        text.push('\n');
        write_value(value, indent + 2, text);
    } else {
        text.push(' ');
        text.push_str(&flow(value));
        text.push('\n');
    }
}

/// A value in one line.
fn flow(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(Value::to_string).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_have_their_types_and_lines() {
        let text = "version: 1\nwebhooks:\n  - name: GPU # comment\n    rate: 1.5\n    none: ~\n    on: true\n    text: '1'\n    events:\n      - a\n      - \"b\\n\"\n    empty: []\n    big: 1e3\n    word: 1.2.3\n";
        let document = Document::parse(text).unwrap();
        let expected = json!({"version": 1, "webhooks": [{
            "name": "GPU", "rate": 1.5, "none": null, "on": true, "text": "1", "events": ["a", "b\n"], "empty": [],
            "big": 1000.0, "word": "1.2.3",
        }]});
        assert_eq!(document.value, expected);
        for (path, line) in [
            ("version", 1),
            ("webhooks.0.name", 3),
            ("webhooks.0.events.1", 10),
            ("webhooks.0.events.7.x", 8),
            ("zzz", 1),
        ] {
            assert_eq!(document.line(path), line, "{path}");
        }
    }

    #[test]
    fn errors_name_the_line() {
        for (text, error) in [
            ("", "The file is empty."),
            ("a: 1\na: 2\n", "line 2: The key a occurs twice."),
            ("a: &x 1\nb: *x\n", "line 2: Aliases are not supported. Repeat the value."),
            ("a: !!int 1\n", "line 1: Remove the tag"),
            ("a: 1\n---\nb: 1\n", "line 3: Write one document"),
            ("a:\n  - b\n c: d\n", "line 3: "),
            ("a: .inf\n", "line 1: .inf is not a number."),
            ("? [a]\n: 1\n", "line 1: A key must be a text."),
        ] {
            let found = Document::parse(text).unwrap_err();
            assert!(found.starts_with(error), "{text:?}: {found}");
        }
        Document::parse(&"[".repeat(100)).unwrap_err();
    }

    #[test]
    fn written_values_are_read_again() {
        let value = json!({"version": 1, "webhooks": [
            {"name": "a: \"b\" # c\n\u{1F680}\u{2028}", "events": ["x", "y"], "auth": {"method": "none"}, "headers": [], "limit": null},
            {"name": "z", "headers": [{"name": "A", "value": ""}, {"name": "B", "value": "true"}], "paths": {}, "on": false},
        ]});
        let text = write(&value);
        assert_eq!(Document::parse(&text).unwrap().value, value, "{text}");
        assert!(text.contains("    events: [\"x\", \"y\"]\n"), "{text}");
        assert!(text.starts_with("version: 1\nwebhooks:\n  - name: "), "{text}");
    }
}
