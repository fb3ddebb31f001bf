//! Building the page: Trunk, wasm-opt, and files compressed beforehand.

use crate::shell::{Step, command, say};
use crate::tools;
use anyhow::Context as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// How the page is built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Quickly, for development and tests.
    Dev,
    /// Small, for the one binary.
    Release,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Dev => "wasm-dev",
            Self::Release => "wasm-release",
        }
    }
}

/// The most that the page's files may weigh together, with brotli.
const BUDGET: usize = 400 * 1024;
/// What the page is made of.
const SOURCES: [&str; 7] = ["app", "domain", "frontend", "style", "Cargo.toml", "Cargo.lock", "Trunk.toml"];
/// The WebAssembly features that browsers have; with all of them wasm-opt writes what Chromium refuses.
const FEATURES: [&str; 6] = [
    "--enable-bulk-memory",
    "--enable-nontrapping-float-to-int",
    "--enable-sign-ext",
    "--enable-mutable-globals",
    "--enable-reference-types",
    "--enable-multivalue",
];

/// What makes the module smallest once it is compressed; `-Oz` makes it smaller before. Nothing lies in the first kilobyte of
/// memory, where the stack ends.
const SHRINK: [&str; 3] = ["-Os", "--low-memory-unused", "--reorder-functions"];

fn files(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if folder.is_file() {
        found.push(folder.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        files(&entry?.path(), found)?;
    }
    Ok(())
}

/// The newest change of the sources, as nanoseconds, with the profile: equal stamps mean an equal page.
fn stamp(profile: Profile) -> anyhow::Result<String> {
    let mut found = Vec::new();
    for source in SOURCES {
        files(Path::new(source), &mut found)?;
    }
    let mut newest = 0;
    for file in &found {
        let changed = std::fs::metadata(file)?.modified()?;
        newest = newest.max(changed.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos()));
    }
    Ok(format!("{} {} {newest}", profile.name(), found.len()))
}

/// Builds the page into `dist`, unless it is there already.
pub fn build(profile: Profile) -> anyhow::Result<()> {
    let stamp = stamp(profile)?;
    let stamp_file = Path::new("target/page.stamp");
    if Path::new("dist/index.html").exists() && std::fs::read_to_string(stamp_file).is_ok_and(|known| known == stamp) {
        say("The page is up to date.");
        return if profile == Profile::Release { sizes() } else { Ok(()) };
    }
    tools::for_page()?;
    let step = Step::begin("Building the page");
    let mut trunk = command("trunk")
        .args(["build", "--offline", "--cargo-profile", profile.name()])
        .env("PATH", tools::path()?)
        // Trunk reads NO_COLOR as a Boolean and refuses the customary "1".
        .env("NO_COLOR", "false");
    if profile == Profile::Release {
        trunk = trunk.args(["--minify"]);
    }
    trunk.run()?;
    step.end();
    if profile == Profile::Release {
        optimise()?;
        compress()?;
        sizes()?;
    }
    std::fs::create_dir_all("target")?;
    std::fs::write(stamp_file, stamp)?;
    Ok(())
}

fn dist() -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    files(Path::new("dist"), &mut found)?;
    found.retain(|file| !matches!(file.extension().and_then(|e| e.to_str()), Some("br" | "gz")));
    found.sort();
    Ok(found)
}

fn optimise() -> anyhow::Result<()> {
    let Some(wasm_opt) = tools::wasm_opt()? else { return Ok(()) };
    let step = Step::begin("Making the page smaller");
    for file in dist()?.iter().filter(|file| file.extension().is_some_and(|e| e == "wasm")) {
        let smaller = file.with_extension("smaller");
        let (from, to) = (file.to_string_lossy(), smaller.to_string_lossy());
        command(&wasm_opt.to_string_lossy()).args(SHRINK).args([&from, "-o", &to]).args(FEATURES).run()?;
        std::fs::rename(&smaller, file)?;
    }
    step.end();
    Ok(())
}

fn brotli(data: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::new();
    let parameters = brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 22, ..Default::default() };
    brotli::BrotliCompress(&mut &*data, &mut out, &parameters)?;
    Ok(out)
}

fn gzip(data: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(data)?;
    Ok(encoder.finish()?)
}

fn compress() -> anyhow::Result<()> {
    let step = Step::begin("Compressing the page's files");
    for file in dist()? {
        let data = std::fs::read(&file)?;
        if data.len() > 512 {
            let name = file.to_string_lossy();
            std::fs::write(format!("{name}.br"), brotli(&data)?)?;
            std::fs::write(format!("{name}.gz"), gzip(&data)?)?;
        }
    }
    step.end();
    Ok(())
}

/// Prints what the page weighs; fails where that is over the budget, unless wasm-opt could not be had.
fn sizes() -> anyhow::Result<()> {
    let mut total = [0; 3];
    say(&format!("\n{:>10} {:>10} {:>10}   page", "raw", "gzip", "brotli"));
    for file in dist()? {
        let name = file.to_string_lossy().into_owned();
        let raw = std::fs::metadata(&file)?.len() as usize;
        let size = |ending: &str| std::fs::metadata(format!("{name}.{ending}")).map_or(raw, |meta| meta.len() as usize);
        let row = [raw, size("gz"), size("br")];
        for (sum, one) in total.iter_mut().zip(row) {
            *sum += one;
        }
        say(&format!("{:>10} {:>10} {:>10}   {name}", row[0], row[1], row[2]));
    }
    say(&format!("{:>10} {:>10} {:>10}   in all\n", total[0], total[1], total[2]));
    let over = total[2].saturating_sub(BUDGET);
    anyhow::ensure!(
        over == 0 || tools::wasm_opt()?.is_none(),
        "the page weighs {} bytes with brotli: {over} more than the {BUDGET} that it may weigh",
        total[2]
    );
    Ok(())
}
