// How often llama.cpp finds the same next token most likely as the reference does in f32, on Gemma 3 270M: both are given
// the same 200 tokens of a text, one after the other, and the weights of the same GGUF file.
//
//     cargo xtask bench agreement -- [--tokens 200] [--backends cpu,vulkan] [--device 0] [--json FILE]
//
// What the reference found stands in tests/data/gemma3 (tools/golden/make_gemma3.py); the test `gemma3` makes the same
// comparison with Tilestream, for all tokens where TILESTREAM_GEMMA3_POSITIONS=200. `--device` is the Vulkan adapter, as
// in llamacpp.py. Needs Node.js with npm (llama.cpp comes prebuilt from there, into `--modules`) and takes about a minute.

import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { VERSION, nodeLlamaCpp } from "./node-llama-cpp.mjs";
import { parse, write } from "./support.mjs";

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const { options, model: path } = parse(fileURLToPath(import.meta.url), {
  tokens: { type: "string", default: "200" },
  backends: { type: "string", default: "cpu,vulkan" },
  device: { type: "string", default: "0" },
  modules: { type: "string", default: join(tmpdir(), "tilestream-bench-llamacpp") },
});
const reference = JSON.parse(readFileSync(join(ROOT, "tests/data/gemma3/golden.json"), "utf8")).score;
const tokens = Math.min(Number(options.tokens), reference.ids.length);
process.env.GGML_VK_VISIBLE_DEVICES = options.device;
const { getLlama } = await nodeLlamaCpp(options.modules);

/** Where the best next token is another than the reference's, and by how much the reference preferred its own. */
async function forced(backend) {
  const llama = await getLlama({ gpu: backend === "cpu" ? false : backend, build: "never", logLevel: "error" });
  const gpuLayers = backend === "cpu" ? 0 : "max";
  const model = await llama.loadModel({ modelPath: path, gpuLayers, ignoreMemorySafetyChecks: true });
  const context = await model.createContext({ contextSize: 512, sequences: 1, ignoreMemorySafetyChecks: true });
  const ids = reference.ids.slice(0, tokens);
  const ask = { generateNext: { token: true, options: { temperature: 0 } } };
  const output = await context.getSequence().controlledEvaluate(ids.map((id) => [id, ask]));
  const found = output.map(({ next }, position) => ({ position, token: Number(next.token), margin: reference.margins[position] }));
  const different = found.filter(({ position, token }) => token !== reference.best[position]);
  const devices = backend === "cpu" ? "the CPU" : (await llama.getGpuDeviceNames()).join(", ");
  const version = `llama.cpp ${llama.llamaCppRelease?.release ?? "?"} in node-llama-cpp ${VERSION}`;
  await llama.dispose();
  return { version, devices, same: ids.length - different.length, of: ids.length, different };
}

const results = {};
for (const backend of options.backends.split(",")) {
  const result = await forced(backend);
  results[backend] = result;
  console.log(`${result.version} on ${result.devices}: ${result.same} of ${result.of} the same`);
}
write(options, { benchmark: "agreement", model: basename(path), results });
process.exit(0); // llama.cpp's worker threads may otherwise keep the process alive
