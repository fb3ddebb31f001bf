//! The search language of the delivery log: `status:failed webhook:"GPU" code:5xx -error:timeout "node 7"`.
//!
//! A search is a list of terms, and a delivery must match all of them. A term is `key:value`, a word, or a text in double
//! quotes; a leading `-` excludes its matches. A comma separates alternatives: `status:failed,cancelled`.

use crate::delivery::{DeliveryStatus, DiagnosisCode};
use crate::event::EventType;
use std::fmt;

/// Maximum number of characters of a search.
pub const MAX_LENGTH: usize = 500;
/// Maximum number of terms of a search.
pub const MAX_TERMS: usize = 20;
/// Maximum number of characters of an indexed word. Longer ones, such as keys in base64, are cut.
const MAX_WORD: usize = 40;

/// The keys, each with an example of its value.
pub const KEYS: [(&str, &str); 12] = [
    ("status", "failed"),
    ("webhook", "\"GPU provisioner\""),
    ("event", "reservation.created"),
    ("code", "5xx"),
    ("error", "timeout"),
    ("duration", ">1s"),
    ("attempts", ">1"),
    ("id", "dlv_01k"),
    ("user", "alice"),
    ("resource", "node-1"),
    ("test", "no"),
    ("text", "\"no free node\""),
];

/// Short names of causes for `error:`, beside the names of the diagnosis codes.
const CAUSES: [(&str, &[DiagnosisCode]); 10] = [
    ("timeout", &[DiagnosisCode::TimedOut]),
    ("tls", &[DiagnosisCode::TlsFailed, DiagnosisCode::CertificateInvalid]),
    ("certificate", &[DiagnosisCode::CertificateInvalid]),
    ("dns", &[DiagnosisCode::DnsFailed]),
    ("connection", &[DiagnosisCode::ConnectionRefused, DiagnosisCode::ConnectionFailed]),
    ("signature", &[DiagnosisCode::SignatureRefused]),
    ("credentials", &[DiagnosisCode::CredentialsRefused]),
    ("token", &[DiagnosisCode::TokenFailed]),
    ("body", &[DiagnosisCode::BodyRefused, DiagnosisCode::TooLargeForReceiver]),
    ("redirect", &[DiagnosisCode::Redirected]),
];

/// A parsed search.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Search {
    /// The terms, all of which a delivery must match.
    pub terms: Vec<Term>,
}

/// A term of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// Whether the term excludes its matches.
    pub negated: bool,
    /// The alternatives, one of which a delivery must match. Not empty.
    pub any: Vec<Criterion>,
}

/// What a delivery must have.
#[derive(Debug, Clone, PartialEq)]
pub enum Criterion {
    /// The current status.
    Status(DeliveryStatus),
    /// The webhook with this id.
    WebhookId(i64),
    /// A webhook whose name contains this text. Case is ignored.
    WebhookName(String),
    /// The event type.
    Event(EventType),
    /// A status code of the last response within this range, both ends included.
    Code(u16, u16),
    /// No response.
    NoResponse,
    /// The cause of the last failed attempt.
    Cause(DiagnosisCode),
    /// The duration of the last attempt in milliseconds.
    Duration(Comparison, f64),
    /// The number of failed and successful attempts.
    Attempts(Comparison, u32),
    /// A part of the id of the delivery, event, reservation or access request, in lower case.
    Id(String),
    /// The login name of the user who reserved.
    User(Pattern),
    /// The resource with this id.
    ResourceId(i64),
    /// A resource whose name contains this text. Case is ignored.
    ResourceName(String),
    /// Whether it is a test event.
    Test(bool),
    /// These words one after the other in the request, a response or a diagnosis; the last one can continue. Not empty.
    Text(Vec<String>),
}

/// A comparison with a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Greater.
    Greater,
    /// Greater or equal.
    AtLeast,
    /// Less.
    Less,
    /// Less or equal.
    AtMost,
    /// Equal.
    Equal,
}

