import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** The command of a process. */
export interface Command {
  program: string;
  args: string[];
  cwd: string;
  env: Record<string, string>;
}

/** The environment of a process. It contains no settings of Berth from the caller's environment. */
export function environment(more: Record<string, string>): Record<string, string> {
  const kept: Record<string, string> = { NO_COLOR: "1" };
  for (const name of ["PATH", "HOME", "TMPDIR", "LANG"]) {
    const value = process.env[name];
    if (value !== undefined) kept[name] = value;
  }
  return { ...kept, ...more };
}

/** A process that runs until the test stops it by its id. */
export class Child {
  readonly log: string[] = [];
  private readonly ended: Promise<void>;
  private over = false;

  private constructor(
    private readonly child: ChildProcess,
    private readonly name: string,
  ) {
    this.ended = new Promise((resolve) => {
      child.once("exit", () => {
        this.over = true;
        resolve();
      });
    });
  }

  /** Starts a process and waits until `find` returns a value for a line of its output. */
  static async start<T>(command: Command, find: (line: string) => T | undefined): Promise<[Child, T]> {
    const { program, args, cwd, env } = command;
    const process = spawn(program, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
    const child = new Child(process, program);
    const found = new Promise<T>((resolve, reject) => {
      for (const stream of [process.stdout, process.stderr]) {
        createInterface({ input: stream }).on("line", (line) => {
          child.log.push(line);
          const seen = find(line);
          if (seen !== undefined) resolve(seen);
        });
      }
      process.once("error", reject);
      process.once("exit", (code) => reject(new Error(`${program} ended with ${code}:\n${child.tail()}`)));
      setTimeout(() => reject(new Error(`${program} wrote no expected line within 60 s:\n${child.tail()}`)), 60_000).unref();
    });
    try {
      return [child, await found];
    } catch (error) {
      await child.stop("SIGKILL");
      throw error;
    }
  }

  /** The last lines of the log. */
  tail(): string {
    return this.log.slice(-80).join("\n");
  }

  /** Sends a signal. */
  signal(name: NodeJS.Signals): void {
    this.child.kill(name);
  }

  /** Stops the process and waits for its end. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    if (this.over || this.child.pid === undefined) return;
    this.child.kill(signal);
    // A stopped process handles SIGTERM only after it continues.
    this.child.kill("SIGCONT");
    const kill = setTimeout(() => this.child.kill("SIGKILL"), 30_000);
    await this.ended;
    clearTimeout(kill);
  }

  toString(): string {
    return `${this.name} (${this.child.pid})`;
  }
}

/** Returns a free port, for a process that needs it before it starts. */
export async function freePort(): Promise<number> {
  const { createServer } = await import("node:net");
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}
