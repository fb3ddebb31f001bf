//! The repository: its root, target directory and binaries.

use crate::progress::Step;
use anyhow::Context as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use xshell::{Cmd, Shell, cmd};

/// The repository, with a shell that runs in its root.
pub struct Workspace {
    /// Runs commands from the root of the repository.
    pub sh: Shell,
    /// Cargo's target directory.
    pub target: PathBuf,
}

impl Workspace {
    /// Opens the repository that contains this crate, and makes its root the current directory.
    pub fn open() -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent directory")?;
        std::env::set_current_dir(root)?;
        let sh = Shell::new()?;
        let metadata = cmd!(sh, "cargo metadata --no-deps --offline --format-version 1").quiet().read()?;
        let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
        let target = metadata["target_directory"].as_str().context("cargo metadata reports no target directory")?;
        let target = target.into();
        Ok(Self { sh, target })
    }

    /// Builds `berth`.
    ///
    /// The selection of packages equals that of the tests. Cargo unifies the features of the selected packages, so another
    /// selection would compile most dependencies twice.
    pub fn build_server(&self, release: bool) -> anyhow::Result<()> {
        let step = Step::begin("Building the server");
        let profile = if release { "release" } else { "dev" };
        cmd!(self.sh, "cargo build --workspace --exclude frontend --bin berth --profile {profile}").run()?;
        step.end();
        Ok(())
    }

    /// The target directory of this crate.
    pub fn xtask_target(&self) -> PathBuf {
        self.target.join("xtask")
    }

    /// Path of a binary that Cargo builds.
    pub fn binary(&self, name: &str, release: bool) -> PathBuf {
        self.target.join(if release { "release" } else { "debug" }).join(name)
    }
}

/// Whether a command starts and succeeds. Its output is hidden.
pub fn succeeds(cmd: Cmd<'_>) -> bool {
    Command::from(cmd.quiet())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
