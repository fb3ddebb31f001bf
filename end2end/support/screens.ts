import { type Page, expect } from "@playwright/test";
import axe from "axe-core";
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

const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

/** Returns the violations of accessibility rules in the page, as text. */
async function violationsOf(page: Page): Promise<string[]> {
  // Other frames would need their own run.
  expect(page.frames(), "the page has one frame").toHaveLength(1);
  // Axe stays in the page until the next navigation. Loading it takes longer than a run.
  if (!(await page.evaluate(() => "axe" in globalThis))) await page.evaluate(axe.source);
  const violations = await page.evaluate(async (rules) => {
    const { run } = (globalThis as unknown as { axe: typeof axe }).axe;
    // Without `resultTypes`, each run also describes every element that passes.
    return (await run({ runOnly: rules, resultTypes: ["violations"] })).violations;
  }, RULES);
  return violations.map((v) => `${v.id} (${v.impact}): ${v.help}\n  ${v.nodes.map((n) => `${n.target} ${n.failureSummary}`).join("\n  ")}`);
}

/** Takes the screenshots and checks accessibility, in both themes and on a phone. The page then has its earlier size, and the light theme. */
export async function inspect(page: Page, name: string, options: { fullPage?: boolean } = {}): Promise<void> {
  const { fullPage = true } = options;
  const size = page.viewportSize();
  mkdirSync(folder, { recursive: true });
  for (const variant of VARIANTS) {
    await page.emulateMedia({ colorScheme: variant.scheme, reducedMotion: "reduce" });
    await page.setViewportSize({ width: variant.width, height: variant.height });
    // In a screenshot of the whole page, the sticky header appears at the scroll position.
    await page.evaluate(() => scrollTo(0, 0));
    // A long page takes a processor without a graphics card many seconds.
    await page.screenshot({ path: `${folder}/${name}-${variant.name}.png`, fullPage, animations: "disabled", timeout: 60_000 });
    expect(await violationsOf(page), `${name}, ${variant.name}`).toEqual([]);
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    expect(overflow, `${name}, ${variant.name}: the page scrolls horizontally`).toBeLessThanOrEqual(0);
  }
  await page.emulateMedia({ colorScheme: "light" });
  if (size !== null) await page.setViewportSize(size);
}
