//! Splitting the module of the page: a main module, and modules that the browser loads with an area.
//!
//! `app/src/pages/areas.rs` marks the areas. Code that only one area uses moves into the module of that area. Code that several areas use,
//! but not the main module, moves into modules that these areas share. The names of the files contain the names of the areas.

use super::assets::Asset;
use anyhow::Context as _;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use xshell::Shell;

/// The loader of the areas, as the main module and its script import it.
pub const LOADER: &str = "./areas.js";
/// The script of the main module, as the loader imports it.
pub const SCRIPT: &str = "./frontend.js";
/// The beginning of the name of an area's module. The names of the areas follow, separated by `_`.
const PREFIX: &str = "area_";

/// A split module.
pub struct Split {
    /// The main module, not yet processed by wasm-bindgen.
    pub main: Vec<u8>,
    /// The script that loads the modules of the areas.
    pub loader: String,
    /// The modules of the areas.
    pub modules: Vec<Module>,
}

/// A module that the browser loads with one or several areas.
pub struct Module {
    /// The path by which the loader refers to the module.
    path: String,
    areas: BTreeSet<String>,
    /// The content.
    pub wasm: Vec<u8>,
}

/// Splits a module that was linked with relocations.
pub fn split(sh: &Shell, module: &Path) -> anyhow::Result<Split> {
    let input = sh.read_binary_file(module)?;
    let folder = sh.create_temp_dir()?;
    let main = folder.path().join("main.wasm");
    let mut options = wasm_split_cli_support::Options::new(&input);
    options.output_dir = folder.path();
    options.main_out_path = &main;
    options.link_name = LOADER;
    options.main_module = SCRIPT;
    let output = wasm_split_cli_support::transform(options)
        .map_err(|error| anyhow::anyhow!("The page cannot be split: {error:#}"))?;
    let mut areas_of = BTreeMap::<String, BTreeSet<String>>::new();
    for (area, stems) in output.prefetch_map {
        anyhow::ensure!(
            !area.contains('_'),
            "The name of the area {area} contains `_`, which separates areas in file names."
        );
        for stem in stems {
            areas_of.entry(stem).or_default().insert(area.clone());
        }
    }
    let mut modules = Vec::new();
    for file in output.split_modules {
        let stem = file.file_stem().context("a module has no name")?.to_string_lossy();
        // Empty modules have no area, and the loader does not load them.
        if let Some(areas) = areas_of.remove(stem.as_ref()) {
            modules.push(Module { path: format!("./{stem}.wasm"), areas, wasm: sh.read_binary_file(&file)? });
        }
    }
    let loader = sh.read_file(folder.path().join(LOADER))?;
    Ok(Split { main: sh.read_binary_file(&main)?, loader, modules })
}

impl Module {
    /// Makes the file, and makes the loader refer to it.
    pub fn into_asset(self, loader: &mut String) -> Asset {
        let areas: Vec<_> = self.areas.into_iter().collect();
        let asset = Asset::hashed(&format!("{PREFIX}{}", areas.join("_")), "wasm", self.wasm);
        *loader = loader.replace(&format!("\"{}\"", self.path), &format!("\"./{}\"", asset.path));
        asset
    }
}

/// The areas that need a file; none if the first screen needs it.
pub fn areas_of(file_name: &str) -> impl Iterator<Item = &str> {
    let names = file_name.strip_prefix(PREFIX).and_then(|rest| rest.rsplit_once('-')).map(|(names, _hash)| names);
    names.into_iter().flat_map(|names| names.split('_'))
}

/// Makes the files of two scripts that import each other. Their names contain the hash of both.
pub fn link(script: String, loader: String) -> anyhow::Result<[Asset; 2]> {
    let both = Asset::hashed("", "js", format!("{script}{loader}").into_bytes()).path;
    let (script_path, loader_path) = (format!("frontend{both}"), format!("areas{both}"));
    let script = set_import(&script, LOADER, &loader_path)?;
    let loader = set_import(&loader, SCRIPT, &script_path)?;
    Ok([Asset::named(script_path, script.into_bytes()), Asset::named(loader_path, loader.into_bytes())])
}

/// Changes the path of an import. The same text elsewhere is not a path: the main module knows the loader by it.
fn set_import(script: &str, from: &str, to: &str) -> anyhow::Result<String> {
    let imports = [format!("from \"{from}\""), format!("from '{from}'"), format!("from\"{from}\"")];
    let import = imports.iter().find(|import| script.contains(import.as_str()));
    let import = import.with_context(|| format!("a script does not import {from}"))?;
    Ok(script.replace(import, &format!("from \"./{to}\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_contain_the_areas() {
        let module = Module {
            path: "./chunk_3.wasm".to_owned(),
            areas: ["webhooks", "deliveries"].map(str::to_owned).into(),
            wasm: b"content".to_vec(),
        };
        let mut loader = r#"new URL("./chunk_3.wasm", import.meta.url)"#.to_owned();
        let asset = module.into_asset(&mut loader);
        assert!(asset.path.starts_with("area_deliveries_webhooks-"), "{}", asset.path);
        assert_eq!(loader, format!(r#"new URL("./{}", import.meta.url)"#, asset.path));
        assert_eq!(areas_of(&asset.path).collect::<Vec<_>>(), ["deliveries", "webhooks"]);
        assert_eq!(areas_of("frontend_bg-0123456789abcdef.wasm").count(), 0);
    }

    #[test]
    fn linked_scripts_import_each_other_by_their_new_names() {
        let script = r#"import*as a from"./areas.js";const imports={"./areas.js":a};"#;
        let [script, loader] =
            link(script.to_owned(), r#"import { initSync } from "./frontend.js";"#.to_owned()).unwrap();
        let script_text = String::from_utf8(script.content).unwrap();
        assert!(script_text.starts_with(&format!(r#"import*as a from "./{}";"#, loader.path)), "{script_text}");
        assert!(script_text.contains(r#"{"./areas.js":a}"#), "{script_text}");
        assert!(String::from_utf8(loader.content).unwrap().contains(&script.path));
    }
}
