import { type IncomingMessage, type Server, type ServerResponse, createServer, request } from "node:http";
import type { AddressInfo } from "node:net";

/** A path that contains a hash, so that another version does not have it (`is_hashed` in server/src/http/spa.rs). */
const VERSIONED = /-[0-9a-f]{8,}(_bg)?\.[^/]*$|^\/snippets\//;

/**
 * A load balancer during an upgrade. Each file of the page is first requested from replicas of another version, which redirect as
 * the server does (`redirect_to_replica` in server/src/http/spa.rs). Other requests reach the server.
 */
export class LoadBalancer {
  /** The paths of the redirected requests. */
  readonly redirected: string[] = [];
  private target = "";

  private constructor(
    private readonly server: Server,
    private readonly otherReplicas: number,
  ) {}

  static async start(otherReplicas: number): Promise<LoadBalancer> {
    const server = createServer();
    const balancer = new LoadBalancer(server, otherReplicas);
    server.on("request", (incoming, outgoing) => balancer.handle(incoming, outgoing));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return balancer;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Sets the server that has the files. */
  forwardTo(url: string): void {
    this.target = url;
  }

  private handle(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const { pathname, searchParams } = new URL(incoming.url ?? "/", this.url);
    const attempts = Number(searchParams.get("attempt") ?? 0);
    if (VERSIONED.test(pathname) && attempts < this.otherReplicas) {
      this.redirected.push(pathname);
      const location = `${pathname}?attempt=${attempts + 1}`;
      outgoing.writeHead(307, { location, "cache-control": "no-store", connection: "close" }).end();
      return;
    }
    const { method, headers } = incoming;
    const forwarded = request(new URL(incoming.url ?? "/", this.target), { method, headers }, (response) => {
      outgoing.writeHead(response.statusCode ?? 502, response.headers);
      response.pipe(outgoing);
    });
    forwarded.on("error", () => outgoing.destroy());
    outgoing.on("close", () => forwarded.destroy());
    incoming.pipe(forwarded);
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
