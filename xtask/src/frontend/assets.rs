//! Files of the page, their names and compressed copies.

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Minimum size in bytes of compressed files. Smaller files gain nothing.
const MIN_COMPRESSED_LEN: usize = 512;

/// A file of the page.
pub struct Asset {
    /// The path below `dist`.
    pub path: String,
    /// The uncompressed content.
    pub content: Vec<u8>,
}

impl Asset {
    /// A file with a fixed name.
    pub fn named(path: impl Into<String>, content: Vec<u8>) -> Self {
        Self { path: path.into(), content }
    }

    /// A file whose name contains the hash of its content, so that browsers cache it without revalidation.
    pub fn hashed(stem: &str, extension: &str, content: Vec<u8>) -> Self {
        let hash = hex::encode(&Sha256::digest(&content)[..8]);
        Self::named(format!("{stem}-{hash}.{extension}"), content)
    }
}

/// Writes the files to a folder and removes all others. `compressed` adds a brotli and a gzip copy of each file.
///
/// Unchanged files keep their modification time, so that Cargo does not embed them again.
pub fn write(dist: &Path, assets: &[Asset], compressed: bool) -> anyhow::Result<()> {
    let mut expected = Vec::new();
    for asset in assets {
        let mut put = |path: String, content: &[u8]| -> anyhow::Result<()> {
            let file = dist.join(path);
            if !std::fs::read(&file).is_ok_and(|present| present == content) {
                std::fs::create_dir_all(file.parent().unwrap_or(dist))?;
                std::fs::write(&file, content).with_context(|| format!("{} cannot be written", file.display()))?;
            }
            expected.push(file);
            Ok(())
        };
        put(asset.path.clone(), &asset.content)?;
        if compressed && asset.content.len() > MIN_COMPRESSED_LEN {
            put(format!("{}.br", asset.path), &brotli(&asset.content)?)?;
            put(format!("{}.gz", asset.path), &gzip(&asset.content)?)?;
        }
    }
    for file in list(dist)? {
        if !expected.contains(&file) {
            std::fs::remove_file(&file).with_context(|| format!("{} cannot be removed", file.display()))?;
        }
    }
    Ok(())
}

/// All files below a folder, sorted by path.
pub fn list(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(list(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn brotli(content: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::new();
    let parameters = brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 22, ..Default::default() };
    brotli::BrotliCompress(&mut &*content, &mut out, &parameters)?;
    Ok(out)
}

fn gzip(content: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content)?;
    Ok(encoder.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashed_names_have_sixteen_hexadecimal_digits_before_the_extension() {
        let asset = Asset::hashed("frontend_bg", "wasm", b"content".to_vec());
        assert_eq!(asset.path, "frontend_bg-ed7002b439e9ac84.wasm");
    }

    #[test]
    fn write_removes_old_files_and_keeps_modification_time_of_unchanged_ones() {
        let dist = std::env::temp_dir().join(format!("berth-assets-{}", std::process::id()));
        let asset = |path: &str| Asset::named(path, vec![b'x'; 2000]);
        write(&dist, &[asset("kept.js"), asset("snippets/old.js")], true).unwrap();
        let kept = dist.join("kept.js");
        let changed = std::fs::metadata(&kept).unwrap().modified().unwrap();
        write(&dist, &[asset("kept.js"), asset("index.html")], true).unwrap();
        assert_eq!(std::fs::metadata(&kept).unwrap().modified().unwrap(), changed);
        let names: Vec<_> = list(&dist).unwrap().iter().map(|file| file.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["index.html", "index.html.br", "index.html.gz", "kept.js", "kept.js.br", "kept.js.gz"]);
        std::fs::remove_dir_all(&dist).unwrap();
    }
}