/// A name, or the beginning of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// The whole name.
    Exactly(String),
    /// The name begins with this text: `ali*`.
    Prefix(String),
}

/// Why a text is no search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchError {
    /// Position of the wrong part: its first character, from 1.
    pub position: usize,
    /// The error and its remedy.
    pub message: String,
}

impl fmt::Display for SearchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Character {}: {}", self.position, self.message)
    }
}

impl std::error::Error for SearchError {}

impl From<SearchError> for crate::Problem {
    fn from(error: SearchError) -> Self {
        Self::field("q", error.to_string())
    }
}

/// The words of a text as the index contains them: letters and digits in lower case, at most 40 characters each.
pub fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| word.chars().flat_map(char::to_lowercase).filter(|c| c.is_alphanumeric()).take(MAX_WORD).collect())
        .filter(|word: &String| !word.is_empty())
}

/// A value or word of a search.
struct Part {
    text: String,
    quoted: bool,
    /// Position of its first character, from 1.
    at: usize,
}

struct Parser<'a> {
    rest: std::iter::Peekable<std::iter::Enumerate<std::str::Chars<'a>>>,
    length: usize,
}

impl Parser<'_> {
    /// Position of the next character, from 1.
    fn position(&mut self) -> usize {
        self.rest.peek().map_or(self.length, |(at, _)| *at) + 1
    }

    fn peek(&mut self) -> Option<char> {
        self.rest.peek().map(|(_, c)| *c)
    }

    /// Reads a text in quotes, after the first quote. `\"` and `\\` stand for a quote and a backslash.
    fn quoted(&mut self, at: usize) -> Result<Part, SearchError> {
        let mut text = String::new();
        while let Some((_, c)) = self.rest.next() {
            match c {
                '"' => return Ok(Part { text, quoted: true, at }),
                '\\' if matches!(self.peek(), Some('"' | '\\')) => text.extend(self.rest.next().map(|(_, c)| c)),
                c => text.push(c),
            }
        }
        Err(SearchError { position: at, message: "This quote has no end. Add a \" after the text.".into() })
    }

    /// Reads a value, up to white space or a comma.
    fn value(&mut self) -> Result<Part, SearchError> {
        let at = self.position();
        if self.peek() == Some('"') {
            self.rest.next();
            return self.quoted(at);
        }
        let mut text = String::new();
        while let Some(c) = self.peek().filter(|c| !c.is_whitespace() && *c != ',') {
            text.push(c);
            self.rest.next();
        }
        Ok(Part { text, quoted: false, at })
    }

    /// Reads a term.
    fn term(&mut self) -> Result<Term, SearchError> {
        let negated = self.peek() == Some('-');
        if negated {
            self.rest.next();
        }
        let at = self.position();
        if self.peek() == Some('"') {
            self.rest.next();
            let part = self.quoted(at)?;
            return Ok(Term { negated, any: vec![text(&part)?] });
        }
        let mut word = String::new();
        while let Some(c) = self.peek().filter(|c| !c.is_whitespace()) {
            self.rest.next();
            if c == ':' {
                return Ok(Term { negated, any: self.alternatives(&word, at)? });
            }
            word.push(c);
        }
        let part = Part { text: word, quoted: false, at };
        Ok(Term { negated, any: vec![free_word(&part)?] })
    }

    /// Reads the values after `key:`.
    fn alternatives(&mut self, key: &str, at: usize) -> Result<Vec<Criterion>, SearchError> {
        let key = key.to_lowercase();
        let Some((_, example)) = KEYS.iter().find(|(name, _)| *name == key) else {
            let keys = KEYS.map(|(name, _)| name).join(", ");
            let message = format!(
                "Unknown key \"{key}\". Use one of {keys}; to search for a text with a colon, put it in double quotes."
            );
            return Err(SearchError { position: at, message });
        };
        let mut any = Vec::new();
        loop {
            let part = self.value()?;
            if part.text.is_empty() {
                let message = format!("A value is missing, e.g. {key}:{example}.");
                return Err(SearchError { position: part.at, message });
            }
            let value = criteria(&key, &part).map_err(|message| SearchError { position: part.at, message })?;
            any.extend(value);
            if self.peek() != Some(',') {
                break;
            }
            self.rest.next();
        }
        match self.peek() {
            Some(c) if !c.is_whitespace() => {
                let message = "Add a space between the terms.".into();
                Err(SearchError { position: self.position(), message })
            }
            _ => Ok(any),
        }
    }
}

