//! Features of dependencies that only the tests enable.
//!
//! `cargo build` and `cargo test` share a compiled dependency only if its features are equal. A feature that a dev-dependency
//! adds makes `cargo test` compile the dependency again, with everything that uses it.

use crate::workspace::Workspace;
use anyhow::bail;
use std::collections::BTreeSet;
use xshell::cmd;

/// Fails if a dependency of the server has other features in its tests.
pub fn check(workspace: &Workspace) -> anyhow::Result<()> {
    let built = resolve(workspace, "normal,build")?;
    let tested = resolve(workspace, "normal,build,dev")?;
    let different: Vec<&str> = built.difference(&tested).map(String::as_str).collect();
    if !different.is_empty() {
        bail!(
            "the tests change the features of these packages, so they are compiled twice:\n    {}\n  Find the dev-dependency: \
             cargo tree --workspace --exclude frontend --edges dev,features --invert <package>",
            different.join("\n    ")
        );
    }
    Ok(())
}

/// Each package with its features, as resolved for these kinds of dependencies.
fn resolve(workspace: &Workspace, edges: &str) -> anyhow::Result<BTreeSet<String>> {
    let format = "{p} {f}";
    let tree =
        cmd!(workspace.sh, "cargo tree --workspace --exclude frontend --edges {edges} --prefix none --format {format}")
            .quiet()
            .read()?;
    // A package that is listed before ends with this mark.
    Ok(tree.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect())
}
