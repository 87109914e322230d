// llama.cpp as one side of a comparison: keeps a GGUF file loaded and answers requests, a JSON object a line, as
// tools/cli/examples/answer_lines.rs does.
//
//     node llamacpp_side.mjs MODEL.gguf --backend vulkan|cpu --context N [--threads N] [--device 0] [--modules DIR]
//
// It comes prebuilt from npm, into DIR. Its Vulkan backend passes software adapters over unless one is named: `--device
// 0` is the first adapter that `vulkaninfo --summary` lists.

import { availableParallelism, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { VERSION, nodeLlamaCpp } from "../node-llama-cpp.mjs";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    backend: { type: "string" },
    context: { type: "string" },
    threads: { type: "string", default: String(availableParallelism()) },
    device: { type: "string", default: "0" },
    modules: { type: "string", default: join(tmpdir(), "tilestream-bench-llamacpp") },
  },
});
const cpu = options.backend === "cpu";
const threads = Number(options.threads);
process.env.GGML_VK_VISIBLE_DEVICES = options.device;
const { getLlama } = await nodeLlamaCpp(options.modules);
const llama = await getLlama({ gpu: cpu ? false : "vulkan", build: "never", logLevel: "error", maxThreads: threads });
const start = performance.now();
const model = await llama.loadModel({
  modelPath: resolve(positionals[0]),
  gpuLayers: cpu ? 0 : "max",
  ignoreMemorySafetyChecks: true,
});
const contextSize = Number(options.context);
const context = await model.createContext({ contextSize, sequences: 1, threads, ignoreMemorySafetyChecks: true });
const sequence = context.getSequence();
const load_s = (performance.now() - start) / 1000;
const where = cpu ? "the CPU" : (await llama.getGpuDeviceNames()).join(", ");

const say = (object) => process.stdout.write(`${JSON.stringify(object)}\n`);
say({
  version: `llama.cpp ${llama.llamaCppRelease?.release ?? "?"} in node-llama-cpp ${VERSION}`,
  adapter: `${where}, ${threads} threads`,
  gpu_layers: model.gpuLayers,
  load_s,
});
for await (const line of createInterface({ input: process.stdin })) {
  const start = performance.now();
  const ask = JSON.parse(line);
  await sequence.clearHistory();
  const [ids, times_s] = [[], []];
  for await (const token of sequence.evaluate(ask.ids, { temperature: 0, yieldEogToken: true })) {
    times_s.push((performance.now() - start) / 1000);
    ids.push(Number(token));
    if (ids.length === ask.max_tokens) break;
  }
  say({ ids, times_s });
}
process.exit(0); // llama.cpp's worker threads may otherwise keep the process alive