/// The criterion of a text.
fn text(part: &Part) -> Result<Criterion, SearchError> {
    let words: Vec<String> = words(&part.text).collect();
    if words.is_empty() {
        let message = "This text has no letter or digit. Enter the words to search for.".into();
        return Err(SearchError { position: part.at, message });
    }
    Ok(Criterion::Text(words))
}

/// The criterion of a word without a key: an id if it begins like one, otherwise a text.
fn free_word(part: &Part) -> Result<Criterion, SearchError> {
    let lower = part.text.to_lowercase();
    let is_id = ID_PREFIXES.iter().any(|prefix| lower.starts_with(prefix)) && lower.len() > 4;
    if is_id && let Ok(id) = id_part(&lower) {
        return Ok(Criterion::Id(id));
    }
    text(part)
}

/// The prefixes of the ids of deliveries, events, reservations and access requests.
pub const ID_PREFIXES: [&str; 4] = ["dlv_", "evt_", "rsv-", "acr_"];

fn id_part(text: &str) -> Result<String, String> {
    let id = text.trim_matches(['*', '…']).to_lowercase();
    let is_valid = (3..=40).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    if is_valid { Ok(id) } else { Err("Write at least 3 characters of an id, e.g. id:dlv_01k.".into()) }
}

/// The criteria of a value, one of which must be met.
fn criteria(key: &str, part: &Part) -> Result<Vec<Criterion>, String> {
    let value = part.text.as_str();
    let lower = value.to_lowercase();
    let number = |value: &str| if part.quoted { None } else { value.parse::<i64>().ok().filter(|id| *id > 0) };
    Ok(vec![match key {
        "status" => Criterion::Status(
            DeliveryStatus::parse(&lower)
                .ok_or_else(|| unknown("status", value, DeliveryStatus::ALL.iter().map(|status| status.as_str())))?,
        ),
        "webhook" => match number(value) {
            Some(id) => Criterion::WebhookId(id),
            None => Criterion::WebhookName(name_part(&lower)?),
        },
        "event" => return events(&lower),
        "code" => code(&lower)?,
        "error" => return causes(&lower),
        "duration" => {
            let (comparison, rest) = comparison(&lower);
            Criterion::Duration(comparison, milliseconds(rest)?)
        }
        "attempts" => {
            let (comparison, rest) = comparison(value);
            let number = rest.parse().map_err(|_| "Write a whole number, e.g. attempts:>1.".to_owned())?;
            Criterion::Attempts(comparison, number)
        }
        "id" => Criterion::Id(id_part(value)?),
        "user" => Criterion::User(match lower.strip_suffix(['*', '…']) {
            Some(prefix) => Pattern::Prefix(name_part(prefix)?),
            None => Pattern::Exactly(lower),
        }),
        "resource" => match number(value) {
            Some(id) => Criterion::ResourceId(id),
            None => Criterion::ResourceName(name_part(&lower)?),
        },
        "test" => match lower.as_str() {
            "yes" | "true" => Criterion::Test(true),
            "no" | "false" => Criterion::Test(false),
            _ => return Err("Write test:yes or test:no.".into()),
        },
        _ => text(part).map_err(|error| error.message)?,
    }])
}

/// A part of a name. An ellipsis or an asterisk at its ends has no meaning, because every part of the name matches.
fn name_part(value: &str) -> Result<String, String> {
    let part = value.trim_matches(['*', '…']);
    if part.is_empty() { Err("Write a part of the name.".into()) } else { Ok(part.to_owned()) }
}

