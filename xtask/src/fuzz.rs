//! Fuzzing of the parsers of external input, with the targets in `fuzz/fuzz_targets`.

use crate::progress::Step;
use crate::tools;
use crate::workspace::{Workspace, succeeds};
use anyhow::{Context as _, bail};
use xshell::cmd;

/// Whether a nightly toolchain is installed, which the instrumentation of libFuzzer needs.
pub fn has_nightly(workspace: &Workspace) -> bool {
    succeeds(cmd!(workspace.sh, "cargo +nightly --version"))
}

/// Fuzzes each target for `seconds`, starting from its seeds and the corpus of earlier runs. Fails at the first crash.
pub fn run(workspace: &Workspace, only: Option<&str>, seconds: u32) -> anyhow::Result<()> {
    let targets = targets(only)?;
    if !has_nightly(workspace) {
        bail!("Fuzzing needs a nightly toolchain. Install one: rustup toolchain install nightly");
    }
    tools::CARGO_FUZZ.install(workspace)?;
    let _path = workspace.sh.push_env("PATH", tools::path()?);
    let target_dir = workspace.target.join("fuzz");
    for target in targets {
        let step = Step::begin(&format!("Fuzzing {target} for {seconds} s"));
        let (corpus, seeds) = (format!("fuzz/corpus/{target}"), format!("fuzz/seeds/{target}"));
        workspace.sh.create_dir(&corpus)?;
        let time = format!("-max_total_time={seconds}");
        cmd!(workspace.sh, "cargo +nightly fuzz run --target-dir {target_dir} {target} {corpus} {seeds} -- {time}")
            .run()?;
        step.end();
    }
    Ok(())
}

/// The names of all targets, or only the requested one.
fn targets(only: Option<&str>) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir("fuzz/fuzz_targets").context("fuzz/fuzz_targets cannot be read")? {
        if let Some(name) = entry?.path().file_stem().and_then(|stem| stem.to_str()) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    match only {
        None => Ok(names),
        Some(name) if names.iter().any(|known| known == name) => Ok(vec![name.to_owned()]),
        Some(name) => bail!("The fuzz target {name} does not exist. Choose one of: {}.", names.join(", ")),
    }
}
