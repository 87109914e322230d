/** Language models larger than GPU memory, streamed tile by tile in a browser tab. */

import { checkGenerate, checkLoad, checkMessages, folderAddress } from "./check.js";
import { Client, stopped } from "./client.js";
import { Completions } from "./completions.js";
import type { Description, Prompt, Source } from "./protocol.js";
import { parseSize } from "./size.js";
import { Speed } from "./speed.js";
import { type CacheReport, type GenerateOptions, type LoadOptions, type Message, type ModelSource, type Piece, type Profile, type StreamState, TilestreamError } from "./types.js";

export * from "./types.js";
export { env, type Environment } from "./start.js";
export type { ChatCompletion, ChatCompletionChunk, ChatCompletionRequest } from "./completions.js";
export type { Model };

/** GPU memory where the caller does not say. */
const DEFAULT_BUDGET = "1GiB";

/** 32 bits are easily typed again. */
const newSeed = () => crypto.getRandomValues(new Uint32Array(1))[0];

/** An opened model. Answers that are asked for at once share sweeps, and each is what it would be alone. */
class Model {
  readonly name: string;
  /** Bytes of all its files. */
  readonly totalBytes: number;
  readonly layers: number;
  readonly hasChatTemplate: boolean;
  /** So many answers share sweeps; others wait for one of them to end. */
  readonly sequences: number;
  /** What the user may want to know: why nothing is stored, or that another tab stores it. */
  notice?: string;
  /** The shape that users of other packages know: `chat.completions.create({ messages, stream: true })`. */
  readonly chat: { readonly completions: Completions };
  readonly #client: Client;
  /** Where the caller gives none. */
  readonly #temperature: number;

  /** @internal */
  constructor(client: Client, description: Description) {
    this.#client = client;
    this.#temperature = description.temperature;
    this.name = description.name;
    this.totalBytes = description.totalBytes;
    this.layers = description.layers;
    this.hasChatTemplate = description.hasChatTemplate;
    this.sequences = description.sequences;
    this.notice = description.notice ?? undefined;
    this.chat = { completions: new Completions(this.name, (messages, options) => this.generate(messages, options)) };
  }

