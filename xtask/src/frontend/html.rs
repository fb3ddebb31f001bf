//! Generation of `index.html`: replaces the links for Trunk with links to the built files.

use super::assets::Asset;
use anyhow::{Context as _, bail};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The template and the files that it links.
pub struct Template {
    text: String,
    links: Vec<Link>,
    /// Style sheets, in the order of their links.
    pub styles: Vec<PathBuf>,
    /// Files that are copied without changes.
    pub copies: Vec<PathBuf>,
}

/// The built files that the page links.
pub struct References<'a> {
    /// The style sheets, in the order of the template.
    pub styles: &'a [Asset],
    /// The script that starts the module, then the scripts that it imports.
    pub scripts: &'a [Asset],
    /// The module.
    pub wasm: &'a Asset,
    /// The loader of the areas, if the page is split. It is one of the scripts.
    pub loader: Option<&'a Asset>,
}

struct Link {
    range: Range<usize>,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Style,
    Copy,
    Module,
}

impl Template {
    /// Reads a template. Its links are relative to its folder.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        let folder = file.parent().unwrap_or(Path::new(""));
        Self::parse(text, folder).with_context(|| file.display().to_string())
    }

    fn parse(text: String, folder: &Path) -> anyhow::Result<Self> {
        const START: &str = "<link data-trunk";
        let (mut links, mut styles, mut copies) = (Vec::new(), Vec::new(), Vec::new());
        for (start, _) in text.match_indices(START) {
            let end = text[start..].find('>').context("a link for Trunk does not end")? + start + 1;
            let tag = &text[start..end];
            let href = attribute(tag, "href").with_context(|| format!("{tag} has no href"))?;
            let kind = match attribute(tag, "rel") {
                Some("css") => Kind::Style,
                Some("copy-file") => Kind::Copy,
                Some("rust") => Kind::Module,
                _ => bail!("{tag} has none of the supported values of rel: css, copy-file, rust"),
            };
            match kind {
                Kind::Style => styles.push(folder.join(href)),
                Kind::Copy => copies.push(folder.join(href)),
                Kind::Module => {}
            }
            links.push(Link { range: start..end, kind });
        }
        Ok(Self { text, links, styles, copies })
    }

    /// The text of the template.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All files that the template links.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.styles.iter().chain(&self.copies)
    }

    /// Generates the page with links to the built files.
    pub fn render(&self, references: &References<'_>) -> anyhow::Result<String> {
        let mut html = String::with_capacity(self.text.len() + 2048);
        let mut styles = references.styles.iter();
        let mut position = 0;
        for Link { range, kind } in &self.links {
            html.push_str(&self.text[position..range.start]);
            match kind {
                Kind::Style => {
                    let style = styles.next().context("a style sheet was not built")?;
                    html.push_str(&format!(r#"<link rel="stylesheet" href="/{}" />"#, style.path));
                }
                Kind::Copy => {}
                Kind::Module => html.push_str(&loader(references)?),
            }
            position = range.end;
        }
        html.push_str(&self.text[position..]);
        Ok(html)
    }
}

/// Delay in milliseconds before the modules of the areas are fetched, so that they do not delay the first screen.
const PREFETCH_DELAY: u32 = 2000;

/// HTML that loads and starts the module. Preloading fetches scripts and module in parallel.
///
/// No file has an `integrity` attribute: the page and its files come from the same server, and browsers log a warning for preloads
/// whose integrity they do not check. Each failure shows the message `load-failed` of the template instead of the skeleton.
fn loader(references: &References<'_>) -> anyhow::Result<String> {
    let mut html = String::new();
    for script in references.scripts {
        html.push_str(&format!(
            r#"<link rel="modulepreload" href="/{}" crossorigin="anonymous" />
    "#,
            script.path,
        ));
    }
    html.push_str(&format!(
        r#"<link rel="preload" href="/{wasm}" as="fetch" type="application/wasm" crossorigin="anonymous" />
    <script type="module">
      const failed = document.getElementById("load-failed");
      try {{
        if (typeof WebAssembly !== "object") {{
          failed.dataset.unsupported = "";
          throw new Error("WebAssembly is not available");
        }}
        if (document.documentElement.dataset.incomplete !== undefined) throw new Error("a style sheet cannot be loaded");
        const [{{ default: start }}, module] = await Promise.all([import("/{script}"), fetch("/{wasm}")]);
        if (!module.ok) throw new Error("the module cannot be loaded");
        await start({{ module_or_path: module }});{prefetch}
      }} catch (error) {{
        console.error("Berth could not be loaded:", error);
        failed.hidden = false;
        document.getElementById("app").replaceChildren(failed);
        addEventListener("online", () => location.reload());
      }}
    </script>"#,
        script = references.scripts.first().context("the page has no script")?.path,
        wasm = references.wasm.path,
        prefetch = prefetch(references.loader),
    ));
    Ok(html)
}

/// Makes the loader of the areas fetch their files in the background.
fn prefetch(loader: Option<&Asset>) -> String {
    let Some(loader) = loader else { return String::new() };
    format!(
        r#"
        setTimeout(async () => (await import("/{}")).prefetch(), {PREFETCH_DELAY});"#,
        loader.path
    )
}

/// The value of an attribute in double quotes.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let start = tag.find(&format!(" {name}=\""))? + name.len() + 3;
    Some(&tag[start..start + tag[start..].find('"')?])
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = r#"<head>
<link data-trunk rel="copy-file" href="favicon.svg" />
<link rel="icon" href="/favicon.svg" />
<link data-trunk rel="css" href="../style/base.css" />
<link data-trunk rel="rust" href="Cargo.toml" data-bin="frontend" />
</head>"#;

    #[test]
    fn links_for_trunk_become_links_to_hashed_files() {
        let template = Template::parse(TEMPLATE.to_owned(), Path::new("frontend")).unwrap();
        assert_eq!(template.styles, [Path::new("frontend/../style/base.css")]);
        assert_eq!(template.copies, [Path::new("frontend/favicon.svg")]);
        let asset = |path: &str| Asset::named(path, path.as_bytes().to_vec());
        let (style, script, wasm) = (asset("base-01.css"), asset("frontend-02.js"), asset("frontend_bg-03.wasm"));
        let html =
            template.render(&References { styles: &[style], scripts: &[script], wasm: &wasm, loader: None }).unwrap();
        assert!(!html.contains("data-trunk"), "{html}");
        assert!(html.contains(r#"<link rel="icon" href="/favicon.svg" />"#), "{html}");
        assert!(html.contains(r#"<link rel="stylesheet" href="/base-01.css" />"#), "{html}");
        assert!(html.contains(r#"[import("/frontend-02.js"), fetch("/frontend_bg-03.wasm")]"#), "{html}");
        assert!(!html.contains("integrity"), "browsers warn about it: {html}");
        assert!(!html.contains("setTimeout"), "{html}");
    }

    #[test]
    fn files_of_areas_are_fetched_after_the_first_screen() {
        let script = prefetch(Some(&Asset::named("areas-01.js", Vec::new())));
        assert!(
            script.contains(r#"setTimeout(async () => (await import("/areas-01.js")).prefetch(), 2000);"#),
            "{script}"
        );
    }

    #[test]
    fn unknown_kinds_of_links_are_errors() {
        let link = r#"<link data-trunk rel="scss" href="a.scss" />"#;
        let error = Template::parse(link.to_owned(), Path::new("")).err().unwrap().to_string();
        assert!(error.contains("scss"), "{error}");
    }
}
