import { existsSync } from "node:fs";
import { defineConfig } from "@playwright/test";

// One zone for the browser and for the times that the tests compute, and not UTC: a time taken for UTC by mistake shows.
process.env.TZ = "Europe/Berlin";

const debian = "/usr/bin/chromium";
// Without either, Playwright finds its own.
const chromium = process.env.BERTH_CHROMIUM ?? (existsSync(debian) ? debian : undefined);

export default defineConfig({
  testDir: "specs",
  outputDir: "test-results",
  globalSetup: "./support/prepare.ts",
  workers: 2,
  retries: 0,
  forbidOnly: process.env.CI !== undefined,
  timeout: 90_000,
  expect: { timeout: 15_000 },
  reporter: [["line"], ["json", { outputFile: "test-results/report.json" }]],
  use: {
    browserName: "chromium",
    launchOptions: { executablePath: chromium },
    timezoneId: process.env.TZ,
    locale: "en-GB",
    viewport: { width: 1280, height: 900 },
    trace: "retain-on-failure",
    screenshot: "only-on-failure",
    actionTimeout: 15_000,
    navigationTimeout: 45_000,
  },
});
