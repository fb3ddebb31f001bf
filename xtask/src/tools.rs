//! Tools with pinned versions, installed on first use into a separate folder outside `target`.

use crate::progress::{Step, note};
use crate::workspace::{Workspace, succeeds};
use anyhow::Context as _;
use std::path::{Path, PathBuf};
use xshell::cmd;

/// A tool from crates.io.
pub struct CargoTool {
    binary: &'static str,
    package: &'static str,
    version: &'static str,
}

/// Checks licences, sources, banned crates and security advisories.
pub const CARGO_DENY: CargoTool = CargoTool { binary: "cargo-deny", package: "cargo-deny", version: "0.20.2" };
/// Finds unused and misplaced dependencies.
pub const CARGO_SHEAR: CargoTool = CargoTool { binary: "cargo-shear", package: "cargo-shear", version: "1.13.0" };
/// Runs the fuzz targets.
pub const CARGO_FUZZ: CargoTool = CargoTool { binary: "cargo-fuzz", package: "cargo-fuzz", version: "0.13.2" };
/// Finds spelling mistakes.
pub const TYPOS: CargoTool = CargoTool { binary: "typos", package: "typos-cli", version: "1.52.0" };

impl CargoTool {
    /// Installs the tool unless this version is installed, and returns its path.
    pub fn install(&self, workspace: &Workspace) -> anyhow::Result<PathBuf> {
        let Self { binary, package, version } = self;
        let root = folder()?;
        let program = root.join("bin").join(binary);
        // The receipt's name contains the version, because some tools do not report theirs.
        let receipt = root.join("receipts").join(format!("{package}-{version}"));
        if program.exists() && receipt.exists() {
            return Ok(program);
        }
        let step = Step::begin(&format!("Installing {package} {version} (once; can take several minutes)"));
        let spec = format!("{package}@{version}");
        // `cargo binstall` avoids the compilation if a binary is published.
        let is_downloaded = succeeds(cmd!(workspace.sh, "cargo binstall -V"))
            && cmd!(workspace.sh, "cargo binstall --no-confirm --root {root} {spec}").run().is_ok();
        if !is_downloaded {
            cmd!(workspace.sh, "cargo install --locked --force --root {root} {spec}").run()?;
        }
        workspace.sh.write_file(&receipt, "")?;
        step.end();
        Ok(program)
    }
}

/// A tool from the npm registry. It is optional: without Node it is skipped.
pub struct NpmTool {
    /// The path below `node_modules`.
    path: &'static str,
    package: &'static str,
    version: &'static str,
    /// The effect of its absence.
    without: &'static str,
}

/// The effect of the absence of an optimiser.
const LARGER_PAGE: &str = "The page works, but is larger.";

/// Optimises WebAssembly.
pub const BINARYEN: NpmTool =
    NpmTool { path: "binaryen/index.js", package: "binaryen", version: "132.0.0", without: LARGER_PAGE };
/// Minifies scripts and style sheets.
pub const ESBUILD: NpmTool =
    NpmTool { path: ".bin/esbuild", package: "esbuild", version: "0.28.2", without: LARGER_PAGE };
/// Lints the OpenAPI document.
pub const REDOCLY: NpmTool = NpmTool {
    path: ".bin/redocly",
    package: "@redocly/cli",
    version: "2.77.0",
    without: "The OpenAPI document is not linted.",
};

impl NpmTool {
    /// Installs the tool unless this version is installed. Returns its path, or `None` if it is not available.
    pub fn install(&self, workspace: &Workspace) -> anyhow::Result<Option<PathBuf>> {
        let Self { path, package, version, without } = self;
        let root = folder()?.join(format!("npm/{package}-{version}"));
        let program = root.join("node_modules").join(path);
        if program.exists() {
            return Ok(Some(program));
        }
        if !succeeds(cmd!(workspace.sh, "npm --version")) {
            note(&format!("{package} is not available, because Node is not installed. {without}"));
            return Ok(None);
        }
        workspace.sh.create_dir(&root)?;
        let step = Step::begin(&format!("Installing {package} {version}"));
        let spec = format!("{package}@{version}");
        let installed = cmd!(workspace.sh, "npm install --no-audit --no-fund --prefix {root} {spec}").run();
        step.end();
        match installed {
            Ok(()) => Ok(Some(program)),
            Err(error) => {
                note(&format!("{package} is not available ({error}). {without}"));
                Ok(None)
            }
        }
    }
}

