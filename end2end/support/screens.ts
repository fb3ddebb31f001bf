import AxeBuilder from "@axe-core/playwright";
import { type Page, expect } from "@playwright/test";
import { mkdirSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** The folder of the screenshots. */
export const folder = resolve(dirname(fileURLToPath(import.meta.url)), "../screenshots");

const VARIANTS = [
  { name: "light", scheme: "light", width: 1280, height: 900 },
  { name: "dark", scheme: "dark", width: 1280, height: 900 },
  { name: "phone", scheme: "light", width: 390, height: 844 },
] as const;

/** Takes the screenshots and checks accessibility. */
export async function inspect(page: Page, name: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  for (const variant of VARIANTS) {
    await page.emulateMedia({ colorScheme: variant.scheme, reducedMotion: "reduce" });
    await page.setViewportSize({ width: variant.width, height: variant.height });
    // In a screenshot of the whole page, the sticky header appears at the scroll position.
    await page.evaluate(() => scrollTo(0, 0));
    // A long page takes a processor without a graphics card many seconds.
    await page.screenshot({ path: `${folder}/${name}-${variant.name}.png`, fullPage: true, animations: "disabled", timeout: 60_000 });
    const found = await new AxeBuilder({ page }).withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]).analyze();
    const violations = found.violations.map((v) => `${v.id} (${v.impact}): ${v.help}\n  ${v.nodes.map((n) => `${n.target} ${n.failureSummary}`).join("\n  ")}`);
    expect(violations, `${name}, ${variant.name}`).toEqual([]);
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    expect(overflow, `${name}, ${variant.name}: the page scrolls horizontally`).toBeLessThanOrEqual(0);
  }
}
