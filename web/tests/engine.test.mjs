// The engine in the browser against the engine on this machine: the same shaders, the same ids.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, cpSync, families, join, native, open, scripted, small, smollm2, temporary, tensors, tilestream } from "./support.mjs";

const ENCODINGS = [
  ...["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"],
  ...["Q2_K", "Q3_K", "IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0", "Q1_0", "MXFP4", "NVFP4", "i-quants"],
];
let chromium, server, page, models;

before(async () => {
  models = temporary();
  ENCODINGS.forEach((encoding) => small(encoding, models));
  cpSync(smollm2(), join(models, "smollm2"), { recursive: true });
  server = await scripted(models);
  chromium = await browser();
  page = await open(chromium, server.address);
});
after(async () => {
  await chromium?.close();
  await server?.stop();
});

test("every encoding gives the ids of the native engine", async () => {
  for (const encoding of ENCODINGS) {
    const ours = await page.evaluate(async (address) => {
      const model = await tilestream.AutoModel.fromPretrained(address, { budget: "32MiB", cache: "none" });
      const result = await answer(model, "hello there", { maxTokens: 8 });
      await model.dispose();
      return result.ids;
    }, `models/${encoding}/`);
    assert.deepEqual(ours, native(join(models, encoding), { prompt: "hello there", tokens: 8, raw: true }), encoding);
    assert.equal(ours.length, 8);
  }
});

test("SmolLM2 answers alike at a quarter of its size, resident, and natively", async () => {
  const prompt = "What is the capital of France?";
  const theirs = native(join(models, "smollm2"), { prompt, tokens: 8 });
  for (const [budget, streams] of [["24MiB", true], ["256MiB", false]]) {
    const ours = await page.evaluate(
      async (budget, content) => {
        const model = await tilestream.AutoModel.fromPretrained("models/smollm2/", { budget });
        const result = await answer(model, [{ role: "user", content }], { maxTokens: 8 });
        const profile = await model.profile();
        const { tiles, layers } = await model.stream();
        await model.dispose();
        return { ...result, profile, tiles: tiles.length, layers: layers.length };
      },
      budget,
      prompt,
    );
    assert.deepEqual(ours.ids, theirs, budget);
    assert.match(ours.text, /Paris/);
    assert.ok(ours.profile.peakGpuBytes <= ours.profile.budgetBytes, JSON.stringify(ours.profile));
    assert.equal(ours.profile.streamedBytesPerSweep > ours.profile.modelBytes / 2, streams, budget);
    assert.equal(ours.profile.streamedBytesPerSweep === 0, !streams, budget);
    assert.ok(ours.tiles > 30 && ours.layers === 31, `${ours.tiles} tiles`);
  }
});

// Norms, caps, windows, rotations and experts of other families: the ids of their reference implementations.
const FAMILIES = [
  "gemma2", "gemma3", "cohere", "phi-2", "phi3", "stablelm", "baichuan-13b", "mixtral", "qwen2-moe", "deepseek-v3-fp8",
  "gpt-oss-mxfp4", "qwen3-next",
];

test("families give the ids of their references, streamed and resident", async () => {
  for (const family of FAMILIES) {
    tilestream("split", join(families, family), join(models, family));
    const { ids, greedy } = tensors(join(families, family, "golden.safetensors"));
    for (const budget of ["12MiB", "64MiB"]) {
      const ours = await page.evaluate(
        async (address, prompt, budget, maxTokens) => {
          const model = await tilestream.AutoModel.fromPretrained(address, { budget, cache: "none", context: 64 });
          const { ids } = await answer(model, { ids: prompt }, { maxTokens });
          await model.dispose();
          return ids;
        },
        `models/${family}/`,
        ids,
        budget,
        greedy.length,
      );
      assert.deepEqual(ours, greedy, `${family}, ${budget}`);
    }
  }
});

