// Measures Tilestream in a real Chromium, beside wllama in the same browser, on one GGUF file.
//
//     cargo xtask bench browser -- [--tokens 16] [--repeats 3] [--megabytes-a-second 20] [--budgets 256MiB,24MiB]
//                                  [--only tilestream|wllama] [--json FILE]
//
// For each budget: a cold start (nothing stored, the host hands out at most so many megabytes a second) against a plain
// download of the same files at the same rate; decoding out of the browser's file system; and, for a streamed model,
// the time of a sweep against a plain read of the same bytes from the file system.
//
// wllama is llama.cpp compiled to wasm, here with one thread, for a page without special headers. It comes from npm, into
// `--modules`. Needs Node.js with npm and a Chromium, and takes some minutes. The variables CHROME and TILESTREAM name the
// browser and the command; `cargo xtask bench browser` sets them.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { cpus, loadavg, tmpdir, totalmem } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse, write } from "./support.mjs";

const WLLAMA = "3.8.1";
const PROMPT = "What is the capital of France?";

const { options, model: gguf } = parse(fileURLToPath(import.meta.url), {
  tokens: { type: "string", default: "16" },
  repeats: { type: "string", default: "3" },
  "megabytes-a-second": { type: "string", default: "20" },
  budgets: { type: "string", default: "256MiB,24MiB" },
  modules: { type: "string", default: join(tmpdir(), "tilestream-bench-browser") },
  only: { type: "string" },
});
// After the options, so that `--help` needs none of the packages of web/.
const { browser, open, readFileSync, scripted, temporary, tilestream } = await import("../../web/tests/support.mjs");
const [tokens, repeats] = [Number(options.tokens), Number(options.repeats)];
const bytesASecond = Number(options["megabytes-a-second"]) * 1e6;

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
const round = (value) => Number(value.toFixed(3));

/** Makes a server hand out its files at a shared rate, as a line of that width would. */
function throttle(server) {
  let free = performance.now();
  server.misbehave = (name, range, response, send, file) => {
    const all = readFileSync(file);
    const bytes = range ? all.subarray(...range) : all;
    const headers = { "Content-Length": bytes.length, "Cache-Control": "no-store" };
    if (range) headers["Content-Range"] = `bytes ${range[0]}-${range[1] - 1}/${all.length}`;
    response.writeHead(range ? 206 : 200, headers);
    const part = 64 << 10;
    const next = (at) => {
      if (at >= bytes.length) return response.end();
      const piece = bytes.subarray(at, at + part);
      free = Math.max(free, performance.now()) + (piece.length / bytesASecond) * 1000;
      setTimeout(() => response.write(piece, () => next(at + part)), free - performance.now());
    };
    next(0);
    return true;
  };
}

/** Seconds that a plain download of the model's files takes, six at a time. */
function download(page, names) {
  return page.evaluate(async (names) => {
    const start = performance.now();
    const fetchNext = async () => {
      for (let name; (name = names.shift()); ) {
        const reader = (await fetch(`models/model/${name}`)).body.getReader();
        while (!(await reader.read()).done);
      }
    };
    await Promise.all(Array.from({ length: 6 }, fetchNext));
    return (performance.now() - start) / 1000;
  }, names);
}

/** One answer of Tilestream: seconds to the first token, loading included, and for each token after it. */
function answer(page, budget) {
  return page.evaluate(
    async (budget, content, maxTokens) => {
      const start = performance.now();
      const model = await tilestream.AutoModel.fromPretrained("models/model/", { budget });
      const times = [];
      for await (const piece of model.generate([{ role: "user", content }], { maxTokens, ignoreEos: true })) {
        if (piece.id !== undefined) times.push((performance.now() - start) / 1000);
      }
      const profile = await model.profile();
      await model.dispose();
      return { first_s: times[0], token_s: (times.at(-1) - times[0]) / (times.length - 1), profile };
    },
    budget,
    PROMPT,
    tokens,
  );
}

/** Bytes a second of plain reads of what is stored, in pieces of 1 MiB, by a worker of its own. */
function storedRate(page) {
  return page.evaluate(async () => {
    const read = async () => {
      const handles = [];
      const walk = async (folder) => {
        for await (const entry of folder.values()) {
          if (entry.kind === "directory") await walk(entry);
          else if (entry.name.endsWith(".safetensors")) handles.push(entry);
        }
      };
      await walk(await navigator.storage.getDirectory());
      const piece = new Uint8Array(1 << 20);
      let bytes = 0;
      const start = performance.now();
      for (const handle of handles) {
        const file = await handle.createSyncAccessHandle();
        for (let at = 0; at < file.getSize(); at += piece.length) bytes += file.read(piece, { at });
        file.close();
      }
      postMessage(bytes / ((performance.now() - start) / 1000));
    };
    const url = URL.createObjectURL(new Blob([`(${read})()`], { type: "text/javascript" }));
    return new Promise((found) => (new Worker(url).onmessage = ({ data }) => found(data)));
  });
}

