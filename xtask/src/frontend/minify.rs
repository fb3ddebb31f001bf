//! Making the page smaller: wasm-opt and esbuild.

use crate::tools;
use crate::workspace::Workspace;
use std::path::PathBuf;
use xshell::cmd;

/// The WebAssembly features that all current browsers have. With every feature, wasm-opt writes modules that Chromium rejects.
const FEATURES: [&str; 6] = [
    "--enable-bulk-memory",
    "--enable-nontrapping-float-to-int",
    "--enable-sign-ext",
    "--enable-mutable-globals",
    "--enable-reference-types",
    "--enable-multivalue",
];

/// The options that give the smallest module after compression; `-Oz` gives the smallest one before. The first kilobyte of
/// memory is the end of the stack and holds no data, as `--low-memory-unused` requires.
const OPTIMISATIONS: [&str; 3] = ["-Os", "--low-memory-unused", "--reorder-functions"];

/// The tools, as far as they are available.
pub struct Minifiers {
    wasm_opt: Option<PathBuf>,
    esbuild: Option<PathBuf>,
}

impl Minifiers {
    /// Installs the tools.
    pub fn install(workspace: &Workspace) -> anyhow::Result<Self> {
        Ok(Self { wasm_opt: tools::WASM_OPT.install(workspace)?, esbuild: tools::ESBUILD.install(workspace)? })
    }

    /// Whether no tool is missing.
    pub fn are_complete(&self) -> bool {
        self.wasm_opt.is_some() && self.esbuild.is_some()
    }

    /// Optimises a module.
    pub fn optimise(&self, workspace: &Workspace, wasm: Vec<u8>) -> anyhow::Result<Vec<u8>> {
        let Some(wasm_opt) = &self.wasm_opt else { return Ok(wasm) };
        let folder = workspace.sh.create_temp_dir()?;
        let (from, to) = (folder.path().join("in.wasm"), folder.path().join("out.wasm"));
        std::fs::write(&from, wasm)?;
        cmd!(workspace.sh, "{wasm_opt} {OPTIMISATIONS...} {FEATURES...} {from} -o {to}").run()?;
        Ok(std::fs::read(to)?)
    }

    /// Removes what a script (`js`) or a style sheet (`css`) does not need.
    pub fn minify(&self, workspace: &Workspace, language: &str, source: Vec<u8>) -> anyhow::Result<Vec<u8>> {
        let Some(esbuild) = &self.esbuild else { return Ok(source) };
        Ok(cmd!(workspace.sh, "{esbuild} --minify --loader={language}").stdin(source).quiet().output()?.stdout)
    }
}
