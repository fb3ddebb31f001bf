import type { Page } from "@playwright/test";
import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Berth } from "./berth.ts";
import { Child, environment, freePort } from "./child.ts";

const here = dirname(fileURLToPath(import.meta.url));

/** The claims of a user of the provider. */
export interface Claims {
  preferred_username: string;
  email: string;
  email_verified: boolean;
  groups: string[];
}

/** An identity provider that we did not write (`support/identity-provider.mjs`), and a server that uses it. */
export class IdentityProvider {
  private child: Child | undefined;
  private keys = 0;
  private key = "";

  private constructor(
    private readonly folder: string,
    private readonly port: number,
    private readonly berthPort: number,
  ) {}

  static async start(): Promise<IdentityProvider> {
    const folder = await mkdtemp(join(tmpdir(), "berth-end2end-"));
    const provider = new IdentityProvider(folder, await freePort(), await freePort());
    await provider.setUsers({});
    provider.newKey();
    await provider.run();
    return provider;
  }

  get issuer(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get berthUrl(): string {
    return `http://127.0.0.1:${this.berthPort}`;
  }

  /** Makes a new key for the next start. */
  newKey(): void {
    const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    this.keys += 1;
    this.key = JSON.stringify({ ...privateKey.export({ format: "jwk" }), kid: `key-${this.keys}`, use: "sig", alg: "RS256" });
  }

  /** Starts the provider with a clock that is `aheadSeconds` ahead. A running one is stopped; its sessions end. */
  async run(aheadSeconds = 0): Promise<void> {
    await this.child?.stop();
    const client = {
      client_id: "berth",
      client_secret: "a secret for tests",
      redirect_uris: [`${this.berthUrl}/oidc/corp/callback`],
      post_logout_redirect_uris: [`${this.berthUrl}/login`],
      backchannel_logout_uri: `${this.berthUrl}/oidc/corp/back-channel-log-out`,
      backchannel_logout_session_required: true,
    };
    const env = environment({
      PORT: String(this.port),
      CLIENT: JSON.stringify(client),
      ACCOUNTS: join(this.folder, "accounts.json"),
      KEY: this.key,
      CLOCK_SHIFT_S: String(aheadSeconds),
    });
    const command = { program: process.execPath, args: [resolve(here, "identity-provider.mjs")], cwd: here, env };
    const isReady = (line: string) => (line.startsWith("The identity provider listens") ? line : undefined);
    [this.child] = await Child.start(command, isReady);
  }

  /** Sets the users by login. They apply to the next log-in. */
  async setUsers(users: Record<string, Claims>): Promise<void> {
    await writeFile(join(this.folder, "accounts.json"), JSON.stringify(users));
  }

  /** Stops the provider; its data stays. */
  async down(): Promise<void> {
    await this.child?.stop();
  }

  /** Starts a server with this provider as `corp`. */
  async berth(env: Record<string, string> = {}): Promise<Berth> {
    return Berth.start({
      env: {
        BERTH_LISTEN: `127.0.0.1:${this.berthPort}`,
        BERTH_OIDC_PROVIDERS: "corp",
        BERTH_OIDC_CORP_ISSUER: this.issuer,
        BERTH_OIDC_CORP_CLIENT_ID: "berth",
        BERTH_OIDC_CORP_CLIENT_SECRET: "a secret for tests",
        BERTH_OIDC_CORP_DISPLAY_NAME: "Example Corp",
        BERTH_OIDC_CORP_ADMIN_GROUPS: "berth-admins",
        ...env,
      },
    });
  }

  tail(): string {
    return this.child?.tail() ?? "";
  }

  async stop(): Promise<void> {
    await this.child?.stop();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Claims of a user without special rights. */
export function claimsOf(username: string, more: Partial<Claims> = {}): Claims {
  return {
    preferred_username: username,
    email: `${username}@corp.example`,
    email_verified: true,
    groups: ["staff"],
    ...more,
  };
}

/** Logs in on the pages of the provider, and agrees there. */
export async function logInAtProvider(page: Page, login: string): Promise<void> {
  await page.getByPlaceholder("Enter any login").fill(login);
  await page.getByPlaceholder("and password").fill("any password");
  await page.getByRole("button", { name: "Sign-in" }).click();
  await agree(page);
}

/** Agrees on the page of the provider, if it asks. */
export async function agree(page: Page): Promise<void> {
  const consent = page.getByRole("button", { name: "Continue" });
  const returned = page.locator(".topbar").or(page.getByRole("heading", { name: "Log-in failed" }));
  await consent.or(returned).first().waitFor();
  if (await consent.isVisible()) await consent.click();
}
