import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** An e-mail that the server accepted. */
export interface Mail {
  to: string[];
  /** Headers and text. */
  text: string;
}

/** A mail server (smtp-server) as a process. It requires credentials, and stores what it accepts. */
export class MailServer {
  readonly mails: Mail[] = [];

  private constructor(
    private readonly child: ChildProcess,
    readonly port: number,
  ) {}

  static async start(): Promise<MailServer> {
    const program = fileURLToPath(new URL("mail-server.mjs", import.meta.url));
    const child = spawn(process.execPath, [program], { stdio: ["ignore", "pipe", "inherit"] });
    const lines = createInterface({ input: child.stdout });
    return new Promise((resolve, reject) => {
      let server: MailServer | undefined;
      child.once("exit", (code) => reject(new Error(`The mail server ended with ${code}.`)));
      lines.on("line", (line) => {
        if (server === undefined) resolve((server = new MailServer(child, Number(line))));
        else server.mails.push(JSON.parse(line) as Mail);
      });
    });
  }

  /** The settings of Berth that send e-mails to it. */
  get settings(): Record<string, string> {
    return {
      BERTH_SMTP_URL: `smtp://berth:mail%20password@127.0.0.1:${this.port}`,
      BERTH_SMTP_FROM: "Berth <berth@example.com>",
    };
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.removeAllListeners("exit");
    this.child.once("exit", () => {});
    this.child.kill();
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 2_000))]);
  }
}
