import { type AddressInfo, type Server, type Socket, connect, createServer } from "node:net";

/** A TCP proxy in front of a server. It can lose all data, like a network that drops packets, and it counts live feeds. */
export class Proxy {
  /** The number of open connections with a live feed. */
  feeds = 0;
  private readonly sockets = new Set<Socket>();
  private target: { host: string; port: number } | undefined;
  private lost = false;

  private constructor(private readonly server: Server) {}

  static async start(): Promise<Proxy> {
    const server = createServer();
    const proxy = new Proxy(server);
    server.on("connection", (client) => proxy.forward(client));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Sets the server behind the proxy. */
  forwardTo(url: string): void {
    const { hostname, port } = new URL(url);
    this.target = { host: hostname, port: Number(port) };
  }

  /** Loses all data, of open and of new connections, without closing them. */
  losePackets(lost: boolean): void {
    this.lost = lost;
  }

  private forward(client: Socket): void {
    if (this.target === undefined) return void client.destroy();
    const upstream = connect(this.target);
    let isFeed = false;
    this.sockets.add(client).add(upstream);
    client.on("data", (data) => {
      if (!isFeed && data.toString("latin1").startsWith("GET /api/v1/stream")) {
        isFeed = true;
        this.feeds += 1;
      }
      if (!this.lost) upstream.write(data);
    });
    upstream.on("data", (data) => {
      if (!this.lost) client.write(data);
    });
    const close = () => {
      if (isFeed) this.feeds -= 1;
      isFeed = false;
      for (const socket of [client, upstream]) {
        socket.destroy();
        this.sockets.delete(socket);
      }
    };
    for (const socket of [client, upstream]) socket.on("close", close).on("error", close);
  }

  async stop(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
