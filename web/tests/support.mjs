// What the browser tests share: the real command, a real Chromium, and a server that keeps a log and can misbehave.

import { spawn, spawnSync } from "node:child_process";
import { createReadStream, cpSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { dirname, extname, join, normalize, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import puppeteer from "puppeteer-core";

const web = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const data = resolve(web, "../tests/data/small-gguf");

/** The npm package, as `cargo xtask web` built it. */
export const packed = join(web, "package");

/** A module of the package's or the page's source that needs no browser. */
export async function source(name, folder = "src") {
  const built = await build({ entryPoints: [join(web, folder, `${name}.ts`)], bundle: true, format: "esm", write: false });
  return import(`data:text/javascript;base64,${Buffer.from(built.outputFiles[0].text).toString("base64")}`);
}

/** A small random checkpoint of each family, with what its reference says about it. */
export const families = resolve(web, "../tests/data/families");

/** What the reference finds most likely after each token of a text: ids and best tokens. */
export const gemma3Golden = () => JSON.parse(readFileSync(resolve(web, "../tests/data/gemma3/golden.json"), "utf8")).score;

/** The tensors of whole numbers in a safetensors file. */
export function tensors(file) {
  const bytes = readFileSync(file);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, start));
  const values = ({ data_offsets: [first, end] }) =>
    Array.from({ length: (end - first) / 8 }, (_, i) => Number(bytes.readBigInt64LE(start + first + 8 * i)));
  const whole = Object.entries(header).filter(([, { dtype }]) => dtype === "I64");
  return Object.fromEntries(whole.map(([name, entry]) => [name, values(entry)]));
}

/** A variable that names a file which is there. */
function needed(name, what) {
  const path = process.env[name];
  if (!path || !existsSync(path)) throw new Error(`the variable ${name} must name ${what}; \`cargo xtask test --only browser\` sets it`);
  return path;
}

/** The table of kernels, built for a browser. */
export const kernels = () => needed("TILESTREAM_KERNELS", "the kernel table for browsers");
export const smollm2 = () => needed("TILESTREAM_SMOLLM2", "SmolLM2, split");
export const gemma3 = () => needed("TILESTREAM_GEMMA3", "Gemma 3 270M, split");
export const command = () => needed("TILESTREAM", "the tilestream command");

const folders = [];
/** A folder that is gone when the tests end. */
export function temporary() {
  const folder = mkdtempSync(join(tmpdir(), "tilestream-web-"));
  folders.push(folder);
  return folder;
}
process.on("exit", () => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })));

/** Runs the command; what it printed. */
export function tilestream(...args) {
  const done = spawnSync(command(), args, { encoding: "utf8", maxBuffer: 1 << 28 });
  if (done.status !== 0) throw new Error(`tilestream ${args.join(" ")}: ${done.stderr}`);
  return done.stdout;
}

/** A small model, split: an encoding of tests/data/small-gguf. */
export function small(encoding, folder = temporary()) {
  const out = join(folder, encoding);
  tilestream("split", join(data, `${encoding}.gguf`), out);
  return out;
}

/** The greedy ids that the native engine gives; `raw` prompts go without the chat template. */
export function native(model, { prompt, tokens, raw = false }) {
  const args = ["--max-tokens", String(tokens), "--ignore-eos", "--budget", "256MiB", "--json", ...(raw ? ["--raw"] : [])];
  return JSON.parse(tilestream("run", model, "--prompt", prompt, ...args)).ids;
}

/** `tilestream host` on a folder; `address` and `stop`. */
export async function serve(folder) {
  const server = spawn(command(), ["host", folder, "--port", "0", "--page", join(web, "dist")], { stdio: ["ignore", "ignore", "pipe"] });
  process.on("exit", () => server.kill());
  const address = await new Promise((found, failed) => {
    server.stderr.on("data", (text) => {
      const match = /http:\/\/\S+/.exec(text);
      if (match) found(match[0]);
    });
    server.on("exit", () => failed(new Error("tilestream host ended")));
  });
  return { address, stop: () => new Promise((ended) => server.once("exit", ended) && server.kill()) };
}

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm", ".json": "application/json" };

/** Pages of others: one without any policy, and one that wants trusted types and allows the policy of the package. */
const PAGES = {
  "/plain.html": "<!doctype html>",
  "/strict.html": `<!doctype html><meta http-equiv="Content-Security-Policy" content="require-trusted-types-for 'script'; trusted-types tilestream">`,
};

