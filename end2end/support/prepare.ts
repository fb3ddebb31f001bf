import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { binary, guideReceiver } from "./paths.ts";

/** Prepares all tests once. */
export default function prepare(): void {
  binary();
  if (guideReceiver !== undefined) process.env.BERTH_GUIDE_PYTHON = guidePython(guideReceiver);
}

/** Returns a Python with the guide's pinned packages, in a virtual environment outside the repository. */
function guidePython(folder: string): string {
  const list = join(folder, "requirements.txt");
  if (!existsSync(list)) throw new Error(`BERTH_GUIDE_RECEIVER is ${folder}, but there is no requirements.txt in it.`);
  const python = process.env.BERTH_PYTHON ?? "python3";
  const version = run(python, ["--version"], "Install Python 3, or set BERTH_PYTHON to its path.");
  const key = createHash("sha256").update(version).update(readFileSync(list)).digest("hex").slice(0, 16);
  const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache");
  const venv = join(cache, "berth", "guide-receiver", key);
  const done = join(venv, "complete");
  const own = join(venv, "bin", "python");
  if (existsSync(done)) return own;
  console.log("Installing the packages of the guide's receiver (once) …");
  rmSync(venv, { recursive: true, force: true });
  mkdirSync(venv, { recursive: true });
  run(python, ["-m", "venv", venv], "On Debian, install python3-venv.");
  const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", list];
  run(own, pip, `The pinned packages need a package index and wheels for ${version.trim()}.`);
  writeFileSync(done, "");
  return own;
}

function run(program: string, args: string[], remedy: string): string {
  try {
    return execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  } catch (error) {
    const said = error instanceof Error && "stderr" in error ? String(error.stderr) : "";
    throw new Error(`The guide's receiver cannot be prepared: ${program} ${args.join(" ")} failed.\n${said}\n${remedy}`, { cause: error });
  }
}
