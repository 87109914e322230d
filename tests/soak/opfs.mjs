// Flipped bits in what a browser keeps of a model: the next start gives the same ids, mends them, and needs no server then.
//
// `node opfs.mjs [FLIPS] [SEED]`; `cargo xtask soak opfs` sets the variables that web/tests/support.mjs asks for.

import { browser, join, native, open, scripted, small, temporary } from "../../web/tests/support.mjs";

const [flips, seed] = [Number(process.argv[2] ?? 50), Number(process.argv[3] ?? 1)];
// Flips of one round lie in one file: where the manifest is bad, everything may be fetched anew.
const AT_ONCE = 5;
const PROMPT = "hello there";

/** Numbers below 1 that follow from the seed (xorshift). */
let state = seed * 2654435761 + 1;
function random() {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) / 2 ** 32;
}

/** The ids of an answer, or what failed. */
const ask = (page) =>
  page.evaluate(async (prompt) => {
    try {
      const model = await tilestream.AutoModel.fromPretrained("models/Q4_K/", { budget: "48MiB" });
      const { ids } = await answer(model, prompt, { maxTokens: 6 });
      await model.dispose();
      return ids;
    } catch (error) {
      return `${error.code}: ${error.message}`;
    }
  }, PROMPT);

/** Flips bits of one stored file; its name. */
const damage = (page, round, numbers) =>
  page.evaluate(
    async (round, numbers) => {
      const root = await (await navigator.storage.getDirectory()).getDirectoryHandle("tilestream");
      const files = [];
      for await (const folder of root.values()) {
        if (folder.kind !== "directory") continue;
        for await (const file of folder.values()) if ((await file.getFile()).size > 0) files.push(file);
      }
      files.sort((a, b) => (a.name < b.name ? -1 : 1));
      const file = files[round % files.length];
      const bytes = new Uint8Array(await (await file.getFile()).arrayBuffer());
      for (const number of numbers) bytes[Math.floor(number * bytes.length)] ^= 1 << Math.floor((number * 1e6) % 8);
      const writable = await file.createWritable();
      await writable.write(bytes);
      await writable.close();
      return file.name;
    },
    round,
    numbers,
  );

const models = temporary();
small("Q4_K", models);
const expected = JSON.stringify(native(join(models, "Q4_K"), { prompt: PROMPT, tokens: 6, raw: true }));
const chromium = await browser();
const server = await scripted(models);
let [tried, faults] = [0, 0];
const began = Date.now();
const judge = (what, ids) => {
  if (JSON.stringify(ids) === expected) return;
  faults++;
  console.log(`FAULT opfs: ${what}: ${JSON.stringify(ids)} instead of ${expected}`);
};
const page = await open(chromium, server.address);
judge("before any flip", await ask(page));
for (let round = 0; tried < flips; round++, tried += AT_ONCE) {
  const name = await damage(page, round, Array.from({ length: AT_ONCE }, random));
  judge(`${name}, round ${round}`, await ask(page));
  server.misbehave = (file, range, response) => (response.destroy(), true);
  judge(`${name}, round ${round}, then without the server`, await ask(page));
  server.misbehave = () => false;
}
await chromium.close();
await server.stop();
const seconds = Math.round((Date.now() - began) / 1000);
console.log(`opfs       ${String(tried).padStart(5)} tried ${"0".padStart(5)} refused ${String(faults).padStart(4)} faults ${String(seconds).padStart(6)} s`);
process.exitCode = faults ? 1 : 0;
