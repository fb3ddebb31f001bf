import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { type IncomingHttpHeaders, type Server, type ServerResponse, createServer } from "node:http";
import { type ServerOptions, createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Pair } from "./authority.ts";

/** A received request. */
export interface Received {
  method: string;
  path: string;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

/** Handles a request. */
export type Behaviour = (response: ServerResponse, request: Received) => void | Promise<void>;

/** Sends a response. */
export function responds(status: number, body: unknown = { status: "success" }, headers: Record<string, string> = {}): Behaviour {
  return (response) => {
    const [type, text] = typeof body === "string" ? ["text/html", body] : ["application/json", JSON.stringify(body)];
    response.writeHead(status, { "content-type": type, ...headers }).end(text);
  };
}

/** Never responds. */
export const silent: Behaviour = () => {};

/** Sends a response with one byte per second. */
export const dribbles: Behaviour = (response) => {
  response.writeHead(200, { "content-type": "application/json", "content-length": "100000" });
  const timer = setInterval(() => response.write(" "), 1_000);
  response.on("close", () => clearInterval(timer));
};

/** Sends data that is not HTTP. */
export const speaksNoHttp: Behaviour = (response) => {
  response.socket?.end("SSH-2.0-OpenSSH_9.2\r\n");
};

/** Closes the connection. */
export const hangsUp: Behaviour = (response) => {
  response.socket?.destroy();
};

/** Sends an endless body. */
export const floods: Behaviour = (response) => {
  const block = Buffer.alloc(64 * 1024, "x");
  response.writeHead(200, { "content-type": "text/plain" });
  const more = () => {
    while (!response.destroyed && response.write(block));
  };
  response.on("drain", more);
  more();
};

/** Keeps requests pending until the test opens the gate. */
export class Gate {
  private opened: (() => void) | undefined;
  private readonly wait = new Promise<void>((resolve) => {
    this.opened = resolve;
  });

  constructor(private readonly then: Behaviour = responds(200)) {}

  readonly behaviour: Behaviour = async (response, request) => {
    await this.wait;
    await this.then(response, request);
  };

  open(): void {
    this.opened?.();
  }
}

/** The certificate of a receiver that requires client certificates, and the authority of these. */
export interface MutualTls {
  ca: string;
  server: Pair;
}

/** A receiver in the test, with a configurable behaviour. It stores the requests. */
export class TestReceiver {
  readonly received: Received[] = [];
  behaviour: Behaviour = responds(200);

  private constructor(
    private readonly server: Server,
    private readonly scheme: string,
  ) {}

  static async start(behaviour?: Behaviour, tls: boolean | MutualTls = false): Promise<TestReceiver> {
    const server = tls ? createTlsServer(tls === true ? selfSigned() : requiringClients(tls)) : createServer();
    const receiver = new TestReceiver(server, tls ? "https" : "http");
    if (behaviour !== undefined) receiver.behaviour = behaviour;
    server.on("request", async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk);
      const { method = "", url: path = "", headers } = request;
      const received = { method, path, headers, body: Buffer.concat(chunks) };
      receiver.received.push(received);
      await receiver.behaviour(response, received);
    });
    // Tests and Berth close connections on purpose.
    server.on("clientError", (_, socket) => socket.destroy());
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return receiver;
  }

  get endpoint(): string {
    return `${this.scheme}://127.0.0.1:${(this.server.address() as AddressInfo).port}/api/webhook`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

/** The options of a server that requires client certificates. */
function requiringClients({ ca, server }: MutualTls): ServerOptions {
  return { key: server.key, cert: server.certificate, ca, requestCert: true, rejectUnauthorized: true };
}

/** Creates a self-signed certificate. */
function selfSigned(): { key: Buffer; cert: Buffer } {
  const folder = mkdtempSync(join(tmpdir(), "berth-certificate-"));
  const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  const ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"];
  execFileSync("openssl", ["req", "-x509", ...ec, ...names, "-keyout", key, "-out", cert], { stdio: "pipe" });
  const pair = { key: readFileSync(key), cert: readFileSync(cert) };
  rmSync(folder, { recursive: true });
  return pair;
}
