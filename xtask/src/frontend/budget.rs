//! Size budget of the page.

use super::assets;
use crate::progress::note;
use std::path::Path;

/// Budget in bytes for all files together, compressed with brotli. The first screen after login needs every file.
const BUDGET: u64 = 450_000;

/// The size of the page in bytes, compressed with brotli.
pub struct Size(u64);

/// Prints the size of each file in bytes: uncompressed, with gzip and with brotli.
pub fn report(dist: &Path) -> anyhow::Result<Size> {
    note(&format!("\n{:>10} {:>10} {:>10}   file", "bytes", "gzip", "brotli"));
    let mut total = [0; 3];
    for file in assets::list(dist)? {
        if file.extension().is_some_and(|extension| extension == "br" || extension == "gz") {
            continue;
        }
        let plain = std::fs::metadata(&file)?.len();
        let compressed =
            |ending: &str| std::fs::metadata(format!("{}.{ending}", file.display())).map_or(plain, |copy| copy.len());
        let sizes = [plain, compressed("gz"), compressed("br")];
        for (sum, size) in total.iter_mut().zip(sizes) {
            *sum += size;
        }
        note(&row(sizes, &file.display().to_string()));
    }
    note(&row(total, "total"));
    note(&format!("{:>32}   budget ({} % used)", BUDGET, total[2] * 100 / BUDGET));
    Ok(Size(total[2]))
}

impl Size {
    /// Fails if the page exceeds its budget. If a minifier is missing, it only prints a notice.
    pub fn enforce(&self, are_minifiers_complete: bool) -> anyhow::Result<()> {
        let excess = self.0.saturating_sub(BUDGET);
        if excess > 0 && !are_minifiers_complete {
            note("The page exceeds its budget, because a minifier is not available.");
            return Ok(());
        }
        anyhow::ensure!(
            excess == 0,
            "The page has {} bytes with brotli, {excess} more than its budget of {BUDGET}. Find the cause: cargo tree --package frontend --target wasm32-unknown-unknown",
            self.0
        );
        Ok(())
    }
}

fn row([plain, gzip, brotli]: [u64; 3], name: &str) -> String {
    format!("{plain:>10} {gzip:>10} {brotli:>10}   {name}")
}
