//! No struct with a secret derives `Debug`: a log line or a failed assertion would show it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// Names of fields that have secrets in clear text.
const SECRETS: [&str; 9] = [
    "access_token",
    "client_secret",
    "code",
    "current_password",
    "id_token",
    "password",
    "recovery_code",
    "secret",
    "token",
];
/// Crates whose sources are searched.
const CRATES: [&str; 5] = ["app", "delivery", "domain", "server", "service"];
/// Fields with such a name that are hashed, encrypted or no secret, by file.
const EXCEPTIONS: [(&str, &str); 7] = [
    // Encrypted columns.
    ("service/src/db/entity/alert_channel.rs", "secret"),
    ("service/src/db/entity/authenticator_apps.rs", "secret"),
    ("service/src/db/entity/webhooks.rs", "secret"),
    ("service/src/db/entity/sessions.rs", "id_token"),
    ("service/src/db/entity/setup_code.rs", "code"),
    // The token of a lease.
    ("service/src/db/queue_leases.rs", "token"),
    // The code of a diagnosis or of a problem.
    ("domain/src/delivery.rs", "code"),
];

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The fields with texts of structs and enums that derive `Debug`, with their names.
fn debug_fields(text: &str) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let (mut derives_debug, mut name) = (false, None::<String>);
    for line in text.lines() {
        let line_start = line.trim_start();
        if line_start.starts_with("#[derive(") {
            derives_debug = line_start.contains("Debug");
        }
        let words: Vec<&str> = line_start.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        if let Some(at) = words.iter().position(|word| matches!(*word, "struct" | "enum"))
            && !line_start.starts_with("//")
            && !line_start.starts_with('#')
        {
            name = words.get(at + 1).filter(|_| derives_debug).map(|name| (*name).to_owned());
            derives_debug = false;
        }
        if line == "}" {
            name = None;
        }
        let Some((field, kind)) = line_start.trim_end_matches(',').split_once(": ") else { continue };
        let field = field.rsplit(' ').next().unwrap_or_default();
        let is_text = matches!(kind, "String" | "Option<String>" | "Arc<str>");
        if let Some(name) = &name
            && is_text
        {
            fields.push((name.clone(), field.to_owned()));
        }
    }
    fields
}

#[test]
fn no_struct_with_a_secret_derives_debug() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = Vec::new();
    let mut seen = 0;
    for name in CRATES {
        let mut files = Vec::new();
        sources(&root.join(name).join("src"), &mut files);
        for file in files {
            let path = file.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            let fields = debug_fields(&fs::read_to_string(&file).unwrap());
            seen += fields.len();
            for (owner, field) in fields {
                if SECRETS.contains(&field.as_str()) && !EXCEPTIONS.contains(&(path.as_str(), field.as_str())) {
                    found.push(format!("{path}: {owner}.{field}"));
                }
            }
        }
    }
    assert!(seen > 100, "fields should be found: {seen}");
    assert!(found.is_empty(), "use domain::redacted_debug! for:\n{}", found.join("\n"));
}

#[test]
fn fields_are_found_in_structs_that_derive_debug() {
    let text = "#[derive(Debug, Clone)]\npub struct A {\n    /// Password.\n    pub password: String,\n}\n\n#[derive(Clone)]\n\
                struct B {\n    token: String,\n}\n#[derive(Clone, Debug)]\n#[serde(default)]\nenum C {\n    D {\n        secret: \
                Option<String>,\n    },\n}\n";
    let expected = [("A".to_owned(), "password".to_owned()), ("C".to_owned(), "secret".to_owned())];
    assert_eq!(debug_fields(text), expected);
}
