//! The static checks: `cargo xtask check`.

mod features;
mod layers;
mod modules;

use crate::progress::{Step, note};
use crate::workspace::{Workspace, succeeds};
use crate::{browser, fuzz, tools};
use anyhow::{Context as _, bail};
use clap::ValueEnum;
use xshell::cmd;

/// The long help of `cargo xtask check`.
pub const HELP: &str = "\
Run static checks and short fuzzing.

Every check runs even if an earlier one fails. The failed checks are listed at the end. To run only some checks, name them:

    cargo xtask check clippy typos

`cargo xtask test`, and so .ci/run, begins with fmt, features, layers, modules, clippy and doc. It runs types before the browser tests. These checks
need only the toolchain and Node. The other checks run only here. On first use, deny, unused, typos and openapi each install a tool
with a pinned version, which can take several minutes. fuzz needs a nightly toolchain. If a requirement is missing (Node, nightly, the
advisory database), the check prints a notice and passes.

Tools are stored in $BERTH_TOOLS_DIR, or in berth/tools in the user's cache folder.";

/// The manifest of this crate, which is a separate workspace.
pub const XTASK: &str = "xtask/Cargo.toml";
/// The manifest of the fuzz targets, which are a workspace of their own.
const FUZZ: &str = "fuzz/Cargo.toml";
/// The manifests of the workspaces whose dependencies are checked.
const MANIFESTS: [&str; 2] = ["Cargo.toml", XTASK];
/// Duration of fuzzing for each target in seconds.
const FUZZ_SECONDS: u32 = 10;

/// One check.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Check {
    /// Formatting (rustfmt).
    Fmt,
    /// Lints of the server and of the page (clippy); warnings are errors.
    Clippy,
    /// Forbidden dependencies between crates.
    Layers,
    /// Cycles between the top-level modules of a crate.
    Modules,
    /// Features of dependencies that only the tests enable.
    Features,
    /// Documentation (rustdoc); warnings are errors.
    Doc,
    /// Types of the browser tests (tsc). Needs Node.
    Types,
    /// Licences, sources, banned crates, security advisories (cargo-deny).
    Deny,
    /// Unused dependencies (cargo-shear).
    Unused,
    /// Spelling (typos).
    Typos,
    /// The OpenAPI document, with Redocly's recommended rules. Needs Node.
    Openapi,
    /// Ten seconds of each fuzz target. Needs a nightly toolchain.
    Fuzz,
}

impl Check {
    /// Checks that `cargo xtask test` runs first, the fastest ones at the beginning. They need only the toolchain.
    pub const BEFORE_TESTS: [Self; 6] =
        [Self::Fmt, Self::Features, Self::Layers, Self::Modules, Self::Clippy, Self::Doc];

    fn title(self) -> &'static str {
        match self {
            Self::Fmt => "Formatting",
            Self::Clippy => "Lints",
            Self::Layers => "Layers",
            Self::Modules => "Module cycles",
            Self::Features => "Features of dependencies",
            Self::Doc => "Documentation",
            Self::Types => "Types of the browser tests",
            Self::Deny => "Licences, sources, bans and advisories",
            Self::Unused => "Unused dependencies",
            Self::Typos => "Spelling",
            Self::Openapi => "OpenAPI document",
            Self::Fuzz => "Fuzzing",
        }
    }

    fn run(self, workspace: &Workspace) -> anyhow::Result<()> {
        match self {
            Self::Fmt => format(workspace),
            Self::Clippy => lint(workspace),
            Self::Layers => layers::check(workspace),
            Self::Modules => modules::check(),
            Self::Features => features::check(workspace),
            Self::Doc => document(workspace),
            Self::Types => type_check(workspace),
            Self::Deny => deny(workspace),
            Self::Unused => find_unused_dependencies(workspace),
            Self::Typos => spell_check(workspace),
            Self::Openapi => lint_openapi(workspace),
            Self::Fuzz => fuzz_briefly(workspace),
        }
    }
}

