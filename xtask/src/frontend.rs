//! Building the page into `dist`: WebAssembly, its JavaScript, style sheets and `index.html`.
//!
//! This replaces `trunk build`, because Trunk and the wasm-bindgen tool take longer to compile than the page. xtask uses the
//! library of wasm-bindgen instead, at the version in `Cargo.lock`. `trunk serve` still works with the same `frontend/index.html`.

mod assets;
mod bindgen;
mod budget;
mod html;
mod minify;
mod split;

use crate::progress::{Step, note};
use crate::tools;
use crate::workspace::Workspace;
use assets::Asset;
use minify::Minifiers;
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use xshell::cmd;

/// The target of the page.
const TARGET: &str = "wasm32-unknown-unknown";
/// The template of the page, which Trunk reads too.
const TEMPLATE: &str = "frontend/index.html";
/// The folder that the server embeds.
const DIST: &str = "dist";

/// Build profile of the page.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Fast build for development and tests.
    Dev,
    /// Small and compressed files for a release.
    Release,
}

impl Profile {
    /// Cargo's name for the profile.
    fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Release => "wasm-release",
        }
    }

    /// Cargo's output folder of the profile, below that of the target.
    fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "wasm-release",
        }
    }
}

/// Builds the page into `dist`, unless it is up to date. In a release, enforces the size budget.
pub fn build(workspace: &Workspace, profile: Profile) -> anyhow::Result<()> {
    tools::install_wasm_target(workspace)?;
    let minifiers = match profile {
        Profile::Dev => None,
        Profile::Release => Some(Minifiers::install(workspace)?),
    };
    let step = Step::begin("Building the page");
    let module = compile(workspace, profile)?;
    let template = html::Template::read(Path::new(TEMPLATE))?;
    let stamp = stamp(workspace, profile, minifiers.as_ref(), &module, &template)?;
    let stamp_file = workspace.target.join("page.stamp");
    if Path::new(DIST).join("index.html").exists()
        && std::fs::read_to_string(&stamp_file).is_ok_and(|known| known == stamp)
    {
        note("The page is up to date.");
    } else {
        // Removed first, because an interrupted build must not count as complete.
        workspace.sh.remove_path(&stamp_file)?;
        let assets = bundle(workspace, profile, minifiers.as_ref(), &module, template)?;
        assets::write(Path::new(DIST), &assets, profile == Profile::Release)?;
        workspace.sh.write_file(&stamp_file, &stamp)?;
    }
    step.end();
    if let Some(minifiers) = minifiers {
        budget::report(Path::new(DIST))?.enforce(minifiers.are_complete())?;
    }
    Ok(())
}

/// Compiles the page and returns the path of the module.
fn compile(workspace: &Workspace, profile: Profile) -> anyhow::Result<PathBuf> {
    let name = profile.name();
    // Splitting needs relocations. Passing them with `cargo rustc` affects the last crate only.
    let (features, linker): (&[&str], &[&str]) = match profile {
        Profile::Dev => (&[], &[]),
        Profile::Release => (&["--features", "split"], &["--", "-Clink-args=--emit-relocs"]),
    };
    // The profile `dev` shares procedural macros with the server's build. Without optimisation the module would be several times
    // larger, and the page slow.
    cmd!(
        workspace.sh,
        "cargo rustc --package frontend --bin frontend {features...} --target {TARGET} --profile {name} {linker...}"
    )
    .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
    .run()?;
    Ok(workspace.target.join(TARGET).join(profile.folder()).join("frontend.wasm"))
}

/// Fingerprint of the inputs of `dist`: equal stamps mean equal pages. The first word is the profile.
fn stamp(
    workspace: &Workspace,
    profile: Profile,
    minifiers: Option<&Minifiers>,
    module: &Path,
    template: &html::Template,
) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    hash.update(std::fs::read(module)?);
    // This program generates the page, so it is an input too. Its sources stand for it: `cargo test` replaces the binary while it runs.
    for file in assets::list(Path::new("xtask/src"))? {
        hash.update(workspace.sh.read_binary_file(file)?);
    }
    hash.update(workspace.sh.read_binary_file("xtask/Cargo.lock")?);
    hash.update(template.text());
    for file in template.files() {
        hash.update(std::fs::read(file)?);
    }
    hash.update([u8::from(minifiers.is_some_and(Minifiers::are_complete))]);
    Ok(format!("{} {}", profile.name(), hex::encode(hash.finalize())))
}

