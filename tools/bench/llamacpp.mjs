// Compares Tilestream with llama.cpp's Vulkan backend on one GGUF file: same prompt, same number of greedy tokens.
//
//     node llamacpp.mjs MODEL.gguf [--tokens 32] [--repeats 3] [--chat capital] [--device 0] [--budget 30MiB]
//                       [--modules DIR] [--tilestream-model PATH] [--only llamacpp|tilestream]
//
// llama.cpp comes prebuilt from npm; it is installed into DIR (a folder under the system's temporary one when not
// given). Its Vulkan backend passes software adapters over unless one is named: `--device 0` is the first adapter that
// `vulkaninfo --summary` lists. Tilestream is $TILESTREAM or target/release/tilestream, and is left out when missing.
//
// A table goes to stderr and one JSON object to stdout. Times to the first token do not include loading on
// llama.cpp's side; loading is reported apart.

import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { cpus, loadavg, release, tmpdir, totalmem, type } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { VERSION, nodeLlamaCpp } from "./node-llama-cpp.mjs";

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "../..");

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tokens: { type: "string", default: "32" },
    repeats: { type: "string", default: "3" },
    chat: { type: "string", default: "capital" },
    device: { type: "string", default: "0" },
    budget: { type: "string" },
    modules: { type: "string", default: join(tmpdir(), "tilestream-bench-llamacpp") },
    "tilestream-model": { type: "string" },
    only: { type: "string" },
  },
});
if (positionals.length !== 1) {
  console.error("usage: node llamacpp.mjs MODEL.gguf [options]; the options stand at the top of the script");
  process.exit(2);
}
const model = resolve(positionals[0]);
const tokens = Number(options.tokens);
const repeats = Number(options.repeats);

/** A chat of the golden data: its user message for Tilestream, the rendered prompt for llama.cpp. */
function chat(name) {
  const golden = JSON.parse(readFileSync(join(ROOT, "tests/data/smollm2/golden.json"), "utf8"));
  const found = golden.chats.find((entry) => entry.name === name && entry.messages.length === 1);
  if (!found) throw new Error(`no chat ${name} with a single message in golden.json`);
  return { text: found.messages[0].content, rendered: found.rendered, promptIds: found.prompt_ids };
}

/** Median and best of several runs. */
function summary(values, best) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  const round = (value) => Number(value.toFixed(4));
  return { median: round(median), [best]: round(best === "max" ? sorted.at(-1) : sorted[0]) };
}

async function runLlamaCpp(prompt) {
  process.env.GGML_VK_VISIBLE_DEVICES = options.device;
  const { getLlama } = await nodeLlamaCpp(options.modules);
  const llama = await getLlama({ gpu: "vulkan", build: "never", logLevel: "error" });
  const startedLoading = performance.now();
  const loaded = await llama.loadModel({ modelPath: model, gpuLayers: "max", ignoreMemorySafetyChecks: true });
  const context = await loaded.createContext({ contextSize: 512, sequences: 1, ignoreMemorySafetyChecks: true });
  const load_s = (performance.now() - startedLoading) / 1000;

  const ids = loaded.tokenize(prompt.rendered, true);
  const sameIds = JSON.stringify(ids.map(Number)) === JSON.stringify(prompt.promptIds);
  const sequence = context.getSequence();
  const first = [];
  const rate = [];
  let text = "";
  for (let run = 0; run < repeats; run++) {
    await sequence.clearHistory();
    const out = [];
    const times = [performance.now()];
    for await (const token of sequence.evaluate(ids, { temperature: 0, yieldEogToken: true })) {
      times.push(performance.now());
      out.push(token);
      if (out.length === tokens) break;
    }
    first.push((times[1] - times[0]) / 1000);
    rate.push((out.length - 1) / ((times.at(-1) - times[1]) / 1000));
    text = loaded.detokenize(out, true);
  }
  const result = {
    version: `llama.cpp ${llama.llamaCppRelease?.release ?? "?"} in node-llama-cpp ${VERSION}`,
    adapter: (await llama.getGpuDeviceNames()).join(", "),
    gpu_layers: loaded.gpuLayers,
    load_s: Number(load_s.toFixed(3)),
    prompt_tokens: ids.length,
    prompt_ids_equal_golden: sameIds,
    time_to_first_token_s: summary(first, "min"),
    decode_tokens_per_s: summary(rate, "max"),
    text,
  };
  await llama.dispose();
  return result;
}

function runTilestream(prompt) {
  const binary = process.env.TILESTREAM ?? join(ROOT, "target/release/tilestream");
  if (!existsSync(binary)) return { skipped: "no tilestream binary: set TILESTREAM or build with --release" };
  const path = options["tilestream-model"] ?? model;
  const flags = ["run", path, "--prompt", prompt.text, "--max-tokens", String(tokens)];
  flags.push("--ignore-eos", "--json", "--profile");
  if (options.budget) flags.push("--budget", options.budget);
  const runs = [];
  for (let run = 0; run < repeats; run++) {
    const output = execFileSync(binary, flags, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
    runs.push(JSON.parse(output));
  }
  return {
    version: execFileSync(binary, ["--version"], { encoding: "utf8" }).trim(),
    adapter: runs[0].profile.adapter,
    budget: options.budget ?? null,
    time_to_first_token_s: summary(runs.map((run) => run.profile.time_to_first_token_s), "min"),
    decode_tokens_per_s: summary(runs.map((run) => run.profile.decode_tokens_per_s), "max"),
    text: runs[0].text,
  };
}

function row(name, result) {
  if (result.skipped) return `${name.padEnd(12)} ${result.skipped}`;
  const { time_to_first_token_s: first, decode_tokens_per_s: rate } = result;
  const numbers = [rate.median, rate.max, first.median, first.min].map((value) => value.toFixed(2).padStart(9));
  const adapter = typeof result.adapter === "string" ? result.adapter : JSON.stringify(result.adapter);
  return `${name.padEnd(12)} ${numbers.join(" ")}  ${adapter}`;
}

const machine = {
  cpu: cpus()[0].model,
  cores: cpus().length,
  memory_gib: Math.round(totalmem() / 2 ** 30),
  os: `${type()} ${release()}`,
  load_before: loadavg()[0], // what else the machine was doing: near 0 on a quiet one
};
const prompt = chat(options.chat);
const results = {};
if (options.only !== "tilestream") results["llama.cpp"] = await runLlamaCpp(prompt);
if (options.only !== "llamacpp") results.tilestream = runTilestream(prompt);
const heads = ["tok/s med", "tok/s max", "TTFT med", "TTFT min"].map((head) => head.padStart(9));
console.error(`${"".padEnd(12)} ${heads.join(" ")}`);
for (const [name, result] of Object.entries(results)) console.error(row(name, result));
console.log(
  JSON.stringify({
    benchmark: "llamacpp",
    machine,
    node: process.version,
    model: positionals[0].split("/").at(-1),
    chat: options.chat,
    new_tokens: tokens,
    repeats,
    results,
  }),
);
process.exit(0); // llama.cpp's worker threads may otherwise keep the process alive