  /**
   * Answers a chat, or continues a text (or token ids), a piece at a time. Leaving the loop or aborting `signal` ends the
   * answer; an abort throws an error with the code "cancelled".
   */
  async *generate(prompt: Message[] | string | { ids: number[] }, options: GenerateOptions = {}): AsyncGenerator<Piece, void, void> {
    const { signal, ...given } = checkGenerate(options);
    const plain = { ...given, seed: given.seed ?? newSeed() };
    const drawn = (given.temperature ?? this.#temperature) > 0 ? { seed: plain.seed } : {};
    if (Array.isArray(prompt)) checkMessages(prompt);
    if (signal?.aborted) throw stopped();
    const pieces: Piece[] = [];
    const leave = new AbortController();
    let wake = () => {};
    let ended = false;
    const both = signal ? AbortSignal.any([signal, leave.signal]) : leave.signal;
    const answer = this.#client
      .ask("generate", { prompt: prompt as Prompt, options: plain }, both, (piece) => {
        pieces.push({ ...piece, ...drawn });
        wake();
      })
      .finally(() => {
        ended = true;
        wake();
      });
    // Its error is thrown below, by the loop that awaits it.
    answer.catch(() => {});
    try {
      for (;;) {
        while (pieces.length > 0) yield pieces.shift() as Piece;
        if (ended) break;
        await new Promise<void>((resolve) => (wake = resolve));
      }
      await answer;
    } finally {
      leave.abort();
    }
  }

  /** Figures since the model was opened, or since its device was replaced. While answers are under way they come after the next sweep. */
  profile(): Promise<Profile> {
    return this.#client.ask("profile", {});
  }

  /** Where each tile is, and what the last sweeps did when. */
  stream(): Promise<StreamState> {
    return this.#client.ask("stream", {});
  }

  /** Destroys the GPU device, as a driver that restarts does: to try out how a page copes. */
  loseDevice(): Promise<void> {
    return this.#client.ask("loseDevice", {});
  }

  /** Ends the worker and gives back all its memory. */
  async dispose(): Promise<void> {
    this.#client.end();
  }
}

async function files(source: FileSystemDirectoryHandle | FileList | File[]): Promise<File[]> {
  if (Array.isArray(source)) return source;
  if (source instanceof FileList) return Array.from(source);
  const found: File[] = [];
  const entries = (source as unknown as { values(): AsyncIterable<FileSystemHandle> }).values();
  for await (const entry of entries) {
    if (entry.kind === "file") found.push(await (entry as FileSystemFileHandle).getFile());
  }
  return found;
}

async function place(source: ModelSource): Promise<Source> {
  if (typeof source === "string" || source instanceof URL) return { address: folderAddress(source) };
  if (typeof source !== "object" || source === null) {
    throw new TilestreamError(`a model's source is an address, a folder or files, not ${String(source)}`, "argument");
  }
  return { files: await files(source) };
}

/** Opens models. */
export const AutoModel = {
  /**
   * Opens the split model in the folder at an address, or in a folder (or files) that the user picked. Resolves when the
   * model can answer; its weights arrive with the first answer, and `onProgress` goes on until all are here.
   */
  async fromPretrained(source: ModelSource, options: LoadOptions = {}): Promise<Model> {
    const { onProgress, signal, budget, ...plain } = checkLoad(options);
    const budgetBytes = parseSize(budget ?? DEFAULT_BUDGET);
    const from = await place(source);
    if (signal?.aborted) throw stopped();
    onProgress?.({ phase: "opening", loadedBytes: 0, totalBytes: 0, bytesPerSecond: 0 });
    const client = new Client();
    const giveUp = () => client.end(stopped());
    signal?.addEventListener("abort", giveUp, { once: true });
    let model: Model | undefined;
    const speed = new Speed();
    let totalBytes = 0;
    let loaded = 0;
    const tell = () => {
      if (totalBytes === 0) return;
      onProgress?.({ phase: loaded >= totalBytes ? "ready" : "loading", loadedBytes: loaded, totalBytes, ...speed.add(loaded, totalBytes) });
    };
    client.onLoaded = (loadedBytes, notice) => {
      loaded = loadedBytes;
      if (model && notice) model.notice = notice;
      tell();
    };
    try {
      // Asked of the page, because workers may not; a browser that says no may evict what is stored.
      if (plain.cache !== "none") void navigator.storage?.persist?.().catch(() => false);
      const description = await client.ask("open", { source: from, options: { ...plain, budgetBytes } });
      totalBytes = description.totalBytes;
      model = new Model(client, description);
      tell();
      return model;
    } catch (error) {
      client.end();
      throw error;
    } finally {
      signal?.removeEventListener("abort", giveUp);
    }
  },
};

async function withWorker<T>(use: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client();
  try {
    return await use(client);
  } finally {
    client.end();
  }
}

/** What the browser stores of models. */
export const cache = {
  async report(): Promise<CacheReport> {
    const stored = await withWorker((client) => client.ask("cacheReport", {}));
    const { usage = 0, quota = 0 } = (await navigator.storage?.estimate?.()) ?? {};
    const persisted = (await navigator.storage?.persisted?.()) ?? false;
    return { ...stored, usageBytes: usage, quotaBytes: quota, persisted };
  },

  /** Deletes what is stored of the model at an address; no tab may have it open. */
  async delete(source: string | URL): Promise<void> {
    await withWorker(async (client) => {
      // As it is listed, or as it is opened.
      const { models } = await client.ask("cacheReport", {});
      const listed = models.some((model) => model.source === source);
      await client.ask("cacheDelete", { source: listed ? String(source) : folderAddress(source) });
    });
  },
};
