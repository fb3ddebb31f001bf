//! The tools that build the page, kept in a folder of their own outside `target`.

use crate::shell::{Step, command, say};
use anyhow::Context as _;
use std::path::PathBuf;

/// Where tools are kept: `$BERTH_TOOLS_DIR`, else the user's cache folder.
pub fn folder() -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os("BERTH_TOOLS_DIR") {
        return Ok(folder.into());
    }
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .context("there is no home folder; set BERTH_TOOLS_DIR")?;
    Ok(cache.join("berth/tools"))
}

/// The version of a package in `Cargo.lock`.
fn locked(package: &str) -> anyhow::Result<String> {
    let lock = std::fs::read_to_string("Cargo.lock").context("Cargo.lock cannot be read")?;
    let mark = format!("name = \"{package}\"\nversion = \"");
    let at = lock.find(&mark).with_context(|| format!("{package} is not in Cargo.lock"))? + mark.len();
    Ok(lock[at..].chars().take_while(|c| *c != '"').collect())
}

/// Installs a tool unless the folder has it.
fn install(name: &str, krate: &str, version: &str, locked: bool) -> anyhow::Result<()> {
    let folder = folder()?;
    let binary = folder.join("bin").join(name);
    if command(&binary.to_string_lossy()).args(["--version"]).output().is_ok_and(|text| text.contains(version)) {
        return Ok(());
    }
    std::fs::create_dir_all(&folder)?;
    let step = Step::begin(&format!("Installing {krate} {version} (once; some minutes without cargo binstall)"));
    let root = folder.to_string_lossy().into_owned();
    if command("cargo").args(["binstall", "-V"]).works()
        && command("cargo")
            .args(["binstall", "--no-confirm", "--root", &root, &format!("{krate}@{version}")])
            .run()
            .is_ok()
    {
        step.end();
        return Ok(());
    }
    let spec = format!("{krate}@{version}");
    let mut arguments = vec!["install", &spec, "--root", &root];
    if locked {
        arguments.push("--locked");
    }
    command("cargo").args(arguments).run()?;
    step.end();
    Ok(())
}

/// Trunk's version; the newest that the page's settings were tried with.
const TRUNK: &str = "0.21.14";
/// The npm package that carries wasm-opt.
const BINARYEN: &str = "binaryen@132.0.0";

/// Installs the target that the page is compiled and linted for.
pub fn wasm_target() -> anyhow::Result<()> {
    let installed = command("rustc").args(["--print", "target-libdir", "--target", "wasm32-unknown-unknown"]).output();
    if !installed.is_ok_and(|folder| std::path::Path::new(folder.trim()).exists()) {
        let step = Step::begin("Installing the WebAssembly target");
        command("rustup").args(["target", "add", "wasm32-unknown-unknown"]).run()?;
        step.end();
    }
    Ok(())
}

/// Installs what building the page needs.
pub fn for_page() -> anyhow::Result<()> {
    wasm_target()?;
    install("wasm-bindgen", "wasm-bindgen-cli", &locked("wasm-bindgen")?, false)?;
    install("trunk", "trunk", TRUNK, true)
}

/// cargo-fuzz's version.
const CARGO_FUZZ: &str = "0.13.1";

/// Installs what fuzzing needs beside a nightly toolchain.
pub fn for_fuzzing() -> anyhow::Result<()> {
    install("cargo-fuzz", "cargo-fuzz", CARGO_FUZZ, true)
}

/// wasm-opt, where Node is there to bring it.
pub fn wasm_opt() -> anyhow::Result<Option<PathBuf>> {
    let folder = folder()?;
    let binary = folder.join("node_modules/.bin/wasm-opt");
    if binary.exists() {
        return Ok(Some(binary));
    }
    if !command("npm").args(["--version"]).works() {
        say("Node is not installed, so the page is not made smaller by wasm-opt. It works all the same.");
        return Ok(None);
    }
    std::fs::create_dir_all(&folder)?;
    let step = Step::begin("Installing wasm-opt");
    let root = folder.to_string_lossy().into_owned();
    let done = command("npm").args(["install", "--no-audit", "--no-fund", "--prefix", &root, BINARYEN]).run();
    step.end();
    match done {
        Ok(()) => Ok(Some(binary)),
        Err(error) => {
            say(&format!("wasm-opt cannot be had ({error}); the page stays larger."));
            Ok(None)
        }
    }
}

/// PATH with the tools first.
pub fn path() -> anyhow::Result<String> {
    let own = folder()?.join("bin");
    Ok(format!("{}:{}", own.display(), std::env::var("PATH").unwrap_or_default()))
}