/// Generates all files of the page, including `index.html`.
fn bundle(
    workspace: &Workspace,
    profile: Profile,
    minifiers: Option<&Minifiers>,
    module: &Path,
    template: html::Template,
) -> anyhow::Result<Vec<Asset>> {
    let tools = Tools { workspace, minifiers };
    let code = match profile {
        Profile::Dev => tools.single(module)?,
        Profile::Release => tools.split(module)?,
    };
    let (mut assets, mut styles) = (code.snippets, Vec::new());
    for file in &template.styles {
        let style = tools.minify("css", workspace.sh.read_file(file)?)?;
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        styles.push(Asset::hashed(&stem, "css", style.into_bytes()));
    }
    for file in &template.copies {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let content = match file.extension() {
            Some(extension) if extension == "js" => tools.minify("js", workspace.sh.read_file(file)?)?.into_bytes(),
            _ => std::fs::read(file)?,
        };
        assets.push(Asset::named(name, content));
    }
    let references =
        html::References { styles: &styles, scripts: &code.scripts, wasm: &code.wasm, loader: code.scripts.get(1) };
    let index = template.render(&references)?;
    assets.extend(styles);
    assets.extend(code.scripts);
    assets.extend(code.areas);
    assets.extend([code.wasm, Asset::named("index.html", index.into_bytes())]);
    Ok(assets)
}

/// The modules and scripts of the page.
struct Code {
    /// The main module.
    wasm: Asset,
    /// The script that starts the module, then the scripts that it imports.
    scripts: Vec<Asset>,
    /// Scripts of dependencies.
    snippets: Vec<Asset>,
    /// The modules of the areas.
    areas: Vec<Asset>,
}

/// The steps after compilation. Without minifiers, files stay unchanged.
struct Tools<'a> {
    workspace: &'a Workspace,
    minifiers: Option<&'a Minifiers>,
}

impl Tools<'_> {
    /// Builds the page from one module.
    fn single(&self, module: &Path) -> anyhow::Result<Code> {
        let mut page = bindgen::generate(self.workspace.sh.read_binary_file(module)?, false)?;
        self.optimise(vec![&mut page.wasm])?;
        let script = self.minify("js", page.script)?;
        let scripts = vec![Asset::hashed("frontend", "js", script.into_bytes())];
        let wasm = Asset::hashed("frontend_bg", "wasm", page.wasm);
        Ok(Code { wasm, scripts, snippets: page.snippets, areas: Vec::new() })
    }

    /// Builds the page from a main module and the modules of the areas.
    fn split(&self, module: &Path) -> anyhow::Result<Code> {
        let mut split = split::split(&self.workspace.sh, module)?;
        let page = bindgen::generate(split.main, true)?;
        let mut wasm = page.wasm;
        let areas = split.modules.iter_mut().map(|module| &mut module.wasm);
        self.optimise(std::iter::once(&mut wasm).chain(areas).collect())?;
        let (areas, loader) = split::into_assets(split.modules, &split.runtime)?;
        let scripts = split::link(self.minify("js", page.script)?, self.minify("js", loader)?)?;
        let wasm = Asset::hashed("frontend_bg", "wasm", wasm);
        Ok(Code { wasm, scripts: scripts.into(), snippets: page.snippets, areas })
    }

    fn optimise(&self, modules: Vec<&mut Vec<u8>>) -> anyhow::Result<()> {
        self.minifiers.map_or(Ok(()), |minifiers| minifiers.optimise(self.workspace, modules))
    }

    fn minify(&self, language: &str, source: String) -> anyhow::Result<String> {
        match self.minifiers {
            Some(minifiers) => minifiers.minify(self.workspace, language, source),
            None => Ok(source),
        }
    }
}
