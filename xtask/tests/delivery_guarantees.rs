//! Checks that every test named in the tables of `docs/delivery.md`, and in `docs/security.md`, exists, and the numbers of
//! verdicts in `docs/security.md`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::path::Path;

/// Names of all functions in the Rust files below `folder`.
fn functions(folder: &Path, names: &mut HashSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && name != "node_modules" && !name.starts_with('.') {
            functions(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            names.extend(
                source.split("fn ").skip(1).map(|rest| {
                    rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>()
                }),
            );
        }
    }
}

#[test]
fn every_test_named_in_the_delivery_guarantees_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let document = std::fs::read_to_string(root.join("docs/delivery.md")).unwrap();
    let (_, tables) = document.split_once("## Guarantees").unwrap();
    let (tables, _) = tables.split_once("\n## ").unwrap();
    let mut existing = HashSet::new();
    functions(root, &mut existing);
    let mut named = 0;
    for row in tables.lines().filter(|line| line.starts_with("| ")) {
        let tests = row.trim_end_matches(['|', ' ']).rsplit('|').next().unwrap();
        for name in tests.split('`').skip(1).step_by(2).filter(|name| !name.contains('/')) {
            assert!(existing.contains(name), "docs/delivery.md names the test {name}, which does not exist");
            named += 1;
        }
    }
    assert!(named > 50, "the tables of docs/delivery.md name only {named} tests");
}

/// Whether a text in backquotes is the name of a test: at least three words in snake case.
fn is_test_name(text: &str) -> bool {
    text.matches('_').count() >= 2 && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

#[test]
fn every_test_named_in_the_security_document_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let document = std::fs::read_to_string(root.join("docs/security.md")).unwrap();
    let mut existing = HashSet::new();
    functions(root, &mut existing);
    let mut named = 0;
    for name in document.split('`').skip(1).step_by(2).filter(|text| is_test_name(text)) {
        assert!(existing.contains(name), "docs/security.md names the test {name}, which does not exist");
        named += 1;
    }
    assert!(named > 100, "docs/security.md names only {named} tests");
}

#[test]
fn verdicts_of_the_security_document_are_counted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let document = std::fs::read_to_string(root.join("docs/security.md")).unwrap();
    let rows: Vec<Vec<&str>> = document.lines().map(|line| line.split('|').map(str::trim).collect()).collect();
    for verdict in ["met", "partly", "not met", "delegated", "not applicable"] {
        // The table of verdicts has three columns, those of the requirements have four.
        let count = rows.iter().filter(|row| row.len() == 6 && row[3] == verdict).count().to_string();
        let is_stated = rows.iter().any(|row| row.len() == 5 && row[1] == verdict && row[2] == count);
        assert!(is_stated, "docs/security.md has {count} requirements with the verdict \"{verdict}\"");
    }
}
