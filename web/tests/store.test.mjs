// What the browser fetches and stores, from servers that are good, gone or bad.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { writeFileSync } from "node:fs";
import { browser, cpSync, inWorkers, join, native, open, readFileSync, scripted, small, smollm2, temporary, tilestream } from "./support.mjs";

const BLOCK = 64 * 1024;
const PROMPT = "hello there";
let models, expected;

before(() => {
  models = temporary();
  small("Q4_K", models);
  cpSync(smollm2(), join(models, "smollm2"), { recursive: true });
  expected = native(join(models, "Q4_K"), { prompt: PROMPT, tokens: 6, raw: true });
});

/** A server and a browser for one test, gone when it ends. */
async function stage(context, options) {
  const server = await scripted(models);
  const chromium = await browser(options);
  context.after(async () => {
    await chromium.close().catch(() => {});
    await server.stop().catch(() => {});
  });
  return { server, chromium };
}

/** Opens a model in a page and answers; ids, notice, or code and message of the error. */
function ask(page, { model = "models/Q4_K/", prompt = PROMPT, tokens = 6, ...load } = {}) {
  return page.evaluate(
    async (address, prompt, maxTokens, load) => {
      try {
        const model = await tilestream.AutoModel.fromPretrained(address, { budget: "48MiB", ...load });
        const { ids } = await answer(model, prompt, { maxTokens });
        await new Promise((resolve) => setTimeout(resolve, 600));
        const notice = model.notice;
        await model.dispose();
        return { ids, notice };
      } catch (error) {
        return { code: error.code, message: error.message };
      }
    },
    model,
    prompt,
    tokens,
    load,
  );
}

/** Blocks of model files that ranges of the log cover. */
function blocks(log) {
  const found = new Set();
  for (const { name, range } of log) {
    if (!range || !name.endsWith(".safetensors")) continue;
    for (let block = Math.floor(range[0] / BLOCK); block * BLOCK < range[1]; block++) found.add(`${name} ${block}`);
  }
  return found;
}

test("the second start needs no server", async (context) => {
  const profile = temporary();
  const { server, chromium } = await stage(context, { profile });
  const page = await open(chromium, server.address);
  assert.deepEqual((await ask(page)).ids, expected);
  server.misbehave = (name, range, response) => (response.destroy(), true);
  const asked = server.log.length;
  const again = await ask(page);
  assert.deepEqual(again.ids, expected, JSON.stringify(again));
  const shards = server.log.slice(asked).filter(({ name }) => name !== "manifest.json");
  assert.deepEqual(shards, [], "nothing but the manifest is asked for");
});

/** Files that are open at once: 64 of the model's, the cache's own two, and one that is written whole. */
const MOST_OPEN = 64 + 2 + 1;
const LAYERS = 100;

/** In a worker: tells how many files are open, and how often one was opened. */
function countHandles() {
  const told = new BroadcastChannel("handles");
  const count = { open: 0, most: 0, opened: 0 };
  const create = FileSystemFileHandle.prototype.createSyncAccessHandle;
  FileSystemFileHandle.prototype.createSyncAccessHandle = async function (...options) {
    const handle = await create.apply(this, options);
    count.opened += 1;
    count.most = Math.max(count.most, (count.open += 1));
    told.postMessage(count);
    return handle;
  };
  const close = FileSystemSyncAccessHandle.prototype.close;
  FileSystemSyncAccessHandle.prototype.close = function () {
    count.open -= 1;
    return close.apply(this);
  };
}

