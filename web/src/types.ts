/** The types of the package. The engine itself lives in a worker. */

/** How far loading has come. Bytes are those of the model's files. */
export interface Progress {
  phase: "opening" | "loading" | "ready";
  /** Bytes of the model that are on this machine by now (or, without a cache, were fetched once). */
  loadedBytes: number;
  totalBytes: number;
  /** Over the last seconds. */
  bytesPerSecond: number;
  /** None while the speed is unknown. */
  secondsLeft?: number;
}

export interface LoadOptions {
  /** GPU memory for everything: a number of bytes, or a size such as "512MiB". Default "1GiB". */
  budget?: number | string;
  /** Positions of KV cache to reserve, for all answers that share sweeps; more are added as a text grows. */
  context?: number;
  /** Answers that share sweeps at most, 64 or fewer; a small budget lets fewer (see `Model.sequences`). Default 4. */
  sequences?: number;
  /** Storage of keys and values. */
  kv?: "f32" | "f16";
  /** What matrices are multiplied with: "i8" rounds activations to 8 bits where the weights are whole numbers, which is
   * faster and less exact. Default "f32". */
  activations?: "f32" | "i8";
  /** The day that chat templates are told, such as "2026-11-30". Default: today in UTC, so a prompt may change with the day. */
  date?: string;
  /** Values of the chat template's own variables, such as `{ enable_thinking: false }`. */
  templateArgs?: Record<string, unknown>;
  /** "auto" keeps what was fetched in the browser's own file system; "none" streams from the network only. */
  cache?: "auto" | "none";
  onProgress?: (progress: Progress) => void;
  /** Gives up loading. */
  signal?: AbortSignal;
}

/** A part of a message. */
export interface ContentPart {
  type: "text";
  text: string;
}

export interface Message {
  role: "system" | "user" | "assistant";
  /** The chat template gets it in the shape that it reads: where that is a text, parts are joined. */
  content: string | ContentPart[];
  /** What an assistant thought before its answer, as `Piece.reasoning` told it. */
  reasoning?: string;
  /** The tokens of an assistant's message, as `Piece.id` told them, for `continueFinalMessage`. */
  ids?: number[];
}

/**
 * Where a model is: the address of its folder (with or without a slash at its end), a folder that the user picked, or its
 * files.
 */
export type ModelSource = string | URL | FileSystemDirectoryHandle | FileList | File[];

/** Sampling that is not given is as the checkpoint recommends it; greedy where it recommends none. */
export interface GenerateOptions {
  maxTokens?: number;
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repetitionPenalty?: number;
  /** Taken from the logits of tokens that the answer has already: -2 to 2. */
  presencePenalty?: number;
  /** The same for each time that it has them: -2 to 2. */
  frequencyPenalty?: number;
  /** The same seed gives the same answer. Default: a new one, which `Piece.seed` tells. */
  seed?: number;
  stop?: string[];
  ignoreEos?: boolean;
  /**
   * Goes on with the last message, which is an assistant's that was interrupted; the pieces hold only what is new. With the
   * message's `ids`, and the same options and seed, it becomes what it would have been. Without them its content is made into
   * tokens anew.
   */
  continueFinalMessage?: boolean;
  signal?: AbortSignal;
}

export type StopReason = "end_of_turn" | "stop_text" | "max_tokens" | "context_full" | "cancelled";

/** What came out of one token: text that is certain now, often empty. */
export interface Piece {
  /** Of the answer. */
  text: string;
  /** Of what the model thinks before it answers. */
  reasoning?: string;
  id?: number;
  stopReason?: StopReason;
  /** What the answer's tokens are drawn with, on each of its pieces; absent where none is drawn, at temperature 0. */
  seed?: number;
}

/** Figures since the model was opened. */
export interface Profile {
  adapter: string;
  budgetBytes: number;
  peakGpuBytes: number;
  modelBytes: number;
  pinnedBytes: number;
  ramBytes: number;
  streamedBytesPerSweep: number;
  sweeps: number;
  bytesRead: number;
  bytesFromRam: number;
  /** What the experts of a mixture came to; null in a model without them. */
  experts: { usedBytes: number; readBytes: number; wholeLayerBytes: number; hitRate: number } | null;
  readBusyS: number;
  uploadBusyS: number;
  computeBusyS: number;
  /** Seconds in which the engine waited for reads. */
  stallS: number;
  wallS: number;
}

/** Where a tile is now, as `StreamState.tiles` holds it. */
export const TIERS = ["network", "opfs", "ram", "ring", "pinned"] as const;

/** A snapshot of the stream, for pictures of it. */
export interface StreamState {
  /** One byte a tile, in sweep order: an index into TIERS. */
  tiles: Uint8Array;
  /** The index of the first tile of each layer, and of the head at the end. */
  layers: Uint32Array;
  /** Intervals of the last sweeps, in seconds since the worker started: flat (stage, sweep, tile, begin, end) with stage 0 read, 1 upload, 2 compute. */
  intervals: Float64Array;
  /** Seconds since the worker started, now. */
  now: number;
}

export interface CachedModel {
  /** The address it came from. */
  source: string;
  name: string;
  cachedBytes: number;
  totalBytes: number;
}

export interface CacheReport {
  models: CachedModel[];
  usageBytes: number;
  quotaBytes: number;
  /** Whether the browser promised not to evict it. */
  persisted: boolean;
  /** Why nothing is cached, where that is so. */
  unavailable?: string;
}

/** The codes of errors. New ones may be added. */
export type ErrorCode =
  /** The GPU adapter or its driver cannot do what is needed. */
  | "adapter"
  | "argument"
  | "budget"
  | "cancelled"
  | "checksum"
  /** The GPU device was lost, and so were those that took its place. */
  | "device_lost"
  | "gpu_memory"
  /** A fault of Tilestream itself. To be reported. */
  | "internal"
  | "io"
  | "malformed"
  | "missing"
  | "network"
  | "no_space"
  | "no_webgpu"
  /** What was computed is no finite number: damaged weights, or a driver that computes wrongly. */
  | "not_finite"
  | "not_found"
  | "text"
  | "truncated"
  | "unsupported"
  /** The package's own files could not be loaded: its wasm, or its worker. */
  | "wasm"
  | "worker";

/** What went wrong: `code` is stable, `message` names the file, the tensor and what to do. */
export class TilestreamError extends Error {
  constructor(
    message: string,
    readonly code: ErrorCode,
  ) {
    super(message);
    this.name = "TilestreamError";
  }
}
