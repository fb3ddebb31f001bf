//! Minification of the page with binaryen and esbuild.

use crate::tools;
use crate::workspace::Workspace;
use std::path::PathBuf;
use xshell::cmd;

/// The program that optimises modules.
const OPTIMISE: &str = include_str!("optimise.mjs");

/// The available minifiers.
pub struct Minifiers {
    binaryen: Option<PathBuf>,
    esbuild: Option<PathBuf>,
}

impl Minifiers {
    /// Installs the minifiers that are available on this machine.
    pub fn install(workspace: &Workspace) -> anyhow::Result<Self> {
        Ok(Self { binaryen: tools::BINARYEN.install(workspace)?, esbuild: tools::ESBUILD.install(workspace)? })
    }

    /// Whether all minifiers are available.
    pub fn are_complete(&self) -> bool {
        self.binaryen.is_some() && self.esbuild.is_some()
    }

    /// Optimises modules in place; leaves them unchanged without binaryen.
    pub fn optimise(&self, workspace: &Workspace, modules: Vec<&mut Vec<u8>>) -> anyhow::Result<()> {
        let Some(binaryen) = &self.binaryen else { return Ok(()) };
        let folder = workspace.sh.create_temp_dir()?;
        let (program, files) = (folder.path().join("optimise.mjs"), folder.path().join("modules"));
        std::fs::write(&program, OPTIMISE)?;
        std::fs::create_dir(&files)?;
        let path = |number: usize| files.join(format!("{number}.wasm"));
        for (number, wasm) in modules.iter().enumerate() {
            std::fs::write(path(number), wasm)?;
        }
        // Binaryen warns of the names that splitting leaves in a module, and then removes them.
        let output = cmd!(workspace.sh, "node {program} {binaryen} {files}").quiet().ignore_status().output()?;
        anyhow::ensure!(output.status.success(), "binaryen failed: {}", String::from_utf8_lossy(&output.stderr));
        for (number, wasm) in modules.into_iter().enumerate() {
            *wasm = std::fs::read(path(number))?;
        }
        Ok(())
    }

    /// Minifies a script (`js`) or a style sheet (`css`); returns it unchanged without esbuild.
    pub fn minify(&self, workspace: &Workspace, language: &str, source: String) -> anyhow::Result<String> {
        let Some(esbuild) = &self.esbuild else { return Ok(source) };
        // wasm-bindgen generates the import of the loader once for each area.
        let silent = "--log-override:duplicate-object-key=silent";
        Ok(cmd!(workspace.sh, "{esbuild} --minify --loader={language} {silent}").stdin(source).quiet().read()?)
    }
}
