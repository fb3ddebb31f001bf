//! Minification of the page with wasm-opt and esbuild.

use crate::tools;
use crate::workspace::Workspace;
use std::path::PathBuf;
use xshell::cmd;

/// WebAssembly features of all current browsers. With all features enabled, wasm-opt writes modules that Chromium rejects.
const FEATURES: [&str; 6] = [
    "--enable-bulk-memory",
    "--enable-nontrapping-float-to-int",
    "--enable-sign-ext",
    "--enable-mutable-globals",
    "--enable-reference-types",
    "--enable-multivalue",
];

/// Options for the smallest module after compression; `-Oz` minimises it before compression. `--low-memory-unused` is correct,
/// because the first kilobyte of memory is the end of the stack and contains no data.
const OPTIMISATIONS: [&str; 3] = ["-Os", "--low-memory-unused", "--reorder-functions"];

/// The available minifiers.
pub struct Minifiers {
    wasm_opt: Option<PathBuf>,
    esbuild: Option<PathBuf>,
}

impl Minifiers {
    /// Installs the minifiers that are available on this machine.
    pub fn install(workspace: &Workspace) -> anyhow::Result<Self> {
        Ok(Self { wasm_opt: tools::WASM_OPT.install(workspace)?, esbuild: tools::ESBUILD.install(workspace)? })
    }

    /// Whether all minifiers are available.
    pub fn are_complete(&self) -> bool {
        self.wasm_opt.is_some() && self.esbuild.is_some()
    }

    /// Optimises a module; returns it unchanged without wasm-opt.
    pub fn optimise(&self, workspace: &Workspace, wasm: Vec<u8>) -> anyhow::Result<Vec<u8>> {
        let Some(wasm_opt) = &self.wasm_opt else { return Ok(wasm) };
        let folder = workspace.sh.create_temp_dir()?;
        let (from, to) = (folder.path().join("in.wasm"), folder.path().join("out.wasm"));
        std::fs::write(&from, wasm)?;
        // wasm-opt warns of the names that splitting leaves in a module, and then removes them.
        let output = cmd!(workspace.sh, "{wasm_opt} {OPTIMISATIONS...} {FEATURES...} {from} -o {to}")
            .quiet()
            .ignore_status()
            .output()?;
        anyhow::ensure!(output.status.success(), "wasm-opt failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(std::fs::read(to)?)
    }

    /// Minifies a script (`js`) or a style sheet (`css`); returns it unchanged without esbuild.
    pub fn minify(&self, workspace: &Workspace, language: &str, source: String) -> anyhow::Result<String> {
        let Some(esbuild) = &self.esbuild else { return Ok(source) };
        // wasm-bindgen generates the import of the loader once for each area.
        let silent = "--log-override:duplicate-object-key=silent";
        Ok(cmd!(workspace.sh, "{esbuild} --minify --loader={language} {silent}").stdin(source).quiet().read()?)
    }
}
