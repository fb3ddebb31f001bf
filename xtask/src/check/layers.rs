//! Forbidden dependencies between crates.

use crate::workspace::Workspace;
use anyhow::bail;
use xshell::cmd;

/// A crate with the packages that it must not depend on, directly or indirectly, and the reason.
struct Layer {
    package: &'static str,
    target: Option<&'static str>,
    forbidden: &'static [&'static str],
    reason: &'static str,
}

const LAYERS: [Layer; 4] = [
    Layer {
        package: "frontend",
        target: Some("wasm32-unknown-unknown"),
        forbidden: &["service", "delivery", "server", "axum", "tokio", "sea-orm"],
        reason: "the page contains only domain, app and what they need in the browser",
    },
    Layer {
        package: "domain",
        target: None,
        forbidden: &["tokio", "sea-orm", "reqwest", "leptos"],
        reason: "the rules are pure and build for browser and server",
    },
    Layer {
        package: "delivery",
        target: None,
        forbidden: &["service", "sea-orm", "sqlx", "leptos", "axum"],
        reason: "an attempt needs no database and no page",
    },
    Layer {
        package: "service",
        target: None,
        forbidden: &["app", "server", "axum", "leptos"],
        reason: "use cases depend on no transport",
    },
];

/// Fails if a crate depends on a forbidden package.
pub fn check(workspace: &Workspace) -> anyhow::Result<()> {
    for Layer { package, target, forbidden, reason } in LAYERS {
        let target = target.map(|target| ["--target", target]).into_iter().flatten();
        let format = "{p}";
        let tree = cmd!(
            workspace.sh,
            "cargo tree --package {package} --edges normal --prefix none --format {format} {target...}"
        )
        .quiet()
        .read()?;
        let is_dependency = |name: &str| tree.lines().any(|line| line.split(' ').next() == Some(name));
        if let Some(name) = forbidden.iter().find(|name| is_dependency(name)) {
            bail!(
                "{package} depends on {name}, but {reason}. Find the path: cargo tree --package {package} --invert {name}"
            );
        }
    }
    Ok(())
}
