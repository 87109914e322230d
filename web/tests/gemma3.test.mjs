// Gemma 3 270M in a tab, a base model of another family than SmolLM2, with a vocabulary of 262,144: what it finds most
// likely is what the reference finds on the same weights, and a text goes on as it does natively.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, gemma3, gemma3Golden, native, open, scripted, temporary } from "./support.mjs";

const PROMPT = "The capital of France is";
const TOKENS = 4;
const golden = gemma3Golden();
// After so many tokens of the reference's text, where it is sure of what comes next.
const LENGTHS = [2, 11];
let chromium, server, page, theirs;

before(async () => {
  theirs = native(gemma3(), { prompt: PROMPT, tokens: TOKENS, raw: true });
  server = await scripted(temporary(), { gemma3: gemma3() });
  chromium = await browser();
  page = await open(chromium, server.address);
});
after(async () => {
  await chromium?.close();
  await server?.stop();
});

for (const [budget, streams] of [["96MiB", true], ["512MiB", false]]) {
  test(`Gemma 3 gives the reference's tokens and the native engine's under ${budget}`, async () => {
    const ours = await page.evaluate(
      async (budget, text, maxTokens, prompts) => {
        const model = await tilestream.AutoModel.fromPretrained("gemma3/", { budget });
        const next = [];
        for (const ids of prompts) next.push((await answer(model, { ids }, { maxTokens: 1 })).ids[0]);
        const { ids } = await answer(model, text, { maxTokens });
        const profile = await model.profile();
        await model.dispose();
        return { next, ids, profile };
      },
      budget,
      PROMPT,
      TOKENS,
      LENGTHS.map((length) => golden.ids.slice(0, length)),
    );
    assert.deepEqual(ours.next, LENGTHS.map((length) => golden.best[length - 1]));
    assert.deepEqual(ours.ids, theirs);
    assert.ok(ours.profile.peakGpuBytes <= ours.profile.budgetBytes, JSON.stringify(ours.profile));
    assert.equal(ours.profile.streamedBytesPerSweep > 0, streams, JSON.stringify(ours.profile));
  });
}