/// The packages of [`install_api_tools`] with their versions.
const API_TOOLS: &str = "xtask/api-tools.txt";

/// Installs the tools for tests of the API from PyPI: the property-based tester and the generator of Python clients.
/// Returns the folder of their programs, or `None` with a note if they are not available.
pub fn install_api_tools(workspace: &Workspace) -> anyhow::Result<Option<PathBuf>> {
    let python = std::env::var("BERTH_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let Ok(version) = cmd!(workspace.sh, "{python} --version").quiet().ignore_stderr().read() else {
        note(&format!(
            "Skipped: the property-based tests of the API, and those with Python, because {python} does not start. \
             Install Python 3.10 or later, or set BERTH_PYTHON to its path."
        ));
        return Ok(None);
    };
    let packages = workspace.sh.read_file(API_TOOLS)?;
    let key = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(format!("{version}\n{packages}")));
    let root = folder()?.join("python").join(&key[..16]);
    let (programs, receipt) = (root.join("bin"), root.join("complete"));
    if receipt.exists() {
        return Ok(Some(programs));
    }
    let step = Step::begin("Installing the tools for tests of the API from PyPI (once)");
    workspace.sh.remove_path(&root)?;
    let own_python = programs.join("python");
    let installed = cmd!(workspace.sh, "{python} -m venv {root}").run().and_then(|()| {
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", API_TOOLS];
        cmd!(workspace.sh, "{own_python} {pip...}").run()
    });
    step.end();
    if let Err(error) = installed {
        note(&format!(
            "Skipped: the property-based tests of the API, and those with Python, because their tools cannot be \
             installed ({error}). They need PyPI and the module venv (Debian: python3-venv)."
        ));
        return Ok(None);
    }
    workspace.sh.write_file(&receipt, "")?;
    Ok(Some(programs))
}

/// Installs the WebAssembly target of the compiler.
pub fn install_wasm_target(workspace: &Workspace) -> anyhow::Result<()> {
    let libraries = cmd!(workspace.sh, "rustc --print target-libdir --target wasm32-unknown-unknown").quiet().read()?;
    if !Path::new(&libraries).exists() {
        let step = Step::begin("Installing the WebAssembly target");
        cmd!(workspace.sh, "rustup target add wasm32-unknown-unknown").run()?;
        step.end();
    }
    Ok(())
}

/// Installs Debian packages.
pub fn install_debian_packages(workspace: &Workspace, packages: &[&str]) -> anyhow::Result<()> {
    let _environment = workspace.sh.push_env("DEBIAN_FRONTEND", "noninteractive");
    cmd!(workspace.sh, "apt-get update").ignore_stdout().run()?;
    Ok(cmd!(workspace.sh, "apt-get install --yes --no-install-recommends {packages...}").ignore_stdout().run()?)
}

/// Whether `apt-get`, the package manager of Debian, is installed.
pub fn has_apt(workspace: &Workspace) -> bool {
    succeeds(cmd!(workspace.sh, "apt-get --version"))
}

/// `PATH` that begins with the tools folder, for Cargo subcommands.
pub fn path() -> anyhow::Result<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder()?.join("bin")).chain(std::env::split_paths(&path));
    Ok(std::env::join_paths(folders)?)
}

/// The tools folder: `$BERTH_TOOLS_DIR`, or one in the user's cache.
fn folder() -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os("BERTH_TOOLS_DIR") {
        return Ok(folder.into());
    }
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .context("The home directory is unknown. Set BERTH_TOOLS_DIR to a folder for tools.")?;
    Ok(cache.join("berth/tools"))
}
