// The package as others use it: from another origin, under a strict policy, with what they hand in.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { after, before, test } from "node:test";
import { browser, join, open, packed, scripted, small, source, temporary } from "./support.mjs";

let chromium, server, page, models;

before(async () => {
  models = temporary();
  small("Q8_0", models);
  server = await scripted(models);
  chromium = await browser();
  page = await open(chromium, `${server.address}plain.html`);
});
after(async () => {
  await chromium?.close();
  await server?.stop();
});

const TYPES = { js: "text/javascript", wasm: "application/wasm" };

/** A host of the package alone, on an origin of its own; without `files` that are `missing`. */
async function cdn(context, { missing = [], headers = { "Access-Control-Allow-Origin": "*" } } = {}) {
  const host = createServer((request, response) => {
    const name = request.url.slice(1);
    const file = join(packed, "dist", name);
    if (missing.includes(name) || !existsSync(file) || !statSync(file).isFile()) return response.writeHead(404, headers).end();
    response.writeHead(200, { ...headers, "Content-Type": TYPES[name.split(".").at(-1)] ?? "text/plain" }).end(readFileSync(file));
  });
  await new Promise((listening) => host.listen(0, "127.0.0.1", listening));
  context.after(() => (host.closeAllConnections(), host.close()));
  return `http://127.0.0.1:${host.address().port}/`;
}

/** Answers with the package at an address: ids, or what failed. */
const answerWith = (page, address, more = {}) =>
  page.evaluate(
    async (address, { workerUrl, model = "models/Q8_0/" }) => {
      const { AutoModel, env } = await import(`${address}index.js`);
      if (workerUrl) env.workerUrl = workerUrl;
      try {
        const opened = await AutoModel.fromPretrained(model, { budget: "32MiB", cache: "none" });
        const { ids } = await answer(opened, "hello there", { maxTokens: 4 });
        await opened.dispose();
        return ids;
      } catch (error) {
        return { code: error.code, message: error.message };
      }
    },
    address,
    more,
  );

/** The same of a model that is not there: the worker has to run to find out. */
const failureWith = (page, address, more) => answerWith(page, address, { ...more, model: "models/none/" });

test("from another origin its worker starts too", async (context) => {
  const ids = await answerWith(page, await cdn(context));
  assert.deepEqual(ids, await answerWith(page, `${server.address}package/`));
  assert.equal(ids.length, 4, JSON.stringify(ids));
});

test("a worker or wasm that cannot be loaded has a code and is named", async (context) => {
  const cases = [
    [await cdn(context, { missing: ["worker.js"] }), {}, "worker", /worker\.js/],
    [await cdn(context, { missing: ["tilestream_bg.wasm"] }), {}, "wasm", /tilestream_bg\.wasm/],
    [`${server.address}package/`, { workerUrl: "/nowhere/worker.js" }, "worker", /worker\.js/],
  ];
  for (const [address, more, code, named] of cases) {
    const fresh = await open(chromium, `${server.address}plain.html`);
    const failed = await answerWith(fresh, address, more);
    assert.equal(failed.code, code, JSON.stringify(failed));
    assert.match(failed.message, named);
    await fresh.close();
  }
});

test("it works on a page that asks for trusted types", async (context) => {
  const strict = await open(chromium, `${server.address}strict.html`);
  context.after(() => strict.close());
  const refused = await strict.evaluate(() => {
    try {
      document.body.innerHTML = "<b>x</b>";
      return false;
    } catch {
      return true;
    }
  });
  assert.ok(refused, "the policy holds");
  for (const more of [{}, { workerUrl: "/package/worker.js" }]) {
    assert.equal((await failureWith(strict, `${server.address}package/`, more)).code, "not_found");
  }
});

test("every spelling of a folder is one address", async () => {
  const { folderAddress } = await source("check");
  const spellings = ["https://h/a/m", "https://h/a/m/", "https://h/a/m//", "https://h/a/m/manifest.json", "https://h/a/m/#part"];
  for (const spelling of [...spellings, ...spellings.map((text) => new URL(text))]) assert.equal(folderAddress(spelling), "https://h/a/m/");
  assert.equal(folderAddress("https://h"), "https://h/");
  assert.equal(folderAddress("https://h/m?key=1"), "https://h/m/?key=1");
  assert.throws(() => folderAddress("m"), { code: "argument" });
});

