// A GPU with less memory than the budget: the engine comes back with a smaller one and goes on.
//
// No software adapter runs out of memory in a way that its process survives, so the driver's refusal is played: what the
// engine sees of it are the browser's own error objects, from the scope and from the event.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, cpSync, inWorkers, join, native, open, scripted, smollm2, temporary } from "./support.mjs";

const PROMPT = "What is the capital of France?";
let chromium, server, expected;

before(async () => {
  const models = temporary();
  cpSync(smollm2(), join(models, "smollm2"), { recursive: true });
  expected = native(join(models, "smollm2"), { prompt: PROMPT, tokens: 8 });
  server = await scripted(models);
  chromium = await browser();
});
after(async () => {
  await chromium?.close();
  await server?.stop();
});

/** Runs in the worker: a device has room for `room` bytes, and runs out of it when the page says so. */
function prelude(room) {
  const { createBuffer, popErrorScope } = GPUDevice.prototype;
  const { destroy } = GPUBuffer.prototype;
  const { requestDevice } = GPUAdapter.prototype;
  const sizes = new Map();
  let refused = false;
  let device;
  GPUAdapter.prototype.requestDevice = async function (descriptor) {
    return (device = await requestDevice.call(this, descriptor));
  };
  GPUDevice.prototype.createBuffer = function (descriptor) {
    const used = [...sizes.values()].reduce((sum, size) => sum + size, 0);
    refused ||= used + descriptor.size > room;
    const buffer = createBuffer.call(this, refused ? { ...descriptor, size: 4 } : descriptor);
    sizes.set(buffer, buffer.size);
    return buffer;
  };
  GPUBuffer.prototype.destroy = function () {
    sizes.delete(this);
    return destroy.call(this);
  };
  GPUDevice.prototype.popErrorScope = async function () {
    const error = await popErrorScope.call(this);
    const memory = refused && new GPUOutOfMemoryError("out of memory");
    refused = false;
    return memory || error;
  };
  new BroadcastChannel("memory").onmessage = () => {
    const error = new GPUOutOfMemoryError("out of memory");
    device.dispatchEvent(new GPUUncapturedErrorEvent("uncapturederror", { error }));
  };
}

/** A page whose workers have that much GPU memory. */
async function confined(room) {
  // The worker below is none of the page's own.
  const page = await open(chromium, server.address, { bypassCsp: true });
  await inWorkers(page, prelude, room);
  return page;
}

test("a model is loaded with the memory that there is, and says so", async () => {
  const page = await confined(110 * 2 ** 20);
  const { ids, notice, profile } = await page.evaluate(async (content) => {
    const model = await tilestream.AutoModel.fromPretrained("models/smollm2/", { budget: "256MiB" });
    const { ids } = await answer(model, [{ role: "user", content }], { maxTokens: 8 });
    const result = { ids, notice: model.notice, profile: await model.profile() };
    await model.dispose();
    return result;
  }, PROMPT);
  assert.deepEqual(ids, expected);
  assert.equal(profile.budgetBytes, 64 * 2 ** 20, JSON.stringify(profile));
  assert.match(notice ?? "", /no memory for 256 MiB: 64 MiB are used/);
});

test("memory that runs out in mid-answer changes nothing of it", async () => {
  const page = await confined(2 ** 40);
  const { ids, profile } = await page.evaluate(async (content) => {
    const model = await tilestream.AutoModel.fromPretrained("models/smollm2/", { budget: "256MiB" });
    const ids = [];
    for await (const piece of model.generate([{ role: "user", content }], { maxTokens: 8, ignoreEos: true })) {
      if (piece.id !== undefined) ids.push(piece.id);
      if (ids.length === 3) new BroadcastChannel("memory").postMessage("runs out");
    }
    const profile = await model.profile();
    await model.dispose();
    return { ids, profile };
  }, PROMPT);
  assert.deepEqual(ids, expected);
  assert.equal(profile.budgetBytes, 128 * 2 ** 20, JSON.stringify(profile));
});