test("a device that is lost in mid-answer changes nothing of it", async () => {
  const [calm, lost] = await page.evaluate(async () => {
    const model = await tilestream.AutoModel.fromPretrained("models/Q8_0/", { budget: "32MiB" });
    const calm = (await answer(model, "one two", { maxTokens: 12 })).ids;
    const lost = [];
    for await (const piece of model.generate("one two", { maxTokens: 12, ignoreEos: true })) {
      lost.push(piece.id);
      if (lost.length === 5) await model.loseDevice();
    }
    await model.dispose();
    return [calm, lost];
  });
  assert.deepEqual(lost, calm);
});

test("answers stop at once and leave the model usable", async () => {
  const result = await page.evaluate(async () => {
    const model = await tilestream.AutoModel.fromPretrained("models/smollm2/", { budget: "64MiB" });
    const abort = new AbortController();
    let stoppedAt;
    const long = failure(async () => {
      for await (const piece of model.generate("Once upon a time", { maxTokens: 500, ignoreEos: true, signal: abort.signal })) {
        stoppedAt ??= (setTimeout(() => abort.abort(), 100), performance.now() + 100);
      }
    });
    const stopped = await long;
    const tookMs = performance.now() - stoppedAt;
    const first = answer(model, "One", { maxTokens: 2 });
    const second = answer(model, "Two", { maxTokens: 2 });
    const dropped = new AbortController();
    const third = failure(() => answer(model, "Three", { maxTokens: 2, signal: dropped.signal }));
    dropped.abort();
    const lengths = [(await first).ids.length, (await second).ids.length];
    let left = 0;
    for await (const piece of model.generate("Four", { maxTokens: 500, ignoreEos: true })) if (++left === 2) break;
    const after = (await answer(model, "Five", { maxTokens: 2 })).ids.length;
    await model.dispose();
    const gone = await failure(() => answer(model, "Six", {}));
    return { stopped, tookMs, lengths, third: await third, after, gone };
  });
  assert.equal(result.stopped.code, "cancelled", JSON.stringify(result));
  assert.ok(result.tookMs < 3000, `${result.tookMs} ms`);
  assert.deepEqual(result.lengths, [2, 2]);
  assert.equal(result.third.code, "cancelled");
  assert.equal(result.after, 2);
  assert.equal(result.gone.code, "cancelled");
});

test("errors have a stable code and say what to do", async () => {
  const codes = await page.evaluate(async () => {
    const load = (source, options) => failure(() => tilestream.AutoModel.fromPretrained(source, options));
    const model = await tilestream.AutoModel.fromPretrained("models/Q8_0/", { budget: "32MiB" });
    const ask = (prompt, options) => failure(() => answer(model, prompt, options));
    return {
      missing: await load("models/nothing/", {}),
      small: await load("models/Q8_0/", { budget: "1MiB" }),
      size: await load("models/Q8_0/", { budget: "lots" }),
      kv: await load("models/Q8_0/", { kv: "f8" }),
      activations: await load("models/Q8_0/", { activations: "i4" }),
      hot: await ask("a", { temperature: -1 }),
      empty: await ask({ ids: [] }, {}),
      alien: await ask({ ids: [999999] }, {}),
    };
  });
  const expected = { missing: "not_found", small: "budget", size: "argument", kv: "argument", activations: "argument", hot: "argument", empty: "argument", alien: "argument" };
  for (const [name, code] of Object.entries(expected)) assert.equal(codes[name].code, code, `${name}: ${JSON.stringify(codes[name])}`);
  assert.match(codes.small.message, /smallest that works/);
});