/// Runs the named checks, or all. A failure does not stop the others; the error lists every failed check.
pub fn run(workspace: &Workspace, names: &[Check]) -> anyhow::Result<()> {
    let checks = if names.is_empty() { Check::value_variants() } else { names };
    let mut failures = Vec::new();
    for check in checks {
        let step = Step::begin(check.title());
        if let Err(error) = check.run(workspace) {
            failures.push(format!("{}: {error:#}", check.title()));
        }
        step.end();
    }
    if !failures.is_empty() {
        bail!("{} of {} checks failed:\n  {}", failures.len(), checks.len(), failures.join("\n  "));
    }
    Ok(())
}

fn format(workspace: &Workspace) -> anyhow::Result<()> {
    for manifest in ["Cargo.toml", XTASK, FUZZ] {
        cmd!(workspace.sh, "cargo fmt --manifest-path {manifest} --all --check").run().with_context(|| {
            format!("some files are not formatted; run: cargo fmt --all --manifest-path {manifest}")
        })?;
    }
    Ok(())
}

fn lint(workspace: &Workspace) -> anyhow::Result<()> {
    tools::install_wasm_target(workspace)?;
    cmd!(workspace.sh, "cargo clippy --workspace --exclude frontend --all-targets -- -D warnings").run()?;
    // The release splits the page. The development build, which does not, compiles the rest.
    cmd!(
        workspace.sh,
        "cargo clippy --package frontend --features split --target wasm32-unknown-unknown -- -D warnings"
    )
    .run()?;
    let target = workspace.xtask_target();
    cmd!(workspace.sh, "cargo clippy --manifest-path {XTASK} --target-dir {target} --all-targets -- -D warnings")
        .run()?;
    Ok(())
}

fn document(workspace: &Workspace) -> anyhow::Result<()> {
    let _flags = workspace.sh.push_env("RUSTDOCFLAGS", "-D warnings");
    Ok(cmd!(workspace.sh, "cargo doc --workspace --exclude frontend --no-deps --quiet").run()?)
}

fn type_check(workspace: &Workspace) -> anyhow::Result<()> {
    if !browser::has_npm(workspace) {
        note("Skipped: Node is not installed.");
        return Ok(());
    }
    browser::type_check(workspace)
}

fn deny(workspace: &Workspace) -> anyhow::Result<()> {
    let cargo_deny = tools::CARGO_DENY.install(workspace)?;
    for manifest in MANIFESTS {
        cmd!(workspace.sh, "{cargo_deny} --manifest-path {manifest} --log-level error check bans licenses sources")
            .run()?;
    }
    if !succeeds(cmd!(workspace.sh, "{cargo_deny} fetch db")) {
        note(
            "Advisories skipped: the advisory database is not reachable from this machine. Bans, licences and sources passed.",
        );
        return Ok(());
    }
    for manifest in MANIFESTS {
        cmd!(workspace.sh, "{cargo_deny} --manifest-path {manifest} --log-level error check advisories").run()?;
    }
    Ok(())
}

fn find_unused_dependencies(workspace: &Workspace) -> anyhow::Result<()> {
    let cargo_shear = tools::CARGO_SHEAR.install(workspace)?;
    for folder in [".", "xtask", "fuzz"] {
        cmd!(workspace.sh, "{cargo_shear} {folder}").run()?;
    }
    Ok(())
}

fn spell_check(workspace: &Workspace) -> anyhow::Result<()> {
    let typos = tools::TYPOS.install(workspace)?;
    Ok(cmd!(workspace.sh, "{typos}").run()?)
}

/// Lints the document in the repository. A test compares it with the one that the server generates.
fn lint_openapi(workspace: &Workspace) -> anyhow::Result<()> {
    let Some(redocly) = tools::REDOCLY.install(workspace)? else { return Ok(()) };
    let lint = cmd!(workspace.sh, "{redocly} lint docs/openapi.json --config redocly.yaml");
    Ok(lint.env("REDOCLY_TELEMETRY", "off").env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true").run()?)
}

fn fuzz_briefly(workspace: &Workspace) -> anyhow::Result<()> {
    if !fuzz::has_nightly(workspace) {
        note("Skipped: no nightly toolchain is installed.");
        return Ok(());
    }
    fuzz::run(workspace, None, FUZZ_SECONDS)
}
