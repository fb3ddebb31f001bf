//! Size budgets of the page.

use super::{assets, split};
use crate::progress::note;
use std::collections::BTreeMap;
use std::path::Path;

/// Budget in bytes for the files of the first screen after login, compressed with brotli.
const FIRST_SCREEN_BUDGET: u64 = 300_000;
/// Budget in bytes for the files that an area loads when it is first opened, compressed with brotli.
const AREA_BUDGET: u64 = 120_000;

/// Parts above their budget, with the size that they must not exceed (docs/adr/0008-code-splitting.md).
const ABOVE_BUDGET: [(&str, u64); 4] =
    [(FIRST_SCREEN, 301_000), ("deliveries", 143_500), ("webhookform", 160_500), ("webhooks", 121_500)];

/// The name of the first screen in the report.
const FIRST_SCREEN: &str = "first screen";

/// The sizes that have a budget, in bytes compressed with brotli.
#[derive(Default)]
pub struct Sizes {
    first_screen: u64,
    /// By name. A file that several areas share counts for each of them.
    areas: BTreeMap<String, u64>,
}

/// Prints the size of each file in bytes: uncompressed, with gzip and with brotli.
pub fn report(dist: &Path) -> anyhow::Result<Sizes> {
    note(&format!("\n{:>10} {:>10} {:>10}   file", "bytes", "gzip", "brotli"));
    let files = assets::list(dist)?;
    let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap_or_default().to_string_lossy()).collect();
    let areas = split::Areas::of_files(names.iter().map(AsRef::as_ref));
    let mut sizes = Sizes::default();
    let mut total = [0; 3];
    for (file, name) in files.iter().zip(&names) {
        if file.extension().is_some_and(|extension| extension == "br" || extension == "gz") {
            continue;
        }
        let plain = std::fs::metadata(file)?.len();
        let compressed =
            |ending: &str| std::fs::metadata(format!("{}.{ending}", file.display())).map_or(plain, |copy| copy.len());
        let size = [plain, compressed("gz"), compressed("br")];
        for (sum, size) in total.iter_mut().zip(size) {
            *sum += size;
        }
        sizes.add(&areas, name, size[2]);
        note(&row(size, &file.display().to_string()));
    }
    note(&row(total, "total"));
    note(&format!("\n{:>10} {:>10} {:>10}   with brotli", "bytes", "budget", "used"));
    for (name, size, budget) in sizes.with_budgets() {
        note(&format!("{size:>10} {budget:>10} {:>8} %   {name}", size * 100 / budget));
    }
    Ok(sizes)
}

impl Sizes {
    fn add(&mut self, areas: &split::Areas, file_name: &str, size: u64) {
        let mut is_lazy = false;
        for area in areas.of_file(file_name) {
            is_lazy = true;
            *self.areas.entry(area.to_owned()).or_default() += size;
        }
        if !is_lazy {
            self.first_screen += size;
        }
    }

    /// Each name with its size and budget.
    fn with_budgets(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        let budget_of = |part: &str, budget: u64| {
            ABOVE_BUDGET.iter().find(|(name, _)| *name == part).map_or(budget, |(_, enforced)| *enforced)
        };
        let areas = self.areas.iter().map(move |(area, size)| (area.as_str(), *size, budget_of(area, AREA_BUDGET)));
        std::iter::once((FIRST_SCREEN, self.first_screen, budget_of(FIRST_SCREEN, FIRST_SCREEN_BUDGET))).chain(areas)
    }

    /// Fails if a part of the page exceeds its budget. If a minifier is missing, it only prints a notice.
    pub fn enforce(&self, are_minifiers_complete: bool) -> anyhow::Result<()> {
        let excess: Vec<_> = self
            .with_budgets()
            .filter(|(_, size, budget)| size > budget)
            .map(|(name, size, budget)| format!("{name}: {size} bytes with brotli, {} too many", size - budget))
            .collect();
        if !excess.is_empty() && !are_minifiers_complete {
            note("The page exceeds its budget, because a minifier is not available.");
            return Ok(());
        }
        anyhow::ensure!(
            excess.is_empty(),
            "The page exceeds its budget ({}). Find the cause: cargo tree --package frontend --target wasm32-unknown-unknown",
            excess.join("; ")
        );
        Ok(())
    }
}

fn row([plain, gzip, brotli]: [u64; 3], name: &str) -> String {
    format!("{plain:>10} {gzip:>10} {brotli:>10}   {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_file_counts_for_each_of_its_areas() {
        let files = [
            ("frontend_bg-0123456789abcdef.wasm", 200_000),
            ("area_audit-0123456789abcdef.wasm", 50_000),
            ("area_webhooks-0123456789abcdef.wasm", 10_000),
            ("areas_3-0123456789abcdef.bin", 80_000),
        ];
        let areas = split::Areas::of_files(files.iter().map(|(name, _)| *name));
        let mut sizes = Sizes::default();
        for (name, size) in files {
            sizes.add(&areas, name, size);
        }
        let all: Vec<_> = sizes.with_budgets().map(|(name, size, _)| (name, size)).collect();
        assert_eq!(all, [("first screen", 200_000), ("audit", 130_000), ("webhooks", 90_000)]);
        let error = sizes.enforce(true).unwrap_err().to_string();
        assert!(error.contains("audit: 130000 bytes with brotli, 10000 too many"), "{error}");
        assert!(sizes.enforce(false).is_ok());
    }
}
