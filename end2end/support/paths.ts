import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** The repository. */
export const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");

/** The path of the server: `BERTH_BINARY`, or the output of `cargo build --package server`. */
export function binary(): string {
  const path = resolve(process.env.BERTH_BINARY ?? `${root}/target/debug/berth`);
  if (!existsSync(path)) {
    throw new Error(`There is no server at ${path}. Run: cargo xtask test --browser`);
  }
  return path;
}

/** The folder of the guide's receiver, if the caller has it. */
export const guideReceiver = process.env.BERTH_GUIDE_RECEIVER;
