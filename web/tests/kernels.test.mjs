// The table of kernels in the browser: each against its CPU twin, as natively.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, kernels, scripted, temporary } from "./support.mjs";

let chromium, server, page;

before(async () => {
  server = await scripted(temporary(), { kernels: kernels() });
  chromium = await browser();
  page = await chromium.newPage();
  await page.goto(server.address);
  await page.evaluate(async () => {
    const { askForSubgroups } = await import("/kernels/subgroups.js");
    askForSubgroups();
    globalThis.table = await import("/kernels/tilestream.js");
    await table.default({ module_or_path: "/kernels/tilestream_bg.wasm" });
    table.prepare();
  });
});
after(async () => {
  await chromium?.close();
  await server?.stop();
});

/** "matches", or what the case failed with. A panic is an error of the page and leaves the promise open. */
const outcome = (name) =>
  page.evaluate(
    (name) =>
      new Promise((resolve) => {
        const failed = (event) => resolve(String(event.error ?? event.reason ?? event.message));
        addEventListener("error", failed, { once: true });
        addEventListener("unhandledrejection", failed, { once: true });
        table.run(name).then(() => resolve("matches"), (error) => resolve(String(error)));
      }),
    name,
  );

test("devices come with subgroups, where the adapter has them", async () => {
  const adapter = await page.evaluate(async () => (await navigator.gpu.requestAdapter()).features.has("subgroups"));
  assert.equal(await page.evaluate(() => table.subgroups()), adapter);
});

test("every kernel matches its CPU twin", async () => {
  const names = await page.evaluate(() => table.names());
  assert.ok(names.length > 8, `${names.length} cases`);
  for (const name of names) assert.equal(await outcome(name), "matches", name);
});

test("a case that fails is noticed", async () => {
  assert.match(await outcome("no such case"), /no such case/);
});
