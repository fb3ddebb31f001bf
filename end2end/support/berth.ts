import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Api } from "./api.ts";
import { Child, environment } from "./child.ts";
import { binary } from "./paths.ts";

export const ADMIN = { username: "admin", password: "correct horse battery" };
export const ALICE = { username: "alice", password: "staple battery horse" };
export const BOB = { username: "bob", password: "horse staple correct" };

/** Seconds for one exchange with a receiver here; the product's 30 would make the tests of silence long. */
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

/** A server of its own: the real binary on a free port with a fresh SQLite database. */
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

  /** Starts a server that knows nobody, or only the administrator. */
  static async start(options: { env?: Record<string, string>; administrator?: boolean } = {}): Promise<Berth> {
    const folder = await mkdtemp(join(tmpdir(), "berth-end2end-"));
    const administrator = { BERTH_ADMIN_USERNAME: ADMIN.username, BERTH_ADMIN_PASSWORD: ADMIN.password };
    const berth = new Berth(folder, {
      BERTH_LISTEN: "127.0.0.1:0",
      BERTH_DATA_DIR: folder,
      BERTH_API_RATE: "0",
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
    const sign = (line: string) => /Berth listens on (http:\/\/\S+)/.exec(line)?.[1];
    [this.child, this.url] = await Child.start(this.command("serve"), sign);
    // A restart keeps the port: pages that are open come back to it.
    this.env.BERTH_LISTEN = new URL(this.url).host;
    const begun = Date.now();
    while (!(await fetch(`${this.url}/readyz`)).ok) {
      if (Date.now() - begun > 30_000) throw new Error(`The server does not become ready:\n${this.tail()}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Makes what most tests need: people, the guide's resource type, and a token for the tests' own calls. */
  async prepare(): Promise<void> {
    this.api = new Api(this.url, await this.token(ADMIN.username));
    for (const user of [ALICE, BOB]) {
      await this.api.post("/users", { ...user, email: `${user.username}@example.com`, role: "user" });
    }
    await this.api.post("/resource-types", GPU_CLUSTER);
  }

  /** `berth token create`: what it prints. */
  async token(user: string): Promise<string> {
    const { program, args, cwd, env } = this.command("token", "create", "--user", user, "--name", "end2end");
    const { stdout } = await promisify(execFile)(program, args, { cwd, env });
    return stdout.trim();
  }

  /** The API as somebody else. */
  async as(user: string): Promise<Api> {
    return new Api(this.url, await this.token(user));
  }

  /** A resource that no other test touches. */
  async resource(more: Record<string, unknown> = {}): Promise<{ id: number; name: string }> {
    this.resources += 1;
    return this.api.post("/resources", { name: `Cluster ${this.resources}`, resource_type: "gpu-cluster", ...more });
  }

  /** Ends the process at once, as a crash does. */
  async kill(): Promise<void> {
    await this.child?.stop("SIGKILL");
  }

  /** Starts it again on the same port, with other settings where given. */
  async restart(env: Record<string, string> = {}): Promise<void> {
    await this.child?.stop();
    Object.assign(this.env, env);
    await this.run();
  }

  tail(): string {
    return this.child?.tail() ?? "";
  }

  /** Ends it and forgets its data. */
  async stop(): Promise<void> {
    await this.child?.stop();
    await rm(this.folder, { recursive: true, force: true });
  }
}
