/** What the page and the worker say to each other. Every request gets one answer; some send news before it. */

import type { CacheReport, ErrorCode, GenerateOptions, LoadOptions, Message, Profile, StopReason, StreamState } from "./types.js";

/** Options that can be posted. */
export type PlainLoadOptions = Omit<LoadOptions, "onProgress" | "signal" | "budget"> & { budgetBytes: number };
export type PlainGenerateOptions = Omit<GenerateOptions, "signal">;

/** Where a model comes from. */
export type Source = { address: string } | { files: File[] };

/** A prompt: a chat, text as it is, or token ids. */
export type Prompt = Message[] | string | { ids: number[] };

/** What is known of a model once it is open. */
export interface Description {
  name: string;
  totalBytes: number;
  layers: number;
  hasChatTemplate: boolean;
  sequences: number;
  /** That of the checkpoint's own sampling; 0: the best token is taken. */
  temperature: number;
  notice?: string | null;
}

/** The requests, each with its answer. */
export interface Requests {
  open: { ask: { source: Source; options: PlainLoadOptions }; answer: Description };
  generate: { ask: { prompt: Prompt; options: PlainGenerateOptions }; answer: void };
  profile: { ask: object; answer: Profile };
  stream: { ask: object; answer: StreamState };
  loseDevice: { ask: object; answer: void };
  cacheReport: { ask: object; answer: Pick<CacheReport, "models" | "unavailable"> };
  cacheDelete: { ask: { source: string }; answer: void };
}

export type Kind = keyof Requests;
export type Ask<K extends Kind> = Requests[K]["ask"];
export type Answer<K extends Kind> = Requests[K]["answer"];

/** From the page to the worker. `cancel` has no answer of its own: the `generate` that it names ends early, and no other. */
export type ToWorker = { [K in Kind]: { id: number; kind: K } & Ask<K> }[Kind] | { id: number; kind: "cancel" };

/** From the worker to the page; `id` is that of the request. */
export type FromWorker =
  | { id: number; kind: "done"; value: unknown }
  | { id: number; kind: "failed"; code: ErrorCode; message: string }
  | { id: number; kind: "piece"; text: string; reasoning?: string; token?: number; stopReason?: StopReason }
  /** Not an answer: the worker's script runs. */
  | { id: 0; kind: "started" }
  /** Not an answer: how much of the model is here. */
  | { id: 0; kind: "loaded"; loadedBytes: number; notice?: string };