async function measureTilestream() {
  const models = temporary();
  tilestream("split", gguf, join(models, "model"));
  const manifest = JSON.parse(readFileSync(join(models, "model/manifest.json"), "utf8"));
  const names = manifest.files.map(({ name }) => name);
  const bytes = manifest.files.reduce((sum, { len_bytes }) => sum + len_bytes, 0);
  const results = { model_bytes: bytes, megabytes_a_second: bytesASecond / 1e6, budgets: {} };
  for (const budget of options.budgets.split(",")) {
    const runs = [];
    for (let run = 0; run < repeats; run++) {
      const [server, chromium] = [await scripted(models), await browser()];
      const page = await open(chromium, server.address);
      throttle(server);
      const plain_s = await download(page, names);
      const cold = await answer(page, budget);
      const warm = await answer(page, budget);
      const rate = await storedRate(page);
      await chromium.close();
      await server.stop();
      const read_s = warm.profile.streamedBytesPerSweep / rate;
      runs.push({ plain_s, cold_first_s: cold.first_s, warm_first_s: warm.first_s, token_s: warm.token_s, read_s, rate });
      results.adapter = warm.profile.adapter;
    }
    const of = (name) => round(median(runs.map((run) => run[name])));
    results.budgets[budget] = {
      plain_download_s: of("plain_s"),
      cold_first_token_s: of("cold_first_s"),
      warm_first_token_s: of("warm_first_s"),
      decode_tokens_per_s: round(1 / of("token_s")),
      sweep_s: of("token_s"),
      stored_read_s: of("read_s"),
      stored_megabytes_a_second: Math.round(of("rate") / 1e6),
    };
  }
  return results;
}

async function measureWllama() {
  const folder = join(options.modules, "node_modules/@wllama/wllama/esm");
  if (!existsSync(folder)) {
    mkdirSync(options.modules, { recursive: true });
    const install = ["install", "--prefix", options.modules, "--ignore-scripts", "--no-audit", "--no-fund"];
    execFileSync("npm", [...install, `@wllama/wllama@${WLLAMA}`], { stdio: ["ignore", "ignore", "inherit"] });
  }
  const [server, chromium] = [await scripted(temporary(), { wllama: folder, gguf: dirname(gguf) }), await browser()];
  const page = await open(chromium, server.address);
  const { first, rate, text } = await page.evaluate(askWllama, { file: `gguf/${basename(gguf)}`, content: PROMPT, tokens, repeats });
  await chromium.close();
  await server.stop();
  return { version: `wllama ${WLLAMA}`, first_token_s: round(median(first)), decode_tokens_per_s: round(median(rate)), text };
}

/** In the page: answers by wllama, loading left out. */
async function askWllama({ file, content, tokens, repeats }) {
  const { Wllama } = await import("/wllama/index.js");
  const wllama = new Wllama({ default: new URL("/wllama/wasm/wllama.wasm", location.href).href });
  const blob = await (await fetch(file)).blob();
  await wllama.loadModel([blob], { n_ctx: 512, n_gpu_layers: 0 });
  const [first, rate] = [[], []];
  let text;
  for (let run = 0; run < repeats; run++) {
    const [start, times] = [performance.now(), []];
    text = "";
    const request = { messages: [{ role: "user", content }], max_tokens: tokens, temperature: 0, cache_prompt: false, stream: true };
    for await (const chunk of await wllama.createChatCompletion(request)) {
      const piece = chunk.choices[0]?.delta?.content;
      if (!piece) continue;
      times.push((performance.now() - start) / 1000);
      text += piece;
    }
    first.push(times[0]);
    rate.push((times.length - 1) / (times.at(-1) - times[0]));
  }
  await wllama.exit();
  return { first, rate, text };
}

const report = { machine: `${cpus().length} x ${cpus()[0].model}, ${Math.round(totalmem() / 2 ** 30)} GiB`, load: loadavg() };
if (options.only !== "wllama") report.tilestream = await measureTilestream();
if (options.only !== "tilestream") report.wllama = await measureWllama();
for (const [budget, figures] of Object.entries(report.tilestream?.budgets ?? {})) {
  console.log(`tilestream ${budget}: ${figures.decode_tokens_per_s} tokens/s, first token ${figures.warm_first_token_s} s`);
  console.log(`  cold start ${figures.cold_first_token_s} s, plain download ${figures.plain_download_s} s`);
  if (figures.stored_read_s > 0) console.log(`  a sweep ${figures.sweep_s} s, plain read ${figures.stored_read_s} s`);
}
if (report.wllama) console.log(`wllama: ${report.wllama.decode_tokens_per_s} tokens/s, first token ${report.wllama.first_token_s} s`);
write(options, report);
