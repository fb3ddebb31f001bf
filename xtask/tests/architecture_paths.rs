//! Checks that every path named in `ARCHITECTURE.md` exists, and every function named after its file; and that every path
//! named in `docs/security.md` exists.

use std::path::Path;

/// Text in backquotes, with the text that follows it.
fn quoted(document: &str) -> impl Iterator<Item = (&str, &str)> {
    let parts: Vec<&str> = document.split('`').collect();
    (1..parts.len() - 1).step_by(2).map(move |n| (parts[n], parts[n + 1])).collect::<Vec<_>>().into_iter()
}

#[test]
fn every_path_and_function_in_the_architecture_document_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let document = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let (_, document) = document.split_once("## Dependency rule").unwrap();
    let (mut file, mut in_parentheses, mut paths) = (String::new(), false, 0);
    for (text, after) in quoted(document) {
        if text.contains('/') && text.contains("src") {
            assert!(root.join(text).exists(), "ARCHITECTURE.md names {text}, which does not exist");
            file = std::fs::read_to_string(root.join(text)).unwrap_or_default();
            in_parentheses = after.trim() == "(";
            paths += 1;
        } else if in_parentheses {
            assert!(
                file.contains(&format!("fn {text}")),
                "ARCHITECTURE.md names the function {text} in a file without it"
            );
            in_parentheses = after.trim() == ",";
        }
    }
    assert!(paths > 30, "ARCHITECTURE.md names only {paths} paths");
}

#[test]
fn every_path_in_the_security_document_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let document = std::fs::read_to_string(root.join("docs/security.md")).unwrap();
    let mut paths = 0;
    for (text, _) in quoted(&document) {
        // Routes begin with a slash, and commands contain spaces.
        if text.contains('/') && !text.starts_with('/') && !text.contains([' ', '\n', ':']) {
            assert!(root.join(text).exists(), "docs/security.md names {text}, which does not exist");
            paths += 1;
        }
    }
    assert!(paths > 50, "docs/security.md names only {paths} paths");
}
