//! Cycles between the top-level modules of a crate.
//!
//! Each `crate::module::…` path in a file is a dependency of the file's module on that module. Paths that begin with `super` are
//! resolved. A name that `lib.rs` re-exports is a dependency on the module that defines it. Tests are ignored.

use anyhow::{Context as _, bail};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Crates whose modules are checked.
const CRATES: [&str; 5] = ["domain", "delivery", "service", "app", "server"];

/// Modules, each with the modules that it uses.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// Fails if top-level modules of a crate have cyclic dependencies.
pub fn check() -> anyhow::Result<()> {
    let mut cycles = Vec::new();
    for name in CRATES {
        let graph = read_crate(&Path::new(name).join("src")).with_context(|| format!("crate {name}"))?;
        cycles.extend(find_cycles(&graph).iter().map(|cycle| format!("{name}: {}", describe(&graph, cycle))));
    }
    if !cycles.is_empty() {
        bail!("modules have cyclic dependencies:\n    {}", cycles.join("\n    "));
    }
    Ok(())
}

fn read_crate(source: &Path) -> anyhow::Result<Graph> {
    let mut files = Vec::new();
    list_sources(source, &mut files)?;
    let module_of = |file: &Path| -> Option<Vec<String>> {
        let relative = file.strip_prefix(source).ok()?.with_extension("");
        let parts: Vec<String> = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        (!matches!(parts.first()?.as_str(), "lib" | "main" | "bin" | "tests")).then_some(parts)
    };
    let modules: BTreeSet<String> = files.iter().filter_map(|file| module_of(file)?.into_iter().next()).collect();
    let mut reexports = BTreeMap::new();
    let root = source.join("lib.rs");
    if root.exists() {
        for path in paths(parse(&root)?) {
            let path =
                path.strip_prefix(&["crate".to_owned()]).or(path.strip_prefix(&["self".to_owned()])).unwrap_or(&path);
            if let [module, .., name] = path
                && modules.contains(module)
            {
                reexports.insert(name.clone(), module.clone());
            }
        }
    }
    let mut graph = Graph::new();
    for file in &files {
        let Some(location) = module_of(file) else { continue };
        let uses = graph.entry(location[0].clone()).or_default();
        for path in paths(parse(file)?) {
            let target = resolve(&path, &location)
                .and_then(|name| if modules.contains(name) { Some(name) } else { reexports.get(name) });
            if let Some(target) = target.filter(|target| **target != location[0]) {
                uses.insert(target.clone());
            }
        }
    }
    Ok(graph)
}

fn list_sources(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list_sources(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && path.file_stem().is_none_or(|stem| stem != "tests")
        {
            files.push(path);
        }
    }
    Ok(())
}

fn parse(file: &Path) -> anyhow::Result<TokenStream> {
    let text = std::fs::read_to_string(file)?;
    text.parse().map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))
}

/// Resolves a path in the module at `location` to its first segment below the crate root.
fn resolve<'a>(path: &'a [String], location: &'a [String]) -> Option<&'a String> {
    if path.first()? == "crate" {
        return path.get(1);
    }
    let super_count = path.iter().take_while(|segment| *segment == "super").count();
    // `mod.rs` is the module of its folder, so its depth is one less than that of its path.
    let depth = location.len() - usize::from(location.last().is_some_and(|name| name == "mod"));
    if super_count == depth { path.get(super_count) } else { None }
}

/// All paths in the tokens outside `#[cfg(test)]`, with groups such as `crate::{a::B, c}` expanded.
fn paths(tokens: TokenStream) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    collect(tokens, &[], &mut found);
    found
}