test("an answer that was interrupted goes on as it would have", async () => {
  const runs = await page.evaluate(async () => {
    const model = await tilestream.AutoModel.fromPretrained("models/smollm2/", { budget: "256MiB" });
    const chat = [{ role: "user", content: "Tell me a short story about a fox and an owl." }];
    const found = [];
    for (const options of [{}, { temperature: 1, seed: 7 }, { repetitionPenalty: 1.3 }]) {
      const whole = await answer(model, chat, { ...options, maxTokens: 24 });
      const pieces = [];
      for await (const piece of model.generate(chat, { ...options, ignoreEos: true, maxTokens: 40 })) if (pieces.push(piece) === 9) break;
      const content = pieces.map((piece) => piece.text).join("");
      const ids = pieces.flatMap((piece) => piece.id ?? []);
      const more = { ...options, maxTokens: 24 - ids.length, continueFinalMessage: true };
      const rest = await answer(model, [...chat, { role: "assistant", content, ids }], more);
      const words = await answer(model, [...chat, { role: "assistant", content }], more);
      found.push({ whole, joined: { ids: [...ids, ...rest.ids], text: content + rest.text }, words: words.ids.length });
    }
    const go = (messages, options) => failure(() => answer(model, messages, { continueFinalMessage: true, ...options }));
    const refused = [
      await go(chat),
      await go([]),
      await go("a text"),
      await go([...chat, { role: "assistant", content: "", reasoning: "hm" }]),
      await go([...chat, { role: "assistant", content: "a", ids: ["b"] }]),
    ];
    await model.dispose();
    return { found, refused };
  });
  for (const { whole, joined, words } of runs.found) {
    assert.deepEqual(joined, whole);
    assert.equal(words, 24 - 9, "without the ids, from the text");
  }
  for (const { code } of runs.refused) assert.equal(code, "argument", JSON.stringify(runs.refused));
});

test("a seed that is not given is new, and told with the answer", async () => {
  const [first, again, other, greedy, completion] = await page.evaluate(async () => {
    const model = await tilestream.AutoModel.fromPretrained("models/Q8_0/", { budget: "32MiB" });
    const draw = async (options) => {
      const [ids, seeds] = [[], new Set()];
      for await (const piece of model.generate("hello there", { temperature: 1, maxTokens: 12, ignoreEos: true, ...options })) {
        ids.push(piece.id);
        seeds.add(piece.seed);
      }
      return { ids, seeds: [...seeds] };
    };
    const first = await draw({});
    const results = [first, await draw({ seed: first.seeds[0] }), await draw({}), await draw({ temperature: 0 })];
    await model.dispose();
    const chat = await tilestream.AutoModel.fromPretrained("models/smollm2/", { budget: "256MiB" });
    const request = { messages: [{ role: "user", content: "Hi" }], max_tokens: 4, temperature: 1 };
    const completion = [await chat.chat.completions.create(request)];
    completion.push(await chat.chat.completions.create({ ...request, seed: completion[0].seed }));
    for await (const chunk of await chat.chat.completions.create({ ...request, seed: 5, stream: true })) completion.push(chunk);
    await chat.dispose();
    return [...results, completion];
  });
  assert.deepEqual(again, first);
  assert.equal(first.seeds.length, 1);
  assert.ok(Number.isInteger(first.seeds[0]) && first.seeds[0] !== other.seeds[0], JSON.stringify([first.seeds, other.seeds]));
  // As JSON says "undefined" in an array.
  assert.deepEqual(greedy.seeds, [null]);
  assert.deepEqual(completion[1].choices[0].message, completion[0].choices[0].message);
  assert.equal(completion.at(-1).seed, 5);
});

test("chat completions have the shape that others have", async () => {
  const [whole, chunks] = await page.evaluate(async () => {
    const model = await tilestream.AutoModel.fromPretrained("models/smollm2/", { budget: "256MiB" });
    const messages = [{ role: "user", content: "Say hi." }];
    const whole = await model.chat.completions.create({ messages, max_tokens: 4 });
    const chunks = [];
    for await (const chunk of await model.chat.completions.create({ messages, max_tokens: 4, stream: true })) chunks.push(chunk);
    await model.dispose();
    return [whole, chunks];
  });
  assert.equal(whole.object, "chat.completion");
  assert.equal(chunks.at(0).choices[0].delta.role, "assistant");
  assert.equal(chunks.map((chunk) => chunk.choices[0].delta.content ?? "").join(""), whole.choices[0].message.content);
  assert.ok(["stop", "length"].includes(chunks.at(-1).choices[0].finish_reason));
});
