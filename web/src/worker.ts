/** The worker: engine, GPU device and file system live here. One worker holds one model. */

import init, { WebModel, cachedModels, deleteCached, now, openAddress, openFiles } from "../build/tilestream.js";
import type { Ask, Description, FromWorker, ToWorker } from "./protocol.js";
import { askForSubgroups } from "./subgroups.js";
import type { CachedModel, ErrorCode, Profile, StreamState } from "./types.js";

/** The part of a worker's scope that is used; TypeScript's own types for it clash with those of a page. */
const scope = self as unknown as {
  postMessage(message: FromWorker, transfer: Transferable[]): void;
  onmessage: (event: MessageEvent<ToWorker>) => void;
};
/** Milliseconds between two reports of how much is here. */
const REPORT_MS = 250;

class Failure extends Error {
  constructor(
    message: string,
    readonly code: ErrorCode,
  ) {
    super(message);
  }
}

askForSubgroups();
const wasm = new URL("./tilestream_bg.wasm", import.meta.url);
const ready = init({ module_or_path: wasm }).catch((error: unknown) => {
  throw new Failure(`the engine could not be loaded from ${wasm.href}: ${(error as Error).message ?? error}`, "wasm");
});
// Each request that waits for it throws it.
ready.catch(() => {});
let model: WebModel | undefined;
let description: Description | undefined;
/** wgpu tells no name in a browser. */
let adapterName = "";

const post = (message: FromWorker, transfer: Transferable[] = []) => scope.postMessage(message, transfer);

post({ id: 0, kind: "started" });

/** Takes the lock on the stored files of a model, if no other tab has it, until this worker ends. */
function becomeWriter(address: string): Promise<boolean> {
  if (!navigator.locks) return Promise.resolve(true);
  return new Promise((resolve) => {
    void navigator.locks.request(`tilestream:${address}`, { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      return lock === null ? undefined : new Promise<void>(() => {});
    });
  });
}

async function open({ source, options }: Ask<"open">): Promise<Description> {
  let adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
  // A browser whose GPU process starts again has none for a moment.
  for (let more = 4; !adapter && navigator.gpu && more > 0; more -= 1) {
    await new Promise((later) => setTimeout(later, 500));
    adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  }
  if (!adapter) throw new Failure("this browser gives no WebGPU adapter", "no_webgpu");
  const { vendor, architecture, description: name } = adapter.info;
  adapterName = name || `${vendor} ${architecture}`.trim() || "WebGPU";
  const { cache, ...rest } = options;
  const load = JSON.stringify(rest);
  if ("address" in source) {
    const stored = cache !== "none";
    const writer = stored && (await becomeWriter(source.address));
    model = await openAddress(source.address, load, stored, writer);
    if (stored && !writer) description = { ...describe(model), notice: "Another tab stores this model; this one reads what is there." };
  } else {
    model = await openFiles(source.files, load);
  }
  description ??= describe(model);
  report(model, description);
  return description;
}

const describe = (opened: WebModel): Description => JSON.parse(opened.describe());

/** Tells how much of the model is here, as long as that changes. */
function report(opened: WebModel, { totalBytes }: Description) {
  let last = -1;
  const tell = () => {
    const loadedBytes = opened.loadedBytes();
    const failure = opened.cacheFailure();
    if (loadedBytes !== last) {
      post({ id: 0, kind: "loaded", loadedBytes, notice: failure && `Nothing more is stored: ${failure}` });
    }
    last = loadedBytes;
    if (loadedBytes < totalBytes) setTimeout(tell, REPORT_MS);
  };
  tell();
}

/** Answers that are under way together share sweeps; the request's number names each. */
function generate(id: number, { prompt, options }: Ask<"generate">): Promise<void> {
  return current().generate(id, JSON.stringify(prompt), JSON.stringify(options), (text: string, token?: number, stopReason?: string, reasoning?: string) =>
    post({ id, kind: "piece", text, reasoning: reasoning || undefined, token, stopReason: stopReason as never }),
  );
}

function current(): WebModel {
  if (!model) throw new Failure("no model is open", "argument");
  return model;
}

/** Rust's names in JavaScript's spelling. */
function camel(report: unknown): unknown {
  if (report === null || typeof report !== "object") return report;
  const rename = (name: string) => name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
  return Object.fromEntries(Object.entries(report).map(([name, value]) => [rename(name), camel(value)]));
}

async function profile(): Promise<Profile> {
  const figures = camel(JSON.parse(await current().profile())) as Profile;
  return { ...figures, adapter: adapterName };
}

function stream(): StreamState {
  const opened = current();
  return { tiles: opened.tiles(), layers: opened.layers(), intervals: opened.intervals(), now: now() };
}

async function cacheReport(): Promise<{ models: CachedModel[]; unavailable?: string }> {
  try {
    return { models: JSON.parse(await cachedModels()) };
  } catch (error) {
    return { models: [], unavailable: (error as Error).message };
  }
}

async function handle(message: ToWorker): Promise<unknown> {
  await ready;
  switch (message.kind) {
    case "open":
      return open(message);
    case "generate":
      return generate(message.id, message);
    case "profile":
      return profile();
    case "stream":
      return stream();
    case "loseDevice":
      return current().loseDevice();
    case "cacheReport":
      return cacheReport();
    case "cacheDelete":
      return deleteCached(message.source);
    case "cancel":
      return model?.cancel(message.id);
  }
}

scope.onmessage = async ({ data }: MessageEvent<ToWorker>) => {
  const { id } = data;
  try {
    const value = await handle(data);
    if (data.kind !== "cancel") post({ id, kind: "done", value });
  } catch (error) {
    const { message, code } = error as Failure;
    post({ id, kind: "failed", code: code ?? "internal", message: message ?? String(error) });
  }
};
