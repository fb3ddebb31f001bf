// Each fault of a receiver gets a diagnosis with a remedy.

import { Berth, expect, logInByApi, test, testWebhook } from "../fixtures.ts";
import { freePort } from "../support/child.ts";
import { type Behaviour, TestReceiver, responds, dribbles, floods, hangsUp, silent, speaksNoHttp } from "../support/test-receiver.ts";

const REDIRECT = responds(302, {}, { location: "https://elsewhere.example/api/webhook" });

const CASES: { name: string; behaviour: Behaviour; message: RegExp; hint: RegExp }[] = [
  { name: "signature refused", behaviour: responds(401, { detail: "Invalid webhook signature" }), message: /responded with 401: it did not accept the signature/, hint: /Compare the webhook's secret/ },
  { name: "credentials refused", behaviour: responds(403, { error: "no such key" }), message: /responded with 403: it did not accept the credentials.*no such key/, hint: /Choose the authentication method/ },
  { name: "silence", behaviour: silent, message: /no response came within 4 seconds/, hint: /accept the work with 202 at once/ },
  { name: "a byte a second", behaviour: dribbles, message: /its body did not end within 4 seconds/, hint: /respond briefly/ },
  { name: "rate limit", behaviour: responds(429, {}, { "retry-after": "30" }), message: /responded with 429: too many requests.*Retry-After 30/, hint: /rate limit/ },
  { name: "not found", behaviour: responds(404, "<h1>Not here</h1>"), message: /responded with 404: \/api\/webhook\/reservation does not exist/, hint: /delivery paths/ },
  { name: "method not allowed", behaviour: responds(405), message: /responded with 405: .* does not accept POST/, hint: /always sends POST/ },
  { name: "redirect", behaviour: REDIRECT, message: /a redirect to https:\/\/elsewhere\.example/, hint: /Register the final URL/ },
  { name: "gone", behaviour: responds(410), message: /responded with 410 Gone/, hint: /The response to a test changes nothing/ },
  { name: "body refused", behaviour: responds(422, { detail: "gpu_type is missing" }), message: /responded with 422: .*gpu_type is missing/, hint: /Compare what your service expects/ },
  { name: "server error", behaviour: responds(500, { detail: "out of GPUs" }), message: /responded with 500: .*out of GPUs/, hint: /service's log/ },
  { name: "not HTTP", behaviour: speaksNoHttp, message: /did not send an HTTP response/, hint: /Check the port/ },
  { name: "a broken connection", behaviour: hangsUp, message: /broke before the response was complete/, hint: /crash or restart/ },
  { name: "a flood", behaviour: floods, message: /larger than 64 KiB/, hint: /short JSON body/ },
];

for (const { name, behaviour, message, hint } of CASES) {
  test(name, async ({ berth, pageOf, receiver }) => {
    const service = await receiver(behaviour);
    const webhook = await berth.api.webhook({ endpoint_url: service.endpoint });
    const page = await pageOf("admin");
    const dialog = await testWebhook(page, webhook);
    const verdict = dialog.getByRole("status").filter({ hasText: message });
    await expect(verdict).toBeVisible();
    await expect(verdict).toContainText(hint);
    await expect(page.getByRole("list", { name: "Timings" })).toContainText("Total");
    // A test event is not retried, and the log marks it as a test.
    expect(service.received).toHaveLength(1);
    await dialog.getByRole("button", { name: "Close" }).click();
    await page.getByRole("link", { name: "Deliveries" }).last().click();
    const row = page.getByRole("region", { name: "Deliveries" }).locator("tbody").getByRole("row");
    await expect(row).toHaveCount(1);
    await expect(row).toContainText("Failed");
    await expect(row).toContainText("test");
  });
}

test("an HTML response with 200 is a success and shown as text", async ({ berth, pageOf, receiver }) => {
  const service = await receiver(responds(200, "<script>document.title = 'owned'</script><h1>Hello</h1>"));
  const webhook = await berth.api.webhook({ endpoint_url: service.endpoint });
  const page = await pageOf("admin");
  await testWebhook(page, webhook);
  await expect(page.getByLabel("Response body", { exact: true })).toContainText("<h1>Hello</h1>");
  await expect(page.getByRole("heading", { name: "Hello", exact: true })).toHaveCount(0);
  await expect(page).not.toHaveTitle("owned");
});

test("an untrusted certificate is diagnosed", async ({ berth, pageOf, receiver }) => {
  const service = await receiver(responds(200), true);
  const webhook = await berth.api.webhook({ endpoint_url: service.endpoint });
  const page = await pageOf("admin");
  await testWebhook(page, webhook);
  const verdict = page.getByRole("status").filter({ hasText: /The certificate of 127\.0\.0\.1/ });
  await expect(verdict).toContainText(/intermediate certificates|openssl/);
  expect(service.received).toEqual([]);
});

test("a refused connection and an unknown host are diagnosed", async ({ berth, pageOf }) => {
  const refused = await berth.api.webhook({ endpoint_url: `http://127.0.0.1:${await freePort()}/` });
  const nowhere = await berth.api.webhook({ endpoint_url: "http://nowhere.invalid/" });
  const page = await pageOf("admin");
  for (const [webhook, message, hint] of [
    [refused, /nothing listens on that port/, /Start your service/],
    [nowhere, /nowhere\.invalid does not resolve/, /typing errors/],
  ] as const) {
    await testWebhook(page, webhook);
    await expect(page.getByRole("status").filter({ hasText: message })).toContainText(hint);
    await expect(page.getByText("No response.")).toBeVisible();
  }
});

test("a forbidden address is not called", async ({ browser }) => {
  const berth = await Berth.start();
  const service = await TestReceiver.start();
  try {
    await berth.prepare();
    const webhook = await berth.api.webhook({ endpoint_url: service.endpoint });
    // The address was allowed at registration and is not allowed any more.
    await berth.restart({ BERTH_ALLOW_NETWORKS: "" });
    const page = await logInByApi(browser, berth, "admin");
    await testWebhook(page, webhook);
    const verdict = page.getByRole("status").filter({ hasText: /127\.0\.0\.1 is a loopback address, which Berth does not call/ });
    await expect(verdict).toContainText("BERTH_ALLOW_NETWORKS=127.0.0.1/32");
    expect(service.received).toEqual([]);
    await page.context().close();
  } finally {
    await service.stop();
    await berth.stop();
  }
});