fn collect(tokens: TokenStream, prefix: &[String], found: &mut Vec<Vec<String>>) {
    let mut path = prefix.to_vec();
    let mut colons = 0;
    let mut skip_item = false;
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => {
                if colons < 2 && path.len() > prefix.len() {
                    found.push(std::mem::replace(&mut path, prefix.to_vec()));
                }
                path.push(ident.to_string());
                colons = 0;
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
            TokenTree::Group(group) => {
                if group.delimiter() == Delimiter::Bracket && is_cfg_test(&group.stream()) {
                    skip_item = true;
                } else if skip_item && group.delimiter() == Delimiter::Brace {
                    skip_item = false;
                } else if !skip_item {
                    let inner = if colons == 2 && group.delimiter() == Delimiter::Brace { &path[..] } else { &[] };
                    collect(group.stream(), inner, found);
                }
                found.push(std::mem::replace(&mut path, prefix.to_vec()));
                colons = 0;
            }
            TokenTree::Punct(punct) => {
                // An item such as `#[cfg(test)] mod tests;` has no braces.
                skip_item &= punct.as_char() != ';';
                found.push(std::mem::replace(&mut path, prefix.to_vec()));
                colons = 0;
            }
            TokenTree::Literal(_) => {}
        }
    }
    found.push(path);
}

fn is_cfg_test(attribute: &TokenStream) -> bool {
    let text = attribute.to_string();
    text.starts_with("cfg") && text.contains("test") && !text.contains("not")
}

/// Finds the strongly connected components with at least two modules.
fn find_cycles(graph: &Graph) -> Vec<Vec<String>> {
    let reachable: BTreeMap<&String, BTreeSet<&String>> =
        graph.keys().map(|start| (start, reach(graph, start))).collect();
    let mut groups = BTreeSet::new();
    for (module, targets) in &reachable {
        let group: Vec<String> = targets
            .iter()
            .filter(|other| reachable.get(**other).is_some_and(|back| back.contains(module)))
            .map(|other| (*other).clone())
            .collect();
        if group.len() > 1 {
            groups.insert(group);
        }
    }
    groups.into_iter().collect()
}

/// Formats the dependencies within a cycle: `a → b, c; b → a; c → a`.
fn describe(graph: &Graph, cycle: &[String]) -> String {
    let modules = cycle.iter().map(|module| {
        let uses = graph.get(module).into_iter().flatten().filter(|target| cycle.contains(target));
        format!("{module} → {}", uses.cloned().collect::<Vec<_>>().join(", "))
    });
    modules.collect::<Vec<_>>().join("; ")
}

fn reach<'a>(graph: &'a Graph, start: &'a String) -> BTreeSet<&'a String> {
    let mut seen = BTreeSet::new();
    let mut pending = vec![start];
    while let Some(module) = pending.pop() {
        for next in graph.get(module).into_iter().flatten() {
            if seen.insert(next) {
                pending.push(next);
            }
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &[&str]) -> Vec<String> {
        path.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn paths_expands_groups_and_ignores_tests() {
        let source = "use crate::{a::{B, C}, d}; fn f() { crate::e::g(); } #[cfg(test)] mod tests { use crate::h; }";
        let found = paths(source.parse().unwrap());
        for path in [&["crate", "a", "B"][..], &["crate", "a", "C"], &["crate", "d"], &["crate", "e", "g"]] {
            assert!(found.contains(&names(path)), "{path:?} in {found:?}");
        }
        assert!(!found.contains(&names(&["crate", "h"])));
    }

    #[test]
    fn super_is_resolved_from_the_depth_of_the_file() {
        assert_eq!(resolve(&names(&["super", "b", "C"]), &names(&["a"])).unwrap(), "b");
        assert_eq!(resolve(&names(&["super", "super", "b"]), &names(&["a", "inner"])).unwrap(), "b");
        assert_eq!(resolve(&names(&["super", "b"]), &names(&["a", "mod"])).unwrap(), "b");
        assert_eq!(resolve(&names(&["super", "sibling"]), &names(&["a", "inner"])), None);
    }

    #[test]
    fn cycles_over_several_modules_are_found_once() {
        let graph: Graph = [("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")]
            .into_iter()
            .map(|(from, to)| (from.to_owned(), BTreeSet::from([to.to_owned()])))
            .collect();
        assert_eq!(find_cycles(&graph), [names(&["a", "b", "c"])]);
    }
}
