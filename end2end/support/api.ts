/** The fields of API responses that the tests read. */
export interface Webhook {
  id: number;
  name: string;
  endpoint_url: string;
  secret_hint: string;
  public_key: string | null;
  state: string;
  enabled: boolean;
}

export interface Reservation {
  id: string;
  status: string;
  user_id: string;
  provisioning: { status: string; message: string; updated_at: string };
  deliveries?: Delivery[];
}

export interface Delivery {
  id: string;
  event_id: string;
  event_type: string;
  webhook_id: number;
  reservation_id: string | null;
  status: string;
  attempts: number;
  attempt_log: Attempt[];
}

export interface Attempt {
  attempt: number;
  started_at: string;
  duration_ms: number;
  outcome: string;
  status_code: number | null;
  diagnosis: { code: string; message: string; hint: string };
}

export interface Page<T> {
  items: T[];
  next_cursor: string | null;
}

/** The public API with one token. */
export class Api {
  constructor(
    readonly url: string,
    readonly token: string,
  ) {}

  /** Sends a request and returns the response, also with an error status. */
  raw(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Response> {
    const sent = body === undefined ? {} : { body: JSON.stringify(body) };
    return fetch(`${this.url}/api/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${this.token}`, "content-type": "application/json", ...headers },
      ...sent,
    });
  }

  /** Sends a request that must succeed. */
  async call<T>(method: string, path: string, body?: unknown): Promise<T> {
    const response = await this.raw(method, path, body);
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path} returned ${response.status}: ${text}`);
    return (text === "" ? undefined : JSON.parse(text)) as T;
  }

  get<T>(path: string): Promise<T> {
    return this.call("GET", path);
  }

  post<T>(path: string, body: unknown = {}): Promise<T> {
    return this.call("POST", path, body);
  }

  /** Registers a webhook, with defaults for the missing fields. */
  webhook(input: Record<string, unknown>): Promise<Webhook & { secret: string }> {
    const rest = { name: "Cluster Manager", events: ["reservation.created", "reservation.updated", "reservation.cancelled"] };
    return this.post("/webhooks", { ...rest, auth: { method: "none" }, resource_type: "gpu-cluster", ...input });
  }

  /** Reserves `resource` for two hours, from the full hour in `hours` hours. */
  reserve(resource: number, hours = 1, more: Record<string, unknown> = {}): Promise<Reservation> {
    const start = nextHour(hours);
    const end = new Date(start.getTime() + 2 * 3_600_000);
    return this.post("/reservations", { resource_id: resource, start_time: start.toISOString(), end_time: end.toISOString(), ...more });
  }

  async deliveries(query: string): Promise<Delivery[]> {
    return (await this.get<Page<Delivery>>(`/deliveries?${query}`)).items;
  }
}

/** The full hour that starts `hours` after the current one. */
export function nextHour(hours: number): Date {
  const time = new Date(Date.now() + hours * 3_600_000);
  time.setMinutes(0, 0, 0);
  return time;
}

/** The value of a `datetime-local` input. */
export function local(time: Date): string {
  const two = (n: number) => String(n).padStart(2, "0");
  const day = `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
  return `${day}T${two(time.getHours())}:${two(time.getMinutes())}`;
}
