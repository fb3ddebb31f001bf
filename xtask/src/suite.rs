//! Every test, in the order in which a mistake is found soonest.

use crate::page;
use crate::postgres::Postgres;
use crate::shell::{Step, command, say};
use crate::tools;
use anyhow::{Context as _, bail};
use std::path::Path;

/// What may never be in the page.
const NOT_IN_PAGE: [&str; 6] = ["service", "delivery", "axum", "tokio", "sea-orm", "server"];
/// What the rules may never need.
const NOT_IN_DOMAIN: [&str; 4] = ["tokio", "sea-orm", "reqwest", "leptos"];

/// Passed and failed tests.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    /// Adds up the closing lines of `cargo test`.
    fn read_cargo(&mut self, output: &str) {
        for line in output.lines().filter_map(|line| line.strip_prefix("test result: ")) {
            let number = |word: &str| {
                line.split(';')
                    .find_map(|part| {
                        part.trim().strip_suffix(word)?.rsplit(' ').find(|w| !w.is_empty())?.parse::<u64>().ok()
                    })
                    .unwrap_or_default()
            };
            self.passed += number(" passed");
            self.failed += number(" failed");
        }
    }
}

/// Formatting and lints.
pub fn lints() -> anyhow::Result<()> {
    let step = Step::begin("Formatting");
    command("cargo").args(["fmt", "--all", "--check"]).run().context("run: cargo fmt --all")?;
    step.end();
    tools::wasm_target()?;
    let step = Step::begin("Lints");
    command("cargo")
        .args(["clippy", "--workspace", "--exclude", "frontend", "--all-targets", "--", "-D", "warnings"])
        .run()?;
    command("cargo")
        .args([
            "clippy",
            "--package",
            "frontend",
            "--target",
            "wasm32-unknown-unknown",
            "--profile",
            "wasm-dev",
            "--",
            "-D",
            "warnings",
        ])
        .run()?;
    step.end();
    Ok(())
}

fn layers() -> anyhow::Result<()> {
    let step = Step::begin("Layers");
    let tree = |package: &str, target: &[&str]| {
        command("cargo")
            .args(["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}"])
            .args(target)
            .output()
    };
    let holds = |tree: &str, name: &str| tree.lines().any(|line| line.split(' ').next() == Some(name));
    let in_page = tree("frontend", &["--target", "wasm32-unknown-unknown"])?;
    for name in NOT_IN_PAGE {
        if holds(&in_page, name) {
            bail!("the page holds {name}: the WebAssembly build must depend on domain and leptos alone");
        }
    }
    let in_domain = tree("domain", &[])?;
    for name in NOT_IN_DOMAIN {
        if holds(&in_domain, name) {
            bail!("domain depends on {name}: the rules are pure");
        }
    }
    let in_service = tree("service", &[])?;
    for name in ["axum", "leptos", "app"] {
        if holds(&in_service, name) {
            bail!("service depends on {name}");
        }
    }
    step.end();
    Ok(())
}

fn documentation() -> anyhow::Result<()> {
    let step = Step::begin("Documentation");
    command("cargo")
        .args(["doc", "--workspace", "--exclude", "frontend", "--no-deps", "--quiet"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()?;
    step.end();
    Ok(())
}

fn chromium() -> anyhow::Result<String> {
    if let Ok(path) = std::env::var("BERTH_CHROMIUM") {
        return Ok(path);
    }
    let known = || {
        ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
            .into_iter()
            .find(|path| Path::new(path).exists())
    };
    if let Some(path) = known() {
        return Ok(path.to_owned());
    }
    if command("apt-get").args(["--version"]).works() {
        let step = Step::begin("Installing Chromium from Debian's packages");
        command("apt-get").args(["update"]).quiet().run()?;
        command("apt-get")
            .args(["install", "--yes", "--no-install-recommends", "chromium"])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .quiet()
            .run()?;
        step.end();
    } else {
        let step = Step::begin("Installing Chromium by Playwright");
        command("npx").args(["playwright", "install", "chromium"]).folder("end2end").run()?;
        step.end();
        // Playwright finds its own.
        return Ok(String::new());
    }
    known()
        .map(str::to_owned)
        .context("The browser tests need Chromium. Install it, or set BERTH_CHROMIUM to its path.")
}

/// The browser journeys; returns passed and failed.
fn browser(specs: &[String], tally: &mut Tally) -> anyhow::Result<()> {
    if !Path::new("end2end/package.json").exists() {
        return Ok(());
    }
    if !command("npm").args(["--version"]).works() {
        bail!("The browser tests need Node 20 or later with npm. Install it, or leave them out with --no-browser.");
    }
    page::build(page::Profile::Dev)?;
    crate::build_server(false)?;
    let step = Step::begin("Installing the browser tests");
    command("npm").args(["ci", "--no-audit", "--no-fund"]).folder("end2end").run()?;
    let chromium = chromium()?;
    step.end();
    let step = Step::begin("Browser tests");
    let mut run = command("npx").args(["playwright", "test"]).args(specs).folder("end2end");
    if !chromium.is_empty() {
        run = run.env("BERTH_CHROMIUM", chromium);
    }
    let ran = run.run();
    let report =
        std::fs::read_to_string("end2end/test-results/report.json").context("the browser tests left no report")?;
    let report: serde_json::Value = serde_json::from_str(&report)?;
    let count = |name: &str| report["stats"][name].as_u64().unwrap_or_default();
    tally.passed += count("expected");
    tally.failed += count("unexpected") + count("flaky");
    step.end();
    if let Err(error) = ran
        && count("unexpected") + count("flaky") == 0
    {
        return Err(error);
    }
    Ok(())
}

/// Runs all, or the part asked for; fails when any test did.
#[allow(clippy::print_stdout, reason = "the closing line is what callers read")]
pub fn run(no_browser: bool, only_browser: Option<&[String]>) -> anyhow::Result<()> {
    let mut tally = Tally::default();
    if let Some(specs) = only_browser {
        browser(specs, &mut tally)?;
    } else {
        lints()?;
        layers()?;
        documentation()?;
        let postgres = Postgres::find()?;
        let step = Step::begin("Rust tests");
        let (output, _) = command("cargo")
            .args(["test", "--workspace", "--exclude", "frontend", "--no-fail-fast"])
            .env("BERTH_TEST_POSTGRES", &postgres.url)
            .watched()?;
        tally.read_cargo(&output);
        step.end();
        if tally.passed == 0 {
            bail!("no Rust test ran: they did not compile");
        }
        if !no_browser {
            browser(&[], &mut tally)?;
        }
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed > 0 {
        say("Some tests failed; they are named above.");
        bail!("{} tests failed", tally.failed);
    }
    Ok(())
}
