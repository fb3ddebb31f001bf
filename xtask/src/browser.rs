//! The browser tests in `end2end`.

use crate::frontend;
use crate::progress::Step;
use crate::test::Tally;
use crate::tools;
use crate::workspace::{Workspace, succeeds};
use anyhow::{Context as _, bail};
use std::path::Path;
use xshell::cmd;

/// Whether npm, the package manager of Node, is installed.
pub fn has_npm(workspace: &Workspace) -> bool {
    succeeds(cmd!(workspace.sh, "npm --version"))
}

/// Checks the types of the browser tests, and of the generated TypeScript client that they use.
pub fn type_check(workspace: &Workspace) -> anyhow::Result<()> {
    install_packages(workspace)?;
    let _folder = workspace.sh.push_dir("end2end");
    cmd!(workspace.sh, "npm run --silent generate").run()?;
    Ok(cmd!(workspace.sh, "npx tsc --noEmit").run()?)
}

/// Runs all browser tests, or only the specs whose file names contain one of the given words.
pub fn run(workspace: &Workspace, specs: &[String], tally: &mut Tally) -> anyhow::Result<()> {
    if !has_npm(workspace) {
        bail!("The browser tests need Node 20 or later with npm. Install it, or skip them with --no-browser.");
    }
    frontend::build(workspace, frontend::Profile::Dev)?;
    workspace.build_server(false)?;
    let step = Step::begin("Preparing the browser tests");
    type_check(workspace)?;
    let chromium = chromium(workspace)?;
    let api_tools = tools::install_api_tools(workspace)?;
    step.end();

    let step = Step::begin("Browser tests");
    let folder = workspace.sh.push_dir("end2end");
    let binary = std::env::var_os("BERTH_BINARY").unwrap_or_else(|| workspace.binary("berth", false).into());
    let mut playwright = cmd!(workspace.sh, "npx playwright test {specs...}").env("BERTH_BINARY", binary);
    if let Some(chromium) = chromium {
        playwright = playwright.env("BERTH_CHROMIUM", chromium);
    }
    if let Some(api_tools) = api_tools {
        playwright = playwright.env("BERTH_API_TOOLS", api_tools);
    }
    let result = playwright.run();
    drop(folder);
    let report =
        workspace.sh.read_file("end2end/test-results/report.json").context("The browser tests wrote no report.")?;
    let report: serde_json::Value = serde_json::from_str(&report)?;
    let count = |name: &str| report["stats"][name].as_u64().unwrap_or_default();
    let failed = count("unexpected") + count("flaky");
    tally.add(count("expected"), failed);
    step.end();
    match result {
        // Playwright can fail without a failed test, e.g. in its global setup.
        Err(error) if failed == 0 => Err(error.into()),
        _ => Ok(()),
    }
}

/// Installs the packages of `end2end`, unless they are installed.
pub fn install_packages(workspace: &Workspace) -> anyhow::Result<()> {
    // npm writes a copy of the installed lock file.
    let installed = std::fs::metadata("end2end/node_modules/.package-lock.json").and_then(|file| file.modified());
    let wanted = std::fs::metadata("end2end/package-lock.json").and_then(|file| file.modified());
    if matches!((installed, wanted), (Ok(installed), Ok(wanted)) if installed >= wanted) {
        return Ok(());
    }
    let _folder = workspace.sh.push_dir("end2end");
    Ok(cmd!(workspace.sh, "npm ci --no-audit --no-fund").run()?)
}

/// Finds or installs Chromium. Returns its path, or `None` for the one that Playwright installed.
fn chromium(workspace: &Workspace) -> anyhow::Result<Option<String>> {
    if let Ok(path) = std::env::var("BERTH_CHROMIUM") {
        return Ok(Some(path));
    }
    if let Some(path) = installed_chromium() {
        return Ok(Some(path));
    }
    if !tools::has_apt(workspace) {
        let step = Step::begin("Installing Chromium with Playwright");
        let _folder = workspace.sh.push_dir("end2end");
        cmd!(workspace.sh, "npx playwright install chromium").run()?;
        step.end();
        return Ok(None);
    }
    let step = Step::begin("Installing Chromium from Debian packages");
    tools::install_debian_packages(workspace, &["chromium"])?;
    step.end();
    let path =
        installed_chromium().context("Chromium is not installed. Install it, or set BERTH_CHROMIUM to its path.")?;
    Ok(Some(path))
}

fn installed_chromium() -> Option<String> {
    ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .map(str::to_owned)
}
