//! Generation of the module's JavaScript with wasm-bindgen.

use super::assets::Asset;
use anyhow::Context as _;
use std::path::Path;

/// The output of wasm-bindgen.
pub struct Page {
    /// The module, without the metadata for wasm-bindgen.
    pub wasm: Vec<u8>,
    /// The script that loads the module and connects it to the browser's APIs.
    pub script: String,
    /// Scripts of dependencies, which `script` imports from `snippets/`.
    pub snippets: Vec<Asset>,
}

/// Generates the scripts of a compiled module. A split module keeps the symbols that the modules of the areas import.
pub fn generate(module: Vec<u8>, is_split: bool) -> anyhow::Result<Page> {
    check_version()?;
    let mut output = wasm_bindgen_cli_support::Bindgen::new()
        .input_bytes("frontend", module)
        .out_name("frontend")
        .keep_lld_exports(is_split)
        .demangle(!is_split)
        .web(true)?
        .typescript(false)
        // `index.html` passes the hashed path.
        .omit_default_module_path(true)
        .generate_output()
        .context("wasm-bindgen failed")?;
    let wasm = output.wasm_mut().emit_wasm();
    let script = output.js().to_owned();
    let mut snippets = Vec::new();
    for (package, scripts) in output.snippets() {
        for (number, script) in scripts.iter().enumerate() {
            snippets.push(Asset::named(format!("snippets/{package}/inline{number}.js"), script.as_bytes().to_vec()));
        }
    }
    for (path, script) in output.local_modules() {
        snippets.push(Asset::named(format!("snippets/{path}"), script.as_bytes().to_vec()));
    }
    Ok(Page { wasm, script, snippets })
}

/// Fails if the page is linked with another version of wasm-bindgen than this program.
fn check_version() -> anyhow::Result<()> {
    let page = locked_version(Path::new("Cargo.lock"), "wasm-bindgen")?;
    let own = locked_version(Path::new("xtask/Cargo.lock"), "wasm-bindgen-cli-support")?;
    anyhow::ensure!(
        page == own,
        "The page uses wasm-bindgen {page}, but xtask has {own}. Set wasm-bindgen-cli-support = \"={page}\" in xtask/Cargo.toml."
    );
    Ok(())
}

fn locked_version(lock_file: &Path, package: &str) -> anyhow::Result<String> {
    let lock = std::fs::read_to_string(lock_file).with_context(|| format!("{} cannot be read", lock_file.display()))?;
    let start = format!("name = \"{package}\"\nversion = \"");
    let (_, rest) = lock.split_once(&start).with_context(|| format!("{package} is not in {}", lock_file.display()))?;
    Ok(rest.split('"').next().unwrap_or_default().to_owned())
}