test("with or without a slash a model is stored once, and deleted", async () => {
  const found = await page.evaluate(async (base) => {
    for (const source of ["models/Q8_0", new URL("models/Q8_0/", base)]) {
      await (await tilestream.AutoModel.fromPretrained(source, { budget: "32MiB" })).dispose();
    }
    const before = (await tilestream.cache.report()).models.map(({ source }) => source);
    await tilestream.cache.delete(new URL("models/Q8_0", base));
    return { before, after: (await tilestream.cache.report()).models.length };
  }, server.address);
  assert.deepEqual(found.before, [`${server.address}models/Q8_0/`]);
  assert.equal(found.after, 0);
});

test("a list of files opens as an array of them does", async () => {
  const handle = await page.evaluateHandle(() => {
    const input = document.createElement("input");
    Object.assign(input, { type: "file", multiple: true });
    return document.body.appendChild(input);
  });
  await handle.asElement().uploadFile(...readdirSync(join(models, "Q8_0")).map((name) => join(models, "Q8_0", name)));
  const ids = await page.evaluate(async (input) => {
    const model = await tilestream.AutoModel.fromPretrained(input.files, { budget: "32MiB" });
    const { ids } = await answer(model, "hello there", { maxTokens: 3 });
    await model.dispose();
    return ids;
  }, handle);
  assert.equal(ids.length, 3);
});

test("what is handed in wrongly is named", async () => {
  const failures = await page.evaluate(async () => {
    const load = (options, source = "models/Q8_0/") => failure(() => tilestream.AutoModel.fromPretrained(source, options));
    const model = await tilestream.AutoModel.fromPretrained("models/Q8_0/", { budget: "32MiB", signal: undefined });
    const ask = (options, prompt = "a") => failure(() => answer(model, prompt, options));
    const create = (request) => failure(() => model.chat.completions.create({ messages: [], ...request }));
    const found = {
      buget: await load({ buget: "1GiB" }),
      context: await load({ context: "many" }),
      constructor: await load({ constructor: 1 }),
      source: await load({}, 7),
      address: await load({}, "http://"),
      max_tokens: await ask({ max_tokens: 3 }),
      temperature: await ask({ temperature: "hot" }),
      stop: await ask({ stop: "x" }),
      image_url: await ask({}, [{ role: "user", content: [{ type: "image_url", image_url: {} }] }]),
      content: await ask({}, [{ role: "user" }]),
      role: await ask({}, ["hello"]),
      frequency_penalty: await create({ frequency_penalty: 1 }),
      stream: await create({ stream: "yes" }),
      messages: await create({ messages: "hello" }),
    };
    await model.dispose();
    return found;
  });
  for (const [name, { code, message }] of Object.entries(failures)) {
    assert.equal(code, "argument", `${name}: ${message}`);
    if (!["source", "address"].includes(name)) assert.ok(message.includes(name), `${name}: ${message}`);
  }
});

test("parts of a message are read like its text", async () => {
  const [parts, text, chunked] = await page.evaluate(async () => {
    const model = await tilestream.AutoModel.fromPretrained("models/Q8_0/", { budget: "32MiB" });
    const chat = async (content) => {
      try {
        return await answer(model, [{ role: "user", content }], { maxTokens: 4 });
      } catch (error) {
        return error.message;
      }
    };
    const parts = await chat([{ type: "text", text: "hello " }, { type: "text", text: "there" }]);
    const text = await chat("hello there");
    const stream = Math.random() < 2;
    const request = { messages: [{ role: "user", content: [{ type: "text", text: "hello" }] }], max_completion_tokens: 2, model: "any", stream };
    const chunked = await failure(async () => {
      for await (const _ of await model.chat.completions.create(request));
    });
    await model.dispose();
    return [parts, text, chunked];
  });
  assert.deepEqual(parts, text);
  // The small model may have no chat template; that is told the same way for both.
  assert.ok(chunked === "nothing failed" || chunked.message === text, JSON.stringify(chunked));
});
