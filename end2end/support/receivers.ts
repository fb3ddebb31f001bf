import { join } from "node:path";
import { Child, environment } from "./child.ts";
import { guideReceiver, root } from "./paths.ts";

/** A receiver as a process. */
export interface RunningReceiver {
  process: Child;
}

/** How to start a receiver on a port with a secret. */
export interface Kind {
  name: string;
  start(port: number, secret: string, options?: { stepsMs?: number }): Promise<Child>;
  /** Whether it reports `ready` at once, like the receiver of the guide. */
  immediate: boolean;
  /** The diagnosis of its response to a wrong secret. */
  wrongSecret: { words: RegExp; code: string };
}

function example(name: string, program: string, file: string): Kind {
  return {
    name,
    immediate: false,
    wrongSecret: { words: /did not accept the signature/, code: "signature_refused" },
    async start(port, secret, options = {}) {
      const env = { PORT: String(port), WEBHOOK_SECRET: secret, BERTH_STEPS_MS: String(options.stepsMs ?? 400) };
      const command = { program, args: [join(root, "examples", file)], cwd: root, env: environment(env) };
      const [child] = await Child.start(command, (line) => /^http:\/\//.exec(line)?.[0]);
      return child;
    },
  };
}

export const python = example("examples/python", process.env.BERTH_PYTHON ?? "python3", "python/receiver.py");
export const node = example("examples/node", process.execPath, "node/receiver.mjs");

/** The unmodified `app.py` of the guide. */
export const guide: Kind = {
  name: "the guide's own receiver",
  immediate: true,
  // It fails with a 500 without a reason.
  wrongSecret: { words: /internal error, no details given/, code: "server_error" },
  async start(port, secret) {
    const program = process.env.BERTH_GUIDE_PYTHON;
    if (program === undefined || guideReceiver === undefined) throw new Error("BERTH_GUIDE_RECEIVER is not set");
    const args = ["-m", "uvicorn", "app:app", "--host", "127.0.0.1", "--port", String(port)];
    const env = environment({ WEBHOOK_SECRET: secret, PYTHONDONTWRITEBYTECODE: "1" });
    const command = { program, args, cwd: guideReceiver, env };
    const [child] = await Child.start(command, (line) => (line.includes("Uvicorn running on") ? true : undefined));
    return child;
  },
};

/** All available receivers. */
export const kinds: Kind[] = guideReceiver === undefined ? [python, node] : [guide, python, node];
