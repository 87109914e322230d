// A model of more than 2 GB in a tab, under 256 MiB: memory does not grow with the model. It takes 6 GB of disk.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { after, before, test } from "node:test";
import { browser, join, open, scripted, temporary, tilestream } from "./support.mjs";

// The shape of Llama-3.1 8B in 4 bits: embeddings and head are 0.6 GB, each layer is 0.14 GB.
const LAYERS = { less: 1, more: 14 };
let models, server;

const skip = process.platform !== "linux" && "reads /proc";

before(async () => {
  if (skip) return;
  models = temporary();
  for (const [name, layers] of Object.entries(LAYERS)) {
    tilestream("synth", "llama-3.1-8b", join(models, name), "--layers", String(layers), "--weights", "q4");
  }
  server = await scripted(models);
});
after(() => server?.stop());

/** Bytes that the browser's processes of a type have for themselves: /proc tells it on Linux. */
function memory(root, type) {
  const read = (pid, file) => {
    try {
      return readFileSync(`/proc/${pid}/${file}`, "utf8");
    } catch {
      return ""; // It ended meanwhile.
    }
  };
  const parent = new Map();
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    parent.set(Number(pid), Number(read(pid, "stat").replace(/^.*\) /s, "").split(" ")[1]));
  }
  const descends = (pid) => pid === root || (parent.has(pid) && descends(parent.get(pid)));
  const sizes = [...parent.keys()]
    .filter((pid) => descends(pid) && read(pid, "cmdline").includes(`--type=${type}`))
    .map((pid) => Number(/^Pss:\s+(\d+)/m.exec(read(pid, "smaps_rollup"))?.[1] ?? 0) * 1024);
  return Math.max(0, ...sizes);
}

/** The least of several looks, each after the garbage was collected: what was fetched waits for that. */
async function settled(chromium, page) {
  const targets = [await page.createCDPSession(), ...page.workers().map((worker) => worker.client)];
  const least = { renderer: Infinity, gpu: Infinity };
  for (let look = 0; look < 6; look++) {
    for (const target of targets) await target.send("HeapProfiler.collectGarbage");
    await new Promise((resolve) => setTimeout(resolve, 300));
    const root = chromium.process().pid;
    least.renderer = Math.min(least.renderer, memory(root, "renderer"));
    least.gpu = Math.min(least.gpu, memory(root, "gpu-process"));
  }
  return least;
}

/** Answers in a new browser; sizes of the model, and of renderer and GPU process afterwards, with the model still open. */
async function run(name) {
  const chromium = await browser();
  try {
    const page = await open(chromium, server.address);
    const result = await page.evaluate(async (name) => {
      globalThis.model = await tilestream.AutoModel.fromPretrained(`models/${name}/`, { budget: "256MiB" });
      // The first token while the model is fetched, the others out of the file system.
      const { ids } = await answer(model, { ids: [1, 2, 3] }, { maxTokens: 3 });
      return { ids, profile: await model.profile() };
    }, name);
    assert.equal(result.ids.length, 3);
    assert.ok(result.profile.peakGpuBytes <= 256 * 2 ** 20);
    assert.ok(result.profile.streamedBytesPerSweep > result.profile.modelBytes / 3);
    return { bytes: result.profile.modelBytes, ...(await settled(chromium, page)) };
  } finally {
    await chromium.close();
  }
}

test("memory of renderer and GPU process is that of a small model", { skip }, async () => {
  const [less, more] = [await run("less"), await run("more")];
  const mib = (bytes) => `${Math.round(bytes / 2 ** 20)} MiB`;
  for (const { bytes, renderer, gpu } of [less, more]) {
    console.log(`model ${mib(bytes)}: renderer ${mib(renderer)}, GPU process ${mib(gpu)}`);
  }
  assert.ok(more.bytes > 2e9 && less.bytes < more.bytes / 2, `${less.bytes} and ${more.bytes} bytes`);
  for (const process of ["renderer", "gpu"]) {
    assert.ok(less[process] > 20e6, "the process was found");
    const growth = more[process] / less[process] - 1;
    assert.ok(growth < 0.1, `${process} grows by ${(growth * 100).toFixed(1)} %`);
  }
});