test("a model of many files is stored and read with few of them open", async (context) => {
  const [folder, many] = [temporary(), join(models, "many")];
  const sizes = { hidden_size: 64, intermediate_size: 64, num_hidden_layers: LAYERS, num_attention_heads: 4, vocab_size: 128 };
  const config = { architectures: ["LlamaForCausalLM"], ...sizes, rms_norm_eps: 1e-5, max_position_embeddings: 64 };
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  writeFileSync(join(folder, "ids.json"), "[1, 5, 9]");
  tilestream("synth", join(folder, "config.json"), many);
  const run = ["--ids-file", join(folder, "ids.json"), "--max-tokens", "4", "--ignore-eos", "--json"];
  const { ids } = JSON.parse(tilestream("run", many, ...run));
  const { server, chromium } = await stage(context);
  const page = await open(chromium, server.address, { bypassCsp: true });
  await inWorkers(page, countHandles);
  await page.evaluate(() => {
    new BroadcastChannel("handles").onmessage = ({ data }) => (globalThis.handles = data);
  });
  for (const gone of [false, true]) {
    server.misbehave = (name, range, response) => gone && (response.destroy(), true);
    const result = await ask(page, { model: "models/many/", prompt: { ids: [1, 5, 9] }, tokens: 4 });
    assert.deepEqual(result.ids, ids, JSON.stringify(result));
    const { most, opened } = await page.evaluate(() => globalThis.handles);
    assert.ok(opened > LAYERS, `${opened} were opened${gone ? " without the server" : ""}`);
    assert.ok(most <= MOST_OPEN, `${most} are open at once`);
  }
  const { cachedBytes, totalBytes } = (await page.evaluate(() => tilestream.cache.report())).models[0];
  assert.ok(cachedBytes > 0.9 * totalBytes, `${cachedBytes} of ${totalBytes} bytes are stored`);
});

test("a download that was killed resumes, and no stored block is fetched again", async (context) => {
  const profile = temporary();
  const { server, chromium } = await stage(context, { profile });
  let sent = 0;
  // Slow enough to be killed half-way.
  server.misbehave = (name, range, response, send) => {
    if (!name.endsWith(".safetensors")) return false;
    sent += range[1] - range[0];
    setTimeout(send, 60);
    return true;
  };
  const page = await open(chromium, server.address);
  await page.evaluate(async () => {
    const model = await tilestream.AutoModel.fromPretrained("models/smollm2/", { budget: "48MiB" });
    void answer(model, "Once", { maxTokens: 1 }).catch(() => {});
    globalThis.cached = async () => (await tilestream.cache.report()).models[0]?.cachedBytes ?? 0;
  });
  while (sent < 40e6) await new Promise((resolve) => setTimeout(resolve, 50));
  chromium.process().kill("SIGKILL");
  await new Promise((resolve) => setTimeout(resolve, 1000));
  server.misbehave = () => false;

  const next = await browser({ profile });
  context.after(() => next.close().catch(() => {}));
  const later = await open(next, server.address);
  const kept = await later.evaluate(() => tilestream.cache.report());
  const cachedBytes = kept.models[0].cachedBytes;
  assert.ok(cachedBytes > 20e6 && cachedBytes < 99e6, `${cachedBytes} bytes survived`);
  server.log.length = 0;
  const result = await ask(later, { model: "models/smollm2/", prompt: "Once", tokens: 2 });
  assert.equal(result.ids?.length, 2, JSON.stringify(result));
  const fetched = blocks(server.log);
  const total = kept.models[0].totalBytes;
  // Blocks are whole, but for the last of each file.
  assert.ok(fetched.size * BLOCK <= total - cachedBytes + 40 * BLOCK, `${fetched.size} blocks after ${cachedBytes} bytes of ${total}`);
  const requested = server.log.filter(({ name }) => name.endsWith(".safetensors")).map(({ range }) => range[1] - range[0]);
  const bytes = requested.reduce((sum, len) => sum + len, 0);
  assert.ok(bytes < (total - cachedBytes) * 1.1 + 4e6, `${bytes} bytes fetched again of ${total - cachedBytes} missing`);
});

const flip = (file, range) => {
  const all = readFileSync(file);
  const part = Buffer.from(range ? all.subarray(range[0], range[1]) : all);
  part[Math.floor(part.length / 2)] ^= 1;
  return part;
};

