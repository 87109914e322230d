// The npm package as a project uses it: packed, installed, bundled by Vite, and answering in a browser.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { browser, join, native, packed, readFileSync, scripted, small, temporary } from "./support.mjs";

/** One exact version, so that a new one does not change what the test says. */
const VITE = "vite@7.1.12";
const TYPESCRIPT = "typescript@5.9.3";

let project, models, server;

function run(program, args, folder = project) {
  const done = spawnSync(program, args, { cwd: folder, encoding: "utf8", shell: process.platform === "win32" });
  assert.equal(done.status, 0, `${program} ${args.join(" ")}: ${done.stdout}${done.stderr}${done.error ?? ""}`);
  return done.stdout;
}

const MAIN = `
import { AutoModel, TilestreamError, env, type Message, type ModelSource, type Piece, type Progress } from "tilestream";

const progress: Progress[] = [];
async function ask(source: string, prompt: string): Promise<number[]> {
  const model = await AutoModel.fromPretrained(source, { budget: "32MiB", onProgress: (now) => progress.push(now) });
  const answer: number[] = [];
  const take = (piece: Piece) => piece.id !== undefined && answer.push(piece.id);
  for await (const piece of model.generate(prompt, { maxTokens: 6, ignoreEos: true })) take(piece);
  await model.dispose();
  return answer;
}
Object.assign(globalThis, { ask, TilestreamError });

// Only for the types.
export async function uses(stream: boolean, files: FileList): Promise<void> {
  const sources: ModelSource[] = ["address", new URL("https://host/model"), files, [...files]];
  env.workerUrl = new URL("https://host/worker.js");
  const messages: Message[] = [{ role: "user", content: [{ type: "text", text: "hello" }] }, { role: "assistant", content: "hi" }];
  for (const source of sources) {
    const model = await AutoModel.fromPretrained(source);
    const either = await model.chat.completions.create({ messages, stream });
    if ("choices" in either) console.log(either.choices[0].message.content);
    else for await (const chunk of either) console.log(chunk.choices[0].delta.content);
    const whole = await model.chat.completions.create({ messages });
    console.log(whole.choices[0].message.content);
  }
}
`;

before(async () => {
  models = temporary();
  small("Q8_0", models);
  project = temporary();
  const [pack] = JSON.parse(run("npm", ["pack", "--json", "--pack-destination", project], packed));
  const names = pack.files.map(({ path }) => path);
  assert.ok(names.includes("dist/index.d.ts") && names.includes("README.md"), names.join(", "));
  // Resolvers take the first entry that fits, so that the types must come before the code.
  const { exports } = JSON.parse(readFileSync(join(packed, "package.json"), "utf8"));
  assert.equal(Object.keys(exports["."])[0], "types");
  writeFileSync(join(project, "package.json"), JSON.stringify({ name: "uses-tilestream", private: true, type: "module" }));
  writeFileSync(join(project, "index.html"), '<!doctype html><title>t</title><script type="module" src="/main.ts"></script>');
  writeFileSync(join(project, "main.ts"), MAIN);
  run("npm", ["install", "--no-audit", "--no-fund", VITE, TYPESCRIPT, `./${pack.filename}`]);
  server = await scripted(models, { site: join(project, "dist") });
});
after(() => server?.stop());

test("its types are right for a project that uses it", () => {
  run("npx", ["tsc", "--noEmit", "--strict", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler", "--skipLibCheck", "false", "main.ts"]);
});

test("bundled by Vite it answers in a browser", async (context) => {
  run("npx", ["vite", "build", "--base", "./", "--logLevel", "warn"]);
  const chromium = await browser();
  context.after(() => chromium.close());
  const page = await chromium.newPage();
  await page.goto(`${server.address}site/index.html`);
  await page.waitForFunction("globalThis.ask");
  const ids = await page.evaluate((source) => ask(source, "hello there"), `${server.address}models/Q8_0/`);
  assert.deepEqual(ids, native(join(models, "Q8_0"), { prompt: "hello there", tokens: 6, raw: true }));
  const code = await page.evaluate((source) => ask(source, "").catch((error) => error instanceof TilestreamError && error.code), `${server.address}models/none/`);
  assert.equal(code, "not_found");
});
