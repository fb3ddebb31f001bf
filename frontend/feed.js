// The live feed. One connection serves all visible pages of a browser: this script runs as a shared worker, or as a worker of one
// page where browsers have no shared workers. With HTTP/1.1 a browser opens only six connections to a server.
//
// A page sends "want" when it becomes visible and every 15 s, "leave" when it is hidden, and "reconnect" when the network or the session
// has changed. It receives pairs of a name and data: "hello" (connected; changes before may be missing), "reconnecting",
// "unauthenticated" (no valid session), "alive" (the answer to "want"), or an event of the server.

/** The time without an event after which the connection is lost. The server sends `ping` every 15 s. */
const SILENCE_MS = 35_000;
/** The longest time until the first event. */
const CONNECT_MS = 15_000;
/** The time without "want" after which a page is gone. A page that crashes cannot send "leave". */
const PAGE_MS = 45_000;
/** Delays before a reconnection. They are random, so that the pages of many people do not reconnect at once after a restart. */
const MIN_DELAY_MS = 200;
const FIRST_DELAY_MS = 2_000;
const MAX_DELAY_MS = 15_000;
/** The longest delay that a response can demand. */
const MAX_RETRY_AFTER_MS = 300_000;

/** The pages that want the feed, with the time of their last "want". */
const pages = new Map();
/** The connection or the attempt to connect. */
let connection;
let live = false;
/** The time of the last event. */
let heard = 0;
let failures = 0;
let watchdog;
let retry;

function broadcast(name, data = "") {
  for (const page of pages.keys()) page.postMessage([name, data]);
}

function disconnect() {
  clearTimeout(watchdog);
  clearTimeout(retry);
  retry = undefined;
  live = false;
  connection?.abort();
  connection = undefined;
}

function leave(page) {
  if (pages.delete(page) && pages.size === 0) disconnect();
}

function receive(page, message) {
  if (message === "leave") return leave(page);
  const joins = !pages.has(page);
  pages.set(page, Date.now());
  page.postMessage(["alive", ""]);
  // A timer does not run while the machine sleeps.
  const silent = live && Date.now() - heard > SILENCE_MS;
  if (message === "reconnect" || silent || (joins && !connection && retry === undefined)) return connect();
  if (!joins) return;
  if (live) page.postMessage(["hello", ""]);
  else if (failures > 0) page.postMessage(["reconnecting", ""]);
}

/** Ends the connection unless an event arrives in time. */
function expect(attempt, ms) {
  heard = Date.now();
  clearTimeout(watchdog);
  watchdog = setTimeout(() => attempt.abort(), ms);
}

async function connect() {
  disconnect();
  const attempt = new AbortController();
  connection = attempt;
  expect(attempt, CONNECT_MS);
  let wait = 0;
  try {
    const response = await fetch("/api/v1/stream", { signal: attempt.signal, cache: "no-store" });
    if (response.status === 401 && connection === attempt) {
      disconnect();
      return broadcast("unauthenticated");
    }
    if (response.ok) await read(attempt, response.body);
    else wait = retryAfter(response.headers.get("retry-after") ?? "0");
  } catch {
    // The connection failed or was aborted.
  }
  if (connection === attempt) reconnectLater(wait);
}

async function read(attempt, body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done || connection !== attempt) return;
    expect(attempt, SILENCE_MS);
    const events = (text + value).split("\n\n");
    text = events.pop();
    for (const event of events) {
      const field = (name) => event.split("\n").find((line) => line.startsWith(name))?.slice(name.length) ?? "";
      handle(field("event: "), field("data: "));
    }
  }
}

function handle(name, data) {
  if (name === "hello") {
    live = true;
    failures = 0;
  }
  if (name !== "" && name !== "ping") broadcast(name, data);
}

/** The delay that the header Retry-After demands, as a number of seconds or as a date (RFC 9110 §10.2.3). */
function retryAfter(value) {
  const ms = /^\d+$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - Date.now();
  return Math.min(Math.max(ms || 0, 0), MAX_RETRY_AFTER_MS);
}

function reconnectLater(wait) {
  disconnect();
  broadcast("reconnecting");
  const longest = Math.min(FIRST_DELAY_MS * 2 ** failures, MAX_DELAY_MS);
  failures += 1;
  retry = setTimeout(connect, wait + MIN_DELAY_MS + Math.random() * longest);
}

setInterval(() => {
  for (const [page, seen] of pages) if (Date.now() - seen > PAGE_MS) leave(page);
}, PAGE_MS);

if ("onconnect" in self) {
  self.onconnect = ({ ports: [page] }) => {
    page.onmessage = ({ data }) => receive(page, data);
  };
} else {
  self.onmessage = ({ data }) => receive(self, data);
}
