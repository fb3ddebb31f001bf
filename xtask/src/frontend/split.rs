//! Splitting the module of the page: a main module, and modules that the browser loads with an area.
//!
//! `app/src/pages/areas.rs` marks the areas. Code that only one area uses moves into the module of that area. Code that several areas use,
//! but not the main module, moves into modules that these areas share. Small shared modules are parts of one file, because there is one for
//! almost every combination of areas: each is a request, and most of its bytes are the same imports. The names of the files contain the
//! names of the areas.

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
/// Shared modules below this size in bytes, before compression, are parts of one file.
const SMALL_MODULE_LEN: usize = 2_048;

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

/// Makes the files of the modules, and makes the loader refer to them.
pub fn into_assets(modules: Vec<Module>, loader: &mut String) -> anyhow::Result<Vec<Asset>> {
    let is_small = |module: &Module| module.areas.len() > 1 && module.wasm.len() < SMALL_MODULE_LEN;
    let (small, others): (Vec<_>, Vec<_>) = modules.into_iter().partition(is_small);
    let mut assets = Vec::with_capacity(others.len() + 1);
    for module in others {
        let asset = asset(&module.areas, "wasm", module.wasm);
        replace_fetch(loader, &module.path, &format!("fetchFile({})", assets.len()))?;
        assets.push(asset);
    }
    if !small.is_empty() {
        let asset = join(small, assets.len(), loader)?;
        assets.push(asset);
    }
    // Each name is in the scripts once: the hashes in the names cannot be compressed.
    let files: Vec<_> = assets.iter().map(|asset| format!("\"./{}\"", asset.path)).collect();
    loader.push_str(&format!(
        r#"
const files = [{}];
function fetchFile(number, options) {{
    return fetch(new URL(files[number], import.meta.url), options);
}}
"#,
        files.join(", ")
    ));
    loader.push_str(PREFETCH);
    Ok(assets)
}

/// Fetches all files into the browser's cache, one after the other, so that screens open without delay. The first failure ends it. It
/// is reported when somebody opens an area.
const PREFETCH: &str = r#"
export async function prefetch() {
    try {
        for (const number of files.keys()) await (await fetchFile(number, { priority: "low" })).arrayBuffer();
    } catch {}
}
"#;

/// Makes one file of small modules, the file `number` of the loader. The loader fetches it once and passes each part on as the
/// response to a request for its module.
fn join(modules: Vec<Module>, number: usize, loader: &mut String) -> anyhow::Result<Asset> {
    let (mut areas, mut content) = (BTreeSet::new(), Vec::new());
    for module in modules {
        let start = content.len();
        content.extend(module.wasm);
        areas.extend(module.areas);
        replace_fetch(loader, &module.path, &format!("fetchPart({start}, {})", content.len()))?;
    }
    // A failure is not kept: opening the area again is another attempt.
    loader.push_str(&format!(
        r#"
let parts;
function fetchPart(start, end) {{
    if (parts === undefined) {{
        const request = fetchFile({number}).then((response) => {{
            if (!response.ok) throw new Error(`${{response.status}} for ${{response.url}}`);
            return response.arrayBuffer();
        }});
        request.catch(() => {{ if (parts === request) parts = undefined; }});
        parts = request;
    }}
    const headers = {{ "content-type": "application/wasm" }};
    return parts.then((bytes) => new Response(bytes.slice(start, end), {{ headers }}));
}}
"#
    ));
    Ok(asset(&areas, "bin", content))
}

fn asset(areas: &BTreeSet<String>, extension: &str, content: Vec<u8>) -> Asset {
    let names: Vec<_> = areas.iter().map(String::as_str).collect();
    Asset::hashed(&format!("{PREFIX}{}", names.join("_")), extension, content)
}

/// Replaces the request for a module in the loader.
fn replace_fetch(loader: &mut String, path: &str, request: &str) -> anyhow::Result<()> {
    let fetch = format!("fetch(new URL(\"{path}\", import.meta.url))");
    anyhow::ensure!(loader.contains(&fetch), "the loader of the areas does not fetch {path}");
    *loader = loader.replace(&fetch, request);
    Ok(())
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

    fn module(number: u32, areas: &[&str], len: usize) -> Module {
        let areas = areas.iter().map(|area| (*area).to_owned()).collect();
        Module { path: format!("./chunk_{number}.wasm"), areas, wasm: vec![b'x'; len] }
    }

    fn fetch(path: &str) -> String {
        format!("fetch(new URL(\"./{path}\", import.meta.url));")
    }

    #[test]
    fn file_names_contain_the_areas() {
        let mut loader = fetch("chunk_3.wasm");
        let assets = into_assets(vec![module(3, &["webhooks", "deliveries"], SMALL_MODULE_LEN)], &mut loader).unwrap();
        let path = &assets[0].path;
        assert!(path.starts_with("area_deliveries_webhooks-") && path.ends_with(".wasm"), "{path}");
        assert!(loader.starts_with(&format!("fetchFile(0);\nconst files = [\"./{path}\"];")), "{loader}");
        assert_eq!(areas_of(path).collect::<Vec<_>>(), ["deliveries", "webhooks"]);
        assert_eq!(areas_of("frontend_bg-0123456789abcdef.wasm").count(), 0);
    }

    #[test]
    fn small_shared_modules_are_parts_of_one_file() {
        let modules = vec![
            module(1, &["a", "b"], 10),
            module(2, &["a"], 20),
            module(3, &["b", "c"], 30),
            module(4, &["a", "c"], 5_000),
        ];
        let mut loader: String = ["chunk_1.wasm", "chunk_2.wasm", "chunk_3.wasm", "chunk_4.wasm"].map(fetch).concat();
        let assets = into_assets(modules, &mut loader).unwrap();
        let [own, large, small] = assets.as_slice() else { panic!("{} files", assets.len()) };
        assert!(own.path.starts_with("area_a-") && large.path.starts_with("area_a_c-"), "{} {}", own.path, large.path);
        assert!(small.path.starts_with("area_a_b_c-") && small.path.ends_with(".bin"), "{}", small.path);
        assert_eq!(small.content.len(), 40);
        assert!(loader.starts_with("fetchPart(0, 10);fetchFile(0);fetchPart(10, 40);fetchFile(1);"), "{loader}");
        assert!(loader.contains("const request = fetchFile(2).then("), "{loader}");
        let files = [own, large, small].map(|asset| format!("\"./{}\"", asset.path)).join(", ");
        assert!(loader.contains(&format!("const files = [{files}];")), "{loader}");
        let unknown = into_assets(vec![module(9, &["a"], 10)], &mut loader).err().unwrap().to_string();
        assert!(unknown.contains("chunk_9.wasm"), "{unknown}");
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
