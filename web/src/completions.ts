/** Chat completions in the shape that users of other packages know. */

import { checkCompletion } from "./check.js";
import type { GenerateOptions, Message, Piece, StopReason } from "./types.js";

export interface ChatCompletionRequest {
  messages: Message[];
  /** Not looked at: the model is the one that was opened. */
  model?: string;
  /** Not looked at. */
  user?: string;
  stream?: boolean;
  max_tokens?: number;
  /** Another name of `max_tokens`. */
  max_completion_tokens?: number;
  temperature?: number;
  top_p?: number;
  /** The same seed gives the same answer. Default: a new one, which the answer tells. */
  seed?: number;
  stop?: string | string[];
  signal?: AbortSignal;
}

export interface ChatCompletionChunk {
  id: string;
  object: "chat.completion.chunk";
  created: number;
  model: string;
  choices: [{ index: 0; delta: { role?: "assistant"; content?: string; reasoning_content?: string }; finish_reason: "stop" | "length" | null }];
  /** As `Piece.seed`; absent in the first chunk. */
  seed?: number;
}

export interface ChatCompletion {
  id: string;
  object: "chat.completion";
  created: number;
  model: string;
  choices: [{ index: 0; message: { role: "assistant"; content: string; reasoning_content?: string }; finish_reason: "stop" | "length" }];
  /** As `Piece.seed`. */
  seed?: number;
}

type Generate = (messages: Message[], options: GenerateOptions) => AsyncGenerator<Piece, void, void>;

const finish = (reason: StopReason | undefined): "stop" | "length" =>
  reason === "max_tokens" || reason === "context_full" ? "length" : "stop";

const seedOf = ({ seed }: Piece) => (seed === undefined ? {} : { seed });

export class Completions {
  readonly #model: string;
  readonly #generate: Generate;

  /** @internal */
  constructor(model: string, generate: Generate) {
    this.#model = model;
    this.#generate = generate;
  }

  create(request: ChatCompletionRequest & { stream: true }): Promise<AsyncGenerator<ChatCompletionChunk, void, void>>;
  create(request: ChatCompletionRequest & { stream?: false }): Promise<ChatCompletion>;
  create(request: ChatCompletionRequest): Promise<AsyncGenerator<ChatCompletionChunk, void, void> | ChatCompletion>;
  async create(request: ChatCompletionRequest): Promise<AsyncGenerator<ChatCompletionChunk, void, void> | ChatCompletion> {
    checkCompletion(request);
    if (request.stream) return this.#chunks(request);
    let content = "";
    let reasoning = "";
    let reason: StopReason | undefined;
    let drawn: { seed?: number } = {};
    for await (const piece of this.#generate(request.messages, options(request))) {
      drawn = seedOf(piece);
      content += piece.text;
      reasoning += piece.reasoning ?? "";
      reason = piece.stopReason ?? reason;
    }
    const message = { role: "assistant" as const, content, ...(reasoning && { reasoning_content: reasoning }) };
    return { ...this.#head(), object: "chat.completion", choices: [{ index: 0, message, finish_reason: finish(reason) }], ...drawn };
  }

  async *#chunks(request: ChatCompletionRequest): AsyncGenerator<ChatCompletionChunk, void, void> {
    const head = { ...this.#head(), object: "chat.completion.chunk" as const };
    yield { ...head, choices: [{ index: 0, delta: { role: "assistant" }, finish_reason: null }] };
    let reason: StopReason | undefined;
    let drawn: { seed?: number } = {};
    for await (const piece of this.#generate(request.messages, options(request))) {
      drawn = seedOf(piece);
      reason = piece.stopReason ?? reason;
      if (piece.reasoning) yield { ...head, choices: [{ index: 0, delta: { reasoning_content: piece.reasoning }, finish_reason: null }], ...drawn };
      if (piece.text) yield { ...head, choices: [{ index: 0, delta: { content: piece.text }, finish_reason: null }], ...drawn };
    }
    yield { ...head, choices: [{ index: 0, delta: {}, finish_reason: finish(reason) }], ...drawn };
  }

  #head() {
    return { id: `chatcmpl-${crypto.randomUUID()}`, created: Math.floor(Date.now() / 1000), model: this.#model };
  }
}

function options({ max_tokens, max_completion_tokens, temperature, top_p, seed, stop, signal }: ChatCompletionRequest): GenerateOptions {
  const all = { maxTokens: max_completion_tokens ?? max_tokens, temperature, topP: top_p, seed, stop: typeof stop === "string" ? [stop] : stop, signal };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}
