// An identity provider (OpenID Connect) as a process: the package oidc-provider with its own log-in pages, which accept any
// password. Settings come from the environment:
//
// PORT, CLIENT (JSON of the client's registration), ACCOUNTS (a JSON file with the claims by login, read at each log-in),
// KEY (the private key as JWK), CLOCK_SHIFT_S (seconds that its clock is ahead).

import { readFileSync } from "node:fs";

const { PORT, CLIENT, ACCOUNTS, KEY, CLOCK_SHIFT_S } = process.env;
const shift = Number(CLOCK_SHIFT_S) * 1000;
if (shift !== 0) {
  const RealDate = Date;
  globalThis.Date = class extends RealDate {
    constructor(...values) {
      super(...(values.length === 0 ? [RealDate.now() + shift] : values));
    }

    static now() {
      return RealDate.now() + shift;
    }
  };
}

// Imported after the change of the clock.
const { default: Provider } = await import("oidc-provider");

const provider = new Provider(`http://127.0.0.1:${PORT}`, {
  clients: [JSON.parse(CLIENT)],
  jwks: { keys: [JSON.parse(KEY)] },
  cookies: { keys: ["a key for tests"] },
  claims: {
    openid: ["sub", "sid"],
    profile: ["preferred_username", "groups"],
    email: ["email", "email_verified"],
  },
  features: { backchannelLogout: { enabled: true } },
  // The default refuses to send requests to this machine.
  fetch: (url, options) => fetch(url, { ...options, dispatcher: undefined }),
  async findAccount(_, id) {
    const claims = JSON.parse(readFileSync(ACCOUNTS, "utf8"))[id];
    return claims && { accountId: id, claims: async () => ({ sub: id, ...claims }) };
  },
});
provider.on("server_error", (_, error) => console.error(error));
provider.on("backchannel.error", (_, error) => console.error(error));
provider.listen(Number(PORT), "127.0.0.1", () => console.log(`The identity provider listens on ${PORT}`));