fn unknown<'a>(kind: &str, value: &str, known: impl Iterator<Item = &'a str>) -> String {
    format!("Unknown {kind} \"{value}\". Use one of {}.", known.collect::<Vec<_>>().join(", "))
}

/// The event types with this name, or with this last part of it: `created` stands for `reservation.created`.
fn events(value: &str) -> Result<Vec<Criterion>, String> {
    let named = |event: &EventType| {
        let name = event.as_str();
        name == value || name.split('.').next_back() == Some(value)
    };
    let found: Vec<Criterion> = EventType::ALL.into_iter().filter(named).map(Criterion::Event).collect();
    if found.is_empty() {
        return Err(unknown("event", value, EventType::ALL.iter().map(|event| event.as_str())));
    }
    Ok(found)
}

/// A status code, a class such as `5xx`, a range such as `400-499`, or `none`.
fn code(value: &str) -> Result<Criterion, String> {
    if value == "none" {
        return Ok(Criterion::NoResponse);
    }
    let parse = |text: &str| text.parse::<u16>().ok().filter(|code| (100..=599).contains(code));
    let range = match value.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok()) {
        Some(class @ 1..=5) => Some((class * 100, class * 100 + 99)),
        _ => match value.split_once('-') {
            Some((from, to)) => parse(from).zip(parse(to)).filter(|(from, to)| from <= to),
            None => parse(value).map(|code| (code, code)),
        },
    };
    range
        .map(|(from, to)| Criterion::Code(from, to))
        .ok_or_else(|| "Write a status code, e.g. code:503, code:5xx, code:400-499 or code:none.".into())
}

/// The causes with this name: a diagnosis code or a short name.
fn causes(value: &str) -> Result<Vec<Criterion>, String> {
    let name = value.replace('-', "_");
    let short = CAUSES.iter().find(|(short, _)| *short == name).map(|(_, codes)| codes.to_vec());
    let codes = short.or_else(|| DiagnosisCode::parse(&name).map(|code| vec![code]));
    let codes = codes.ok_or_else(|| {
        let short = CAUSES.iter().map(|(short, _)| *short);
        let all = DiagnosisCode::FAILURES.iter().map(|code| code.as_str());
        unknown("error", value, short.chain(all))
    })?;
    Ok(codes.into_iter().map(Criterion::Cause).collect())
}

/// The comparison at the beginning of a value, and the rest. Without one, the value must be equal.
fn comparison(value: &str) -> (Comparison, &str) {
    let operators = [
        (">=", Comparison::AtLeast),
        ("<=", Comparison::AtMost),
        (">", Comparison::Greater),
        ("<", Comparison::Less),
        ("=", Comparison::Equal),
    ];
    operators
        .into_iter()
        .find_map(|(sign, comparison)| Some((comparison, value.strip_prefix(sign)?)))
        .unwrap_or((Comparison::Equal, value))
}

/// A duration with its unit in milliseconds: `250ms`, `1.5s`, `2m`.
fn milliseconds(value: &str) -> Result<f64, String> {
    let units = [("ms", 1.0), ("s", 1_000.0), ("m", 60_000.0)];
    let split = units.into_iter().find_map(|(unit, factor)| Some((value.strip_suffix(unit)?, factor)));
    let number = split.and_then(|(number, factor)| Some(number.parse::<f64>().ok()? * factor));
    number
        .filter(|ms| ms.is_finite() && *ms >= 0.0)
        .ok_or_else(|| "Write a duration with its unit, e.g. duration:>1s, duration:<250ms or duration:>=2m.".into())
}

