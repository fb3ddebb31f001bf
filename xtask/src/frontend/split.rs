//! Splitting the module of the page: a main module, and modules that the browser loads with an area.
//!
//! `app/src/pages/areas.rs` marks the areas. Code that only one area uses moves into the module of that area. Code that several areas use,
//! but not the main module, moves into modules that these areas share. Small shared modules are parts of a few files, because there is one
//! module for almost every combination of areas: each would be a request, and most of its bytes are the same imports. The name of a file
//! contains the area that needs it, or a number with a bit for each of several areas, in their alphabetical order.

use super::assets::Asset;
use anyhow::Context as _;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use xshell::Shell;

/// The loader of the areas, as the main module and its script import it.
pub const LOADER: &str = "./areas.js";
/// The script of the main module, as the loader imports it.
pub const SCRIPT: &str = "./frontend.js";
/// The beginning of the name of a file that one area needs. The name of the area follows.
const OWN: &str = "area_";
/// The beginning of the name of a file that several areas need. A hexadecimal number with their bits follows.
const SHARED: &str = "areas_";
/// Shared modules below this size in bytes, before compression, are parts of a file with several.
const SMALL_MODULE_LEN: usize = 2_048;
/// The cost of another file in bytes before compression: a request, and what the compression cannot share with the other modules.
const FILE_COST: usize = 1_536;

/// A split module.
pub struct Split {
    /// The main module, not yet processed by wasm-bindgen.
    pub main: Vec<u8>,
    /// The beginning of the loader: how the modules of the areas are connected with the main module.
    pub runtime: String,
    /// The modules of the areas.
    pub modules: Vec<Module>,
}

/// A module that the browser loads with one or several areas.
pub struct Module {
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
        for stem in stems {
            areas_of.entry(stem).or_default().insert(area.clone());
        }
    }
    let mut modules = Vec::new();
    for file in output.split_modules {
        let stem = file.file_stem().context("a module has no name")?.to_string_lossy();
        // Empty modules have no area, and the loader does not load them.
        if let Some(areas) = areas_of.remove(stem.as_ref()) {
            modules.push(Module { areas, wasm: sh.read_binary_file(&file)? });
        }
    }
    let loader = sh.read_file(folder.path().join(LOADER))?;
    let (runtime, _) = loader.split_once("function makeLoad(").context("the loader has an unknown form")?;
    Ok(Split { main: sh.read_binary_file(&main)?, runtime: runtime.to_owned(), modules })
}

/// Makes the files of the modules, and the loader.
///
/// The loader of `wasm_split_cli_support` is as large as an area, because it has a function for each module. This one has the names of the
/// files, which contain the areas, and the functions that the main module calls.
pub fn into_assets(modules: Vec<Module>, runtime: &str) -> anyhow::Result<(Vec<Asset>, String)> {
    let areas = Areas::of_modules(&modules)?;
    let is_small = |module: &Module| module.areas.len() > 1 && module.wasm.len() < SMALL_MODULE_LEN;
    let (small, others): (Vec<_>, Vec<_>) = modules.into_iter().partition(is_small);
    let others = others.into_iter().map(|module| areas.asset(areas.bits(&module.areas), "wasm", module.wasm));
    let mut assets: Vec<_> = others.collect();
    for group in group(&areas, small) {
        assets.push(areas.asset(group.areas, "bin", join(&areas, group.modules)?));
    }
    let names: Vec<_> = assets.iter().map(|asset| format!("\"./{}\"", asset.path)).collect();
    let mut loader = format!("{runtime}\nconst files = [{}];\n{LOAD}", names.join(", "));
    for area in &areas.0 {
        loader.push_str(&format!("export const __wasm_split_load_{area} = wrapAsyncCb(() => loadArea(\"{area}\"));\n"));
    }
    Ok((assets, loader))
}

/// The names of all areas in alphabetical order.
pub struct Areas(Vec<String>);

impl Areas {
    fn of_modules(modules: &[Module]) -> anyhow::Result<Self> {
        let all: BTreeSet<_> = modules.iter().flat_map(|module| module.areas.clone()).collect();
        // The loader finds the names in those of the files.
        for area in &all {
            let has_module = modules.iter().any(|module| module.areas.len() == 1 && module.areas.contains(area));
            anyhow::ensure!(has_module, "The area {area} has no code of its own.");
        }
        anyhow::ensure!(all.len() <= 32, "The page has more than 32 areas.");
        Ok(Self(all.into_iter().collect()))
    }