/**
 * A static server of the page, the package (below /package/) and a folder of models (below /models/). `log` lists the
 * ranges that were asked for; `misbehave(name, range, response, send)` may answer in its own way and then returns true.
 */
export async function scripted(models, more = {}) {
  const roots = { package: join(web, "package/dist"), models, ...more };
  const state = { log: [], misbehave: () => false };
  const server = createServer((request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url, "http://host").pathname));
    const [, first, ...rest] = path.split("/");
    if (path in PAGES) return response.writeHead(200, { "Content-Type": "text/html" }).end(PAGES[path]);
    const file = first in roots ? join(roots[first], ...rest) : join(web, "dist", path === "/" ? "index.html" : path);
    if (!existsSync(file) || !statSync(file).isFile()) return response.writeHead(404).end();
    const size = statSync(file).size;
    const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    const range = match ? [Number(match[1]), match[2] ? Number(match[2]) + 1 : size] : undefined;
    const type = TYPES[extname(file)] ?? "application/octet-stream";
    const send = (bytes = range) => {
      const headers = { "Content-Type": type, "Cache-Control": "no-store", "Content-Length": bytes ? bytes[1] - bytes[0] : size };
      if (bytes) headers["Content-Range"] = `bytes ${bytes[0]}-${bytes[1] - 1}/${size}`;
      response.writeHead(bytes ? 206 : 200, headers);
      createReadStream(file, bytes ? { start: bytes[0], end: bytes[1] - 1 } : {}).pipe(response);
    };
    const name = rest.at(-1);
    if (first === "models") state.log.push({ name, range });
    if (first === "models" && state.misbehave(name, range, response, send, file)) return;
    send();
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  const stop = () => new Promise((closed) => (server.closeAllConnections(), server.close(closed)));
  return Object.assign(state, { address: `http://127.0.0.1:${server.address().port}/`, stop });
}

/**
 * A Chromium with WebGPU in software; `profile` keeps its storage from one start to the next. Where the variable FIREFOX names a
 * Firefox, that instead: it takes what Vulkan driver there is.
 */
export async function browser({ profile = temporary(), webgpu = true } = {}) {
  if (process.env.FIREFOX) {
    const extraPrefsFirefox = { "dom.webgpu.enabled": webgpu, "gfx.webgpu.ignore-blocklist": true };
    const executablePath = needed("FIREFOX", "a Firefox");
    return puppeteer.launch({ browser: "firefox", executablePath, headless: true, userDataDir: profile, protocolTimeout: 900_000, extraPrefsFirefox });
  }
  const quiet = ["--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  const args = webgpu ? ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"] : ["--disable-features=WebGPU", "--disable-gpu"];
  const executablePath = needed("CHROME", "a Chromium");
  return puppeteer.launch({ executablePath, headless: true, userDataDir: profile, protocolTimeout: 900_000, args: [...quiet, ...args] });
}

/**
 * A page that has the package as `tilestream`, and errors that come through with their code. `bypassCsp` lets a test start
 * workers that the page's policy refuses.
 */
export async function open(chromium, address, { bypassCsp = false } = {}) {
  const page = await chromium.newPage();
  if (bypassCsp) await page.setBypassCSP(true);
  await page.goto(new URL("package/", address).href).catch(() => {});
  await page.goto(address);
  await page.evaluate(async () => {
    globalThis.tilestream = await import("/package/index.js");
    /** Ids and text of an answer. */
    globalThis.answer = async (model, prompt, options) => {
      const ids = [];
      let text = "";
      for await (const piece of model.generate(prompt, { ignoreEos: true, ...options })) {
        if (piece.id !== undefined) ids.push(piece.id);
        text += piece.text;
      }
      return { ids, text };
    };
    /** The code and message of what is thrown. */
    globalThis.failure = async (run) => {
      try {
        await run();
        return "nothing failed";
      } catch (error) {
        return { code: error.code, message: error.message };
      }
    };
  });
  return page;
}

/** Every worker of a page runs the function once its own script has. The page was opened with `bypassCsp`. */
export const inWorkers = (page, run, ...args) =>
  page.evaluate((prelude) => {
    globalThis.Worker = class extends Worker {
      constructor(url, options) {
        // The engine does nothing before it gets its first message, after both lines have run.
        const code = `import ${JSON.stringify(String(url))};\n${prelude}`;
        super(URL.createObjectURL(new Blob([code], { type: "text/javascript" })), options);
      }
    };
  }, `(${run})(${args.map((arg) => JSON.stringify(arg)).join()});`);

export { cpSync, join, readFileSync };
