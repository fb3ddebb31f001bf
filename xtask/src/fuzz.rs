//! Fuzzing what strangers send: `fuzz/fuzz_targets`.

use crate::shell::{Step, command};
use crate::tools;
use anyhow::{Context as _, bail};

/// The names of the targets, or the one asked for.
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
        Some(name) => bail!("There is no target {name}. There are: {}.", names.join(", ")),
    }
}

/// Fuzzes each target for some seconds, beginning with its seeds and what earlier runs found; fails at the first crash.
pub fn run(only: Option<&str>, seconds: u32) -> anyhow::Result<()> {
    let targets = targets(only)?;
    if !command("cargo").args(["+nightly", "--version"]).works() {
        bail!("Fuzzing needs a nightly toolchain: rustup toolchain install nightly");
    }
    tools::for_fuzzing()?;
    for target in targets {
        let step = Step::begin(&format!("Fuzzing {target} for {seconds} s"));
        let (corpus, seeds) = (format!("fuzz/corpus/{target}"), format!("fuzz/seeds/{target}"));
        std::fs::create_dir_all(&corpus)?;
        let time = format!("-max_total_time={seconds}");
        command("cargo")
            .args(["+nightly", "fuzz", "run", "--target-dir", "target/fuzz", &target, &corpus, &seeds, "--", &time])
            .env("PATH", tools::path()?)
            .run()?;
        step.end();
    }
    Ok(())
}
