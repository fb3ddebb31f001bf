import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Api } from "./api.ts";
import { Child, environment } from "./child.ts";
import { binary } from "./paths.ts";

export const ADMIN = { username: "admin", password: "correct horse battery" };
export const ALICE = { username: "alice", password: "staple battery horse" };
export const BOB = { username: "bob", password: "horse staple correct" };

/** The timeout of a request in seconds. The default of 30 would make tests of timeouts slow. */
export const TIMEOUT_S = 4;

const GPU_CLUSTER = {
  slug: "gpu-cluster",
  name: "GPU cluster",
  config_schema: {
    type: "object",
    properties: {
      gpu_type: { type: "string", title: "GPU", enum: ["nvidia-a100", "nvidia-h100"], default: "nvidia-a100" },
      gpu_count: { type: "integer", title: "Number of GPUs", minimum: 1, maximum: 16, default: 4 },
      memory_gb: { type: "integer", title: "Memory (GB)", minimum: 16, maximum: 2048, default: 512 },
      exclusive: { type: "boolean", title: "Nobody else on the node" },
      purpose: { type: "string", title: "Purpose", maxLength: 40 },
    },
    required: ["gpu_count"],
  },
};

/** A server: the real binary on a free port with an empty SQLite database. */
export class Berth {
  url = "";
  /** The API as the administrator, once {@link Berth.prepare} was called. */
  api = new Api("", "");
  private child: Child | undefined;
  private resources = 0;

  private constructor(
    readonly folder: string,
    private env: Record<string, string>,
  ) {}

  /** Starts a server with an administrator, or without any account. */
  static async start(options: { env?: Record<string, string>; administrator?: boolean } = {}): Promise<Berth> {
    const folder = await mkdtemp(join(tmpdir(), "berth-end2end-"));
    const administrator = { BERTH_ADMIN_USERNAME: ADMIN.username, BERTH_ADMIN_PASSWORD: ADMIN.password };
    const berth = new Berth(folder, {
      BERTH_LISTEN: "127.0.0.1:0",
      BERTH_DATA_DIR: folder,
      BERTH_API_RATE: "0",
      // A few users make the reservations of all tests.
      BERTH_MAX_TOKENS: "0",
      BERTH_MAX_ACTIVE_RESERVATIONS: "0",
      BERTH_MAX_HOURS_AHEAD: "0",
      BERTH_MAX_RESERVATION_HOURS: "0",
      BERTH_MAX_CHANGES_PER_MINUTE: "0",
      BERTH_DELIVERY_TIMEOUT: String(TIMEOUT_S),
      ...(options.administrator === false ? {} : administrator),
      ...options.env,
    });
    await berth.run();
    return berth;
  }

  private command(...args: string[]) {
    return { program: binary(), args, cwd: this.folder, env: environment(this.env) };
  }

  private async run(): Promise<void> {
    const findUrl = (line: string) => /Berth listens on (http:\/\/\S+)/.exec(line)?.[1];
    [this.child, this.url] = await Child.start(this.command("serve"), findUrl);
    // A restart keeps the port, so that open pages reconnect.
    this.env.BERTH_LISTEN = new URL(this.url).host;
    const start = Date.now();
    while (!(await fetch(`${this.url}/readyz`)).ok) {
      if (Date.now() - start > 30_000) throw new Error(`The server does not become ready:\n${this.tail()}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Creates users, the resource type of the guide, and an API token for the tests. */
  async prepare(): Promise<void> {
    this.api = new Api(this.url, await this.token(ADMIN.username));
    for (const user of [ALICE, BOB]) {
      await this.api.post("/users", { ...user, email: `${user.username}@example.com`, role: "user" });
    }
    await this.api.post("/resource-types", GPU_CLUSTER);
  }

  /** Creates an API token with `berth token create`. */
  async token(user: string, name = "end2end", ...scopes: string[]): Promise<string> {
    const limit = scopes.length > 0 ? ["--scopes", scopes.join(",")] : [];
    const { program, args, cwd, env } = this.command("token", "create", "--user", user, "--name", name, ...limit);
    const { stdout } = await promisify(execFile)(program, args, { cwd, env });
    return stdout.trim();
  }

  /** The API as another user. */
  async as(user: string): Promise<Api> {
    return new Api(this.url, await this.token(user));
  }

  /** Creates a resource that no other test uses. */
  async resource(more: Record<string, unknown> = {}): Promise<{ id: number; name: string }> {
    this.resources += 1;
    return this.api.post("/resources", { name: `Cluster ${this.resources}`, resource_type: "gpu-cluster", ...more });
  }

  /** Kills the process, like a crash. */
  async kill(): Promise<void> {
    await this.child?.stop("SIGKILL");
  }

  /** Restarts the process on the same port, with changed settings. */
  async restart(env: Record<string, string> = {}): Promise<void> {
    await this.child?.stop();
    Object.assign(this.env, env);
    await this.run();
  }

  /** Copies the newest row of a table, while the server is stopped. `updates` has the SQL expression of changed columns, with the number `n`. */
  async copyRows(table: string, rows: number, updates: Record<string, string>): Promise<void> {
    await this.child?.stop();
    const script = fileURLToPath(new URL("insert-rows.py", import.meta.url));
    await promisify(execFile)("python3", [script, join(this.folder, "berth.db"), table, String(rows), JSON.stringify(updates)]);
    await this.run();
  }

  tail(): string {
    return this.child?.tail() ?? "";
  }

  /** Stops the process and deletes its data. */
  async stop(): Promise<void> {
    await this.child?.stop();
    await rm(this.folder, { recursive: true, force: true });
  }
}