/** Faults, and what comes of them: the right ids, or an error with this code that names the file. */
const FAULTS = {
  "500 twice": { times: 2, act: (response) => response.writeHead(500).end() },
  "closes early": {
    times: 2,
    act: (response, range, file) => {
      response.writeHead(206, { "Content-Length": range[1] - range[0], "Content-Range": `bytes ${range[0]}-${range[1] - 1}/*` });
      response.write(readFileSync(file).subarray(range[0], range[0] + 100), () => response.destroy());
    },
  },
  "ignores ranges": { times: Infinity, act: (response, range, file) => response.writeHead(200).end(readFileSync(file)) },
  "sends another range": {
    times: Infinity,
    act: (response, range, file) => {
      const all = readFileSync(file);
      const part = Buffer.concat([all, all]).subarray(range[0] + 1, range[1] + 1);
      response.writeHead(206, { "Content-Length": part.length, "Content-Range": `bytes ${range[0] + 1}-${range[1]}/*` }).end(part);
    },
    fails: ["network", "malformed", "io", "checksum"],
  },
  "sends gzip": {
    times: Infinity,
    act: (response, range, file) => response.writeHead(206, { "Content-Encoding": "gzip" }).end(readFileSync(file)),
    fails: ["network", "malformed", "unsupported", "io"],
  },
  "changes a byte": {
    times: Infinity,
    act: (response, range, file) => {
      const part = flip(file, range);
      response.writeHead(206, { "Content-Length": part.length, "Content-Range": `bytes ${range[0]}-${range[1] - 1}/*` }).end(part);
    },
    fails: ["checksum"],
  },
  "does not know the file": { times: Infinity, act: (response) => response.writeHead(404).end(), fails: ["not_found"] },
};

test("a server that misbehaves changes no answer, or the error names the file", async (context) => {
  const { server, chromium } = await stage(context);
  for (const [name, { times, act, fails }] of Object.entries(FAULTS)) {
    let left = times;
    // The last file of the sweep, so that the others have come well.
    server.misbehave = (file, range, response, send, path) => {
      if (!file.startsWith("head.safetensors") || file.endsWith(".sums") || !range || left-- <= 0) return false;
      act(response, range, path);
      return true;
    };
    const page = await open(chromium, server.address);
    const result = await ask(page, { cache: fails ? "none" : "auto" });
    if (fails) {
      assert.ok(fails.includes(result.code), `${name}: ${JSON.stringify(result)}`);
      assert.match(result.message, /head\.safetensors/, name);
    } else {
      assert.deepEqual(result.ids, expected, `${name}: ${JSON.stringify(result)}`);
      assert.ok(left < times || times === Infinity, `${name}: it never happened`);
    }
    await page.evaluate(async () => {
      for (const { source } of (await tilestream.cache.report()).models) await tilestream.cache.delete(source);
    });
    await page.close();
  }
});

test("without room to store, the model streams from the network and says so", async (context) => {
  const { server, chromium } = await stage(context);
  const page = await open(chromium, server.address);
  const devtools = await page.createCDPSession();
  await devtools.send("Storage.overrideQuotaForOrigin", { origin: new URL(server.address).origin, quotaSize: 2e6 });
  const result = await ask(page, { model: "models/smollm2/", tokens: 2 });
  assert.equal(result.ids?.length, 2, JSON.stringify(result));
  assert.match(result.notice ?? "", /stored/i);
});

test("two tabs at once both answer, and one stores", async (context) => {
  const { server, chromium } = await stage(context);
  const [one, two] = [await open(chromium, server.address), await open(chromium, server.address)];
  const results = await Promise.all([ask(one), ask(two)]);
  for (const { ids } of results) assert.deepEqual(ids, expected);
  assert.equal(results.filter(({ notice }) => /another tab/i.test(notice ?? "")).length, 1, JSON.stringify(results));
});