impl Search {
    /// Parses a search.
    ///
    /// # Errors
    /// The first wrong part with its position and the remedy.
    pub fn parse(text: &str) -> Result<Self, SearchError> {
        let length = text.chars().count();
        if length > MAX_LENGTH {
            let message = format!("A search has at most {MAX_LENGTH} characters. Shorten it.");
            return Err(SearchError { position: MAX_LENGTH + 1, message });
        }
        let mut parser = Parser { rest: text.chars().enumerate().peekable(), length };
        let mut terms = Vec::new();
        loop {
            while parser.peek().is_some_and(char::is_whitespace) {
                parser.rest.next();
            }
            if parser.peek().is_none() {
                return Ok(Self { terms });
            }
            let position = parser.position();
            if terms.len() == MAX_TERMS {
                let message = format!("A search has at most {MAX_TERMS} terms. Remove some.");
                return Err(SearchError { position, message });
            }
            terms.push(parser.term()?);
        }
    }

    /// Whether a term needs the index of texts.
    pub fn needs_text(&self) -> bool {
        self.terms.iter().flat_map(|term| &term.any).any(|criterion| matches!(criterion, Criterion::Text(_)))
    }

    /// Whether a term that is not negated selects a status.
    pub fn selects_status(&self) -> bool {
        let selects =
            |term: &Term| !term.negated && term.any.iter().all(|criterion| matches!(criterion, Criterion::Status(_)));
        self.terms.iter().any(selects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(text: &str) -> Vec<Criterion> {
        let search = Search::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(search.terms.len(), 1, "{text}");
        search.terms[0].any.clone()
    }

    fn error(text: &str) -> (usize, String) {
        let error = Search::parse(text).unwrap_err();
        (error.position, error.message)
    }

    #[test]
    fn terms_of_each_key_are_read() {
        use Criterion::*;
        use DiagnosisCode::{CertificateInvalid, TimedOut, TlsFailed};
        let words = |words: &[&str]| Text(words.iter().map(|word| (*word).to_owned()).collect());
        let cases: [(&str, Vec<Criterion>); 27] = [
            ("status:failed", vec![Status(DeliveryStatus::Failed)]),
            ("STATUS:Failed", vec![Status(DeliveryStatus::Failed)]),
            ("status:failed,cancelled", vec![Status(DeliveryStatus::Failed), Status(DeliveryStatus::Cancelled)]),
            ("webhook:7", vec![WebhookId(7)]),
            ("webhook:\"7\"", vec![WebhookName("7".into())]),
            ("webhook:\"GPU…\"", vec![WebhookName("gpu".into())]),
            ("event:reservation.created", vec![Event(EventType::ReservationCreated)]),
            ("event:created", vec![Event(EventType::ReservationCreated)]),
            ("code:503", vec![Code(503, 503)]),
            ("code:5xx", vec![Code(500, 599)]),
            ("code:400-404", vec![Code(400, 404)]),
            ("code:none", vec![NoResponse]),
            ("error:timeout", vec![Cause(TimedOut)]),
            ("error:timed_out", vec![Cause(TimedOut)]),
            ("error:tls", vec![Cause(TlsFailed), Cause(CertificateInvalid)]),
            ("duration:>1s", vec![Duration(Comparison::Greater, 1_000.0)]),
            ("duration:<=1.5s", vec![Duration(Comparison::AtMost, 1_500.0)]),
            ("duration:250ms", vec![Duration(Comparison::Equal, 250.0)]),
            ("attempts:>1", vec![Attempts(Comparison::Greater, 1)]),
            ("id:DLV_01k", vec![Id("dlv_01k".into())]),
            ("dlv_01kabc", vec![Id("dlv_01kabc".into())]),
            ("user:alice", vec![User(Pattern::Exactly("alice".into()))]),
            ("user:ali*", vec![User(Pattern::Prefix("ali".into()))]),
            ("resource:node-1", vec![ResourceName("node-1".into())]),
            ("test:no", vec![Test(false)]),
            ("\"No free node!\"", vec![words(&["no", "free", "node"])]),
            ("text:node-1", vec![words(&["node", "1"])]),
        ];
        for (text, expected) in cases {
            assert_eq!(one(text), expected, "{text}");
        }
    }

    #[test]
    fn terms_are_separated_by_white_space_and_negated_by_a_hyphen() {
        let search = Search::parse("  status:failed\t-error:timeout  -\"a b\" word-with-hyphen ").unwrap();
        assert_eq!(search.terms.iter().map(|term| term.negated).collect::<Vec<_>>(), [false, true, true, false]);
        assert_eq!(search.terms[3].any, [Criterion::Text(vec!["word".into(), "with".into(), "hyphen".into()])]);
        assert_eq!(Search::parse("").unwrap(), Search::default());
        assert!(search.needs_text() && search.selects_status());
        assert!(!Search::parse("-status:failed code:5xx").unwrap().selects_status());
    }

    #[test]
    fn errors_name_the_position_and_the_remedy() {
        let (position, message) = error("status:failed stat:x");
        assert_eq!(position, 15);
        assert!(message.contains("\"stat\"") && message.contains("status, webhook") && message.contains("quotes"));
        let (position, message) = error("status:broken");
        assert_eq!(position, 8);
        assert!(message.contains("\"broken\"") && message.contains("failed"), "{message}");
        assert_eq!(error("a \"b c").0, 3);
        assert_eq!(error("code:"), (6, "A value is missing, e.g. code:5xx.".into()));
        assert_eq!(error("status:failed,").0, 15);
        assert_eq!(error("webhook:\"a\"b").0, 12);
        for (text, remedy) in [
            ("code:abc", "code:5xx"),
            ("code:700", "code:503"),
            ("code:499-400", "code:400-499"),
            ("duration:>1", "duration:>1s"),
            ("duration:>-1s", "duration:>1s"),
            ("attempts:many", "attempts:>1"),
            ("id:x", "id:dlv_01k"),
            ("error:nonsense", "timeout"),
            ("event:moved", "reservation.created"),
            ("test:maybe", "test:yes"),
            ("user:*", "part of the name"),
            ("!!!", "letter or digit"),
            ("https://a.example", "double quotes"),
        ] {
            let (_, message) = error(text);
            assert!(message.contains(remedy), "{text}: {message}");
        }
        assert!(error(&"a ".repeat(MAX_TERMS + 1)).1.contains("20 terms"));
        assert!(error(&"a".repeat(MAX_LENGTH + 1)).1.contains("500 characters"));
        let problem = crate::Problem::from(Search::parse("stat:x").unwrap_err());
        assert!(problem.message_for("q").unwrap().starts_with("Character 1: Unknown key"));
    }

    #[test]
    fn words_are_letters_and_digits_in_lower_case() {
        let list = |text: &str| words(text).collect::<Vec<_>>();
        assert_eq!(list("{\"user\": \"Größe-7\"}"), ["user", "größe", "7"]);
        assert_eq!(list("  \n"), [""; 0]);
        assert_eq!(list(&"x".repeat(100)), ["x".repeat(MAX_WORD)]);
    }

    proptest! {
        #[test]
        fn every_text_is_parsed_or_refused_within_it(text in "(?s).{0,80}") {
            if let Err(error) = Search::parse(&text) {
                prop_assert!((1..=text.chars().count() + 1).contains(&error.position), "{error}");
            }
        }

        #[test]
        fn quoted_texts_are_read_back(text in "[ -~]{0,40}", word in "[a-z]{1,8}") {
            let quoted = format!("\"{word} {}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            let expected: Vec<String> = words(&format!("{word} {text}")).collect();
            prop_assert_eq!(one(&quoted), vec![Criterion::Text(expected.clone())]);
            prop_assert_eq!(one(&format!("text:{quoted}")), vec![Criterion::Text(expected)]);
        }

        #[test]
        fn words_of_words_are_the_same(text in "(?s).{0,80}") {
            let once: Vec<String> = words(&text).collect();
            prop_assert_eq!(words(&once.join(" ")).collect::<Vec<_>>(), once);
        }
    }
}
