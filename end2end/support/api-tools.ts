import { execFile } from "node:child_process";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { environment } from "./child.ts";

/** The folder with the generator of Python clients and the property-based tester. `cargo xtask test` installs them. */
const tools = process.env.BERTH_API_TOOLS;

/** Whether the tools are installed. */
export const hasApiTools = tools !== undefined;
/** The reason to skip a test without them. */
export const WITHOUT_TOOLS = "BERTH_API_TOOLS is not set. Run the test with: cargo xtask test --browser api";

/** Runs a program of the tools in a folder, for the files that it writes. A failure contains its output. */
export async function runApiTool(
  program: string,
  args: string[],
  cwd: string,
  env: Record<string, string> = {},
  seconds = 80,
): Promise<string> {
  const path = [tools, process.env.PATH].join(delimiter);
  const options = {
    cwd,
    env: environment({ ...env, PATH: path }),
    timeout: seconds * 1_000,
    maxBuffer: 64 * 1024 * 1024,
  };
  try {
    return (await promisify(execFile)(join(tools ?? "", program), args, options)).stdout;
  } catch (error) {
    const { stdout = "", stderr = "" } = error as { stdout?: string; stderr?: string };
    throw new Error(`${program} ${args.join(" ")} failed:\n${stdout}\n${stderr}`, { cause: error });
  }
}
