//! Runs all tests, the fastest first.

use crate::browser;
use crate::check::{self, Check, XTASK};
use crate::postgres::Postgres;
use crate::progress::{Step, note};
use crate::tools;
use crate::workspace::Workspace;
use anyhow::{Context as _, bail};
use std::io::{BufRead as _, Write as _};
use std::process::{Command, Stdio};
use xshell::{Cmd, cmd};

/// The numbers of passed and failed tests.
#[derive(Default)]
pub struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    /// Adds the results of one runner.
    pub fn add(&mut self, passed: u64, failed: u64) {
        self.passed += passed;
        self.failed += failed;
    }

    /// Adds the results that `cargo test` prints: `test result: ok. 12 passed; 0 failed; 0 ignored; …`.
    fn add_cargo_output(&mut self, output: &str) {
        for line in output.lines().filter_map(|line| line.strip_prefix("test result: ")) {
            let count = |label: &str| {
                let part = line.split(';').find_map(|part| part.trim().strip_suffix(label));
                part.and_then(|part| part.trim().rsplit(' ').next()?.parse().ok()).unwrap_or_default()
            };
            self.add(count("passed"), count("failed"));
        }
    }

    /// Prints the summary line for CI, and fails if a test failed.
    #[expect(clippy::print_stdout, reason = "the summary line is the result, which callers read from standard output")]
    fn report(&self) -> anyhow::Result<()> {
        println!("{} passed, {} failed", self.passed, self.failed);
        if self.failed > 0 {
            note("Some tests failed. Their names are above.");
            bail!("{} tests failed", self.failed);
        }
        Ok(())
    }
}

/// Runs the quick checks, the Rust tests and, with `with_browser`, the browser tests. Fails if any of them fails.
pub fn run(workspace: &Workspace, with_browser: bool) -> anyhow::Result<()> {
    check::run(workspace, &Check::BEFORE_TESTS)?;
    let mut tally = Tally::default();
    run_rust(workspace, &mut tally)?;
    if with_browser {
        browser::run(workspace, &[], &mut tally)?;
    }
    tally.report()
}

/// Runs only the browser tests.
pub fn run_browser(workspace: &Workspace, specs: &[String]) -> anyhow::Result<()> {
    let mut tally = Tally::default();
    browser::run(workspace, specs, &mut tally)?;
    tally.report()
}

fn run_rust(workspace: &Workspace, tally: &mut Tally) -> anyhow::Result<()> {
    let postgres = Postgres::find(workspace)?;
    let step = Step::begin("Rust tests");
    let target = workspace.xtask_target();
    run_cargo(cmd!(workspace.sh, "cargo test --manifest-path {XTASK} --target-dir {target}"), tally)?;
    // Both run receiver snippets (server/tests/api/snippets.rs), which are skipped without them.
    if browser::has_npm(workspace) {
        browser::install_packages(workspace)?;
    }
    let api_tools = tools::install_api_tools(workspace)?;
    let mut tests = cmd!(workspace.sh, "cargo test --workspace --exclude frontend --no-fail-fast");
    if let Some(api_tools) = api_tools {
        tests = tests.env("BERTH_API_TOOLS", api_tools);
    }
    run_cargo(tests.env("BERTH_TEST_POSTGRES", &postgres.url), tally)?;
    step.end();
    Ok(())
}

/// Runs `cargo test` and counts the results. Fails if the tests do not compile.
fn run_cargo(cmd: Cmd<'_>, tally: &mut Tally) -> anyhow::Result<()> {
    let (output, succeeded) = run_and_capture(cmd)?;
    let mut results = Tally::default();
    results.add_cargo_output(&output);
    tally.add(results.passed, results.failed);
    if results.passed == 0 {
        bail!("No test ran, because the tests did not compile. The errors are above.");
    }
    if !succeeded && results.failed == 0 {
        bail!("cargo test failed, but no test failed. The reason is above.");
    }
    Ok(())
}

/// Runs a command and prints its standard output. Returns the output and whether the command succeeded.
fn run_and_capture(cmd: Cmd<'_>) -> anyhow::Result<(String, bool)> {
    let name = cmd.to_string();
    note(&format!("$ {name}"));
    let mut child =
        Command::from(cmd).stdout(Stdio::piped()).spawn().with_context(|| format!("{name} cannot start"))?;
    let mut output = String::new();
    if let Some(stdout) = child.stdout.take() {
        for line in std::io::BufReader::new(stdout).lines() {
            let line = line?;
            writeln!(std::io::stdout(), "{line}")?;
            output.push_str(&line);
            output.push('\n');
        }
    }
    Ok((output, child.wait()?.success()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tally_sums_all_result_lines_of_cargo_test() {
        let mut tally = Tally::default();
        tally.add_cargo_output(
            "running 3 tests\ntest result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\ntest result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 4 s\n",
        );
        assert_eq!((tally.passed, tally.failed), (15, 2));
    }
}
