// Answers of one model at once: each is what it is alone, and they share sweeps.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, cpSync, join, open, scripted, small, smollm2, temporary } from "./support.mjs";

let chromium, server, page;

before(async () => {
  const models = temporary();
  small("Q8_0", models);
  cpSync(smollm2(), join(models, "smollm2"), { recursive: true });
  server = await scripted(models);
  chromium = await browser();
  page = await open(chromium, server.address);
});
after(async () => {
  await chromium?.close();
  await server?.stop();
});

test("answers at once are what they are alone, whatever company comes, goes and fails, and share sweeps", async () => {
  const runs = await page.evaluate(async () => {
    const asked = [
      ["What is the capital of France?", { maxTokens: 24 }],
      ["Tell me a short story about a fox and an owl.", { maxTokens: 24, temperature: 1, seed: 7 }],
      ["Once upon a time", { maxTokens: 20, repetitionPenalty: 1.3 }],
    ];
    const load = () => tilestream.AutoModel.fromPretrained("models/Q8_0/", { budget: "32MiB", cache: "none" });
    const sweeps = async (model) => (await model.profile()).sweeps;
    const alone = [];
    let sum = 0;
    for (const [prompt, options] of asked) {
      const model = await load();
      alone.push(await answer(model, prompt, options));
      sum += await sweeps(model);
      await model.dispose();
    }
    const model = await load();
    const { sequences } = model;
    const long = { maxTokens: 100, ignoreEos: true };
    const [abort, later] = [new AbortController(), []];
    const ids = [];
    let told = 0;
    const aborted = failure(async () => {
      for await (const piece of model.generate("In the middle of the night", { ...long, signal: abort.signal })) {
        if (piece.id !== undefined) ids.push(piece.id);
        // In the middle of it others come, some of which cannot be answered, and figures are asked for.
        if (ids.length === 3) {
          later.push(answer(model, ...asked[1]), failure(() => answer(model, "Hot", { temperature: -1 })));
          later.push(failure(() => answer(model, { ids: new Array(9000).fill(5) }, {})), answer(model, ...asked[2]));
          later.push(sweeps(model).then((count) => (told = count)));
        }
        if (ids.length === 9) abort.abort();
      }
    });
    const first = await answer(model, ...asked[0]);
    const [second, hot, tooLong, third] = await Promise.all(later);
    const stopped = await aborted;
    const shared = await sweeps(model);
    // The one that was aborted goes on by itself.
    const rest = await answer(model, "In the middle of the night", { ...long, maxTokens: ids.length });
    await model.dispose();
    return { alone, together: [first, second, third], hot, tooLong, stopped, ids, rest: rest.ids, sum, shared, told, sequences };
  });
  assert.deepEqual(runs.together, runs.alone);
  assert.equal(runs.sequences, 4);
  assert.equal(runs.hot.code, "argument", JSON.stringify(runs.hot));
  assert.match(runs.tooLong.message, /9000 tokens/);
  assert.equal(runs.stopped.code, "cancelled");
  assert.deepEqual(runs.rest, runs.ids);
  // With those of the answer that was aborted.
  assert.ok(runs.shared < runs.sum, `${runs.shared} sweeps together, ${runs.sum} alone`);
  assert.ok(runs.told > 0 && runs.told < runs.shared, `figures after ${runs.told} of ${runs.shared} sweeps`);
});

test("a crowd goes on through a device that is lost, and the picture of the stream follows", async () => {
  const runs = await page.evaluate(async () => {
    const model = await tilestream.AutoModel.fromPretrained("models/Q8_0/", { budget: "32MiB" });
    const prompts = ["one two", "three", "four five six"];
    const options = { maxTokens: 16 };
    const alone = [];
    for (const prompt of prompts) alone.push(await answer(model, prompt, options));
    const before = await model.stream();
    let pieces = 0;
    const watched = async () => {
      for await (const _ of model.generate("seven", { maxTokens: 16, ignoreEos: true })) if (++pieces === 4) await model.loseDevice();
    };
    const [, ...together] = await Promise.all([watched(), ...prompts.map((prompt) => answer(model, prompt, options))]);
    const { tiles, intervals, now } = await model.stream();
    const ends = Array.from(intervals).filter((_, index) => index % 5 === 4);
    await model.dispose();
    return { alone, together, pieces, tiles: [before.tiles.length, tiles.length], last: Math.max(...ends), then: before.now, now };
  });
  assert.deepEqual(runs.together, runs.alone);
  assert.equal(runs.pieces, 16);
  assert.equal(runs.tiles[0], runs.tiles[1]);
  assert.ok(runs.last > runs.then && runs.last <= runs.now, JSON.stringify(runs));
});

test("answers beyond those that share sweeps wait, and a small budget lets fewer share", async () => {
  const runs = await page.evaluate(async () => {
    const open = (options) => tilestream.AutoModel.fromPretrained("models/smollm2/", { cache: "none", ...options });
    const model = await tilestream.AutoModel.fromPretrained("models/Q8_0/", { budget: "32MiB", sequences: 2 });
    const prompts = ["One", "Two", "Three", "Four", "Five"];
    const alone = [];
    for (const prompt of prompts) alone.push(await answer(model, prompt, { maxTokens: 6 }));
    const together = await Promise.all(prompts.map((prompt) => answer(model, prompt, { maxTokens: 6 })));
    const { sequences } = model;
    await model.dispose();
    const small = await open({ budget: "24MiB" });
    const few = small.sequences;
    await small.dispose();
    const refused = [];
    for (const sequences of [0, 65, 1.5, "two"]) refused.push((await failure(() => open({ sequences }))).code);
    return { alone, together, sequences, few, refused };
  });
  assert.deepEqual(runs.together, runs.alone);
  assert.ok(runs.sequences === 2 && runs.few >= 1 && runs.few < 4, `${runs.sequences} and ${runs.few}`);
  assert.deepEqual(runs.refused, ["argument", "argument", "argument", "argument"]);
});