    /// Reads the names from those of all files of the page.
    pub fn of_files<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let own = names.filter_map(|name| Some(name.strip_prefix(OWN)?.split_once('-')?.0.to_owned()));
        Self(own.collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// A bit for each of some areas.
    fn bits(&self, some: &BTreeSet<String>) -> u32 {
        let bits = self.0.iter().enumerate().filter(|(_, area)| some.contains(*area));
        bits.fold(0, |bits, (position, _)| bits | 1 << position)
    }

    fn with_bits(&self, bits: u32) -> impl Iterator<Item = &str> {
        let has_bit = move |position: usize| bits.checked_shr(position as u32).is_some_and(|bits| bits & 1 == 1);
        self.0.iter().enumerate().filter(move |(position, _)| has_bit(*position)).map(|(_, area)| area.as_str())
    }

    /// The areas that need a file; none if the first screen needs it.
    pub fn of_file(&self, name: &str) -> impl Iterator<Item = &str> {
        let part = |prefix| name.strip_prefix(prefix).and_then(|rest: &str| rest.split_once('-'));
        let own =
            part(OWN).and_then(|(own, _)| self.0.iter().position(|area| area == own)).map(|position| 1 << position);
        let shared = part(SHARED).and_then(|(bits, _)| u32::from_str_radix(bits, 16).ok());
        self.with_bits(own.or(shared).unwrap_or_default())
    }

    /// Makes a file that some areas need.
    fn asset(&self, bits: u32, extension: &str, content: Vec<u8>) -> Asset {
        let stem = match self.with_bits(bits).next() {
            Some(own) if bits.is_power_of_two() => format!("{OWN}{own}"),
            _ => format!("{SHARED}{bits:x}"),
        };
        Asset::hashed(&stem, extension, content)
    }
}

/// Loads areas. A failure is not kept: opening the area again is another attempt.
///
/// `prefetch` fetches all files into the browser's cache, one after the other, so that screens open without delay. The first failure ends
/// it. It is reported when somebody opens an area.
const LOAD: &str = r#"
const loads = new Map();
function once(key, load) {
    if (!loads.has(key)) {
        const attempt = load();
        attempt.catch(() => loads.delete(key));
        loads.set(key, attempt);
    }
    return loads.get(key);
}
async function fetchFile(name, options) {
    const response = await fetch(new URL(name, import.meta.url), options);
    if (!response.ok) throw new Error(`${response.status} for ${response.url}`);
    return response;
}
const areas = files.flatMap((name) => name.match(/area_(.*)-/)?.[1] ?? []).sort();
async function loadParts(name, bit) {
    const bytes = await once(name, async () => (await fetchFile(name)).arrayBuffer());
    const numbers = new DataView(bytes);
    const number = (position) => numbers.getUint32(4 * position, true);
    const parts = [];
    let start = 4 + 8 * number(0);
    for (let n = 1; n <= number(0); n += 1) {
        const part = new Uint8Array(bytes, start, number(2 * n));
        start += part.length;
        if ((number(2 * n - 1) >>> bit) & 1) parts.push(once(`${name} ${n}`, () => WebAssembly.instantiate(part, getSharedImports())));
    }
    await Promise.all(parts);
}
async function loadArea(area) {
    const bit = areas.indexOf(area);
    const needed = files.filter((name) => {
        const shared = name.match(/areas_(.*)-/)?.[1];
        return shared ? (Number.parseInt(shared, 16) >>> bit) & 1 : name.includes(`area_${area}-`);
    });
    await Promise.all(needed.map((name) => {
        if (name.endsWith(".bin")) return loadParts(name, bit);
        return once(name, () => WebAssembly.instantiateStreaming(fetchFile(name), getSharedImports()));
    }));
}
export async function prefetch() {
    try {
        for (const name of files) await (await fetchFile(name, { priority: "low" })).arrayBuffer();
    } catch {}
}
"#;

/// Modules of one file, while they are grouped.
struct Group {
    /// A bit for each area that needs one of the modules.
    areas: u32,
    len: usize,
    modules: Vec<Module>,
}

/// The bytes that all areas together load for a file.
fn cost(areas: u32, len: usize) -> usize {
    (FILE_COST + len) * areas.count_ones() as usize
}

impl Group {
    /// How many bytes the areas save together if two files become one. Negative if they load more, because some need only one of them.
    fn saving(&self, other: &Self) -> isize {
        let apart = cost(self.areas, self.len) + cost(other.areas, other.len);
        apart.cast_signed() - cost(self.areas | other.areas, self.len + other.len).cast_signed()
    }
}

/// Divides modules among files, so that an area loads few files and few modules that it does not need: joins the two files that save
/// most, until none do.
fn group(areas: &Areas, modules: Vec<Module>) -> Vec<Group> {
    let single =
        |module: Module| Group { areas: areas.bits(&module.areas), len: module.wasm.len(), modules: vec![module] };
    let mut groups: Vec<_> = modules.into_iter().map(single).collect();
    loop {
        let pairs = (0..groups.len()).flat_map(|second| (0..second).map(move |first| (first, second)));
        let savings = pairs.map(|(first, second)| (groups[first].saving(&groups[second]), first, second));
        let Some((saving, first, second)) = savings.max_by_key(|(saving, ..)| *saving) else { break };
        if saving <= 0 {
            break;
        }
        let joined = groups.swap_remove(second);
        let group = &mut groups[first];
        group.areas |= joined.areas;
        group.len += joined.len;
        group.modules.extend(joined.modules);
    }
    groups
}

/// Makes the content of a file with several modules: their number, the areas and the length of each, and the modules. The numbers have 32
/// bits, the first byte is the lowest.
fn join(areas: &Areas, modules: Vec<Module>) -> anyhow::Result<Vec<u8>> {
    let mut content = u32::try_from(modules.len())?.to_le_bytes().to_vec();
    for module in &modules {
        content.extend(areas.bits(&module.areas).to_le_bytes());
        content.extend(u32::try_from(module.wasm.len())?.to_le_bytes());
    }
    for module in modules {
        content.extend(module.wasm);
    }
    Ok(content)
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

    fn module(areas: &[&str], len: usize) -> Module {
        Module { areas: areas.iter().map(|area| (*area).to_owned()).collect(), wasm: vec![b'x'; len] }
    }

    #[test]
    fn file_names_contain_the_areas() {
        let modules = vec![
            module(&["webhooks", "deliveries"], SMALL_MODULE_LEN),
            module(&["deliveries"], 1),
            module(&["audit"], 1),
            module(&["webhooks"], 1),
        ];
        let (assets, loader) = into_assets(modules, "const runtime = 1;").unwrap();
        let names: Vec<_> = assets.iter().map(|asset| asset.path.as_str()).collect();
        assert!(names[0].starts_with("areas_6-") && names[0].ends_with(".wasm"), "{names:?}");
        assert!(names[1].starts_with("area_deliveries-") && names[1].ends_with(".wasm"), "{names:?}");
        assert!(loader.starts_with(&format!("const runtime = 1;\nconst files = [\"./{}\", ", names[0])), "{loader}");
        for area in ["audit", "deliveries", "webhooks"] {
            let function = format!("export const __wasm_split_load_{area} = wrapAsyncCb(() => loadArea(\"{area}\"));");
            assert!(loader.contains(&function), "{loader}");
        }
        let areas = Areas::of_files(names.iter().copied());
        assert_eq!(areas.of_file(names[0]).collect::<Vec<_>>(), ["deliveries", "webhooks"]);
        assert_eq!(areas.of_file(names[1]).collect::<Vec<_>>(), ["deliveries"]);
        assert_eq!(areas.of_file("frontend_bg-0123456789abcdef.wasm").count(), 0);
        let error = into_assets(vec![module(&["a", "b"], 1)], "").err().unwrap().to_string();
        assert!(error.contains("The area a has no code of its own."), "{error}");
    }

    /// The modules of four areas.
    fn own() -> Vec<Module> {
        ["a", "b", "c", "d"].map(|area| module(&[area], 20)).into()
    }

    #[test]
    fn small_shared_modules_are_parts_of_one_file() {
        let mut modules = own();
        modules.extend([module(&["a", "b"], 10), module(&["b", "c"], 30), module(&["a", "c"], 5_000)]);
        let (assets, _) = into_assets(modules, "").unwrap();
        let [.., large, small] = assets.as_slice() else { panic!("{} files", assets.len()) };
        assert!(large.path.starts_with("areas_5-") && large.path.ends_with(".wasm"), "{}", large.path);
        assert!(small.path.starts_with("areas_7-") && small.path.ends_with(".bin"), "{}", small.path);
        let numbers: Vec<_> = [2_u32, 0b011, 10, 0b110, 30].into_iter().flat_map(u32::to_le_bytes).collect();
        assert_eq!(small.content, [numbers, vec![b'x'; 40]].concat());
    }

    #[test]
    fn areas_do_not_load_small_modules_of_unrelated_areas() {
        let mut modules = own();
        modules.extend((0..10).map(|n| module(if n < 5 { &["a", "b"] } else { &["c", "d"] }, 1_900)));
        let (assets, _) = into_assets(modules, "").unwrap();
        let shared = assets.iter().filter(|asset| asset.path.ends_with(".bin"));
        let mut shared: Vec<_> = shared.map(|asset| asset.path.split('-').next().unwrap_or_default()).collect();
        shared.sort_unstable();
        assert_eq!(shared, ["areas_3", "areas_c"]);
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
