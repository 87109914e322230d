/** The page's end of the line to a worker. */

import type { Answer, Ask, FromWorker, Kind, ToWorker } from "./protocol.js";
import { type Piece, TilestreamError } from "./types.js";

interface Waiting {
  resolve: (value: unknown) => void;
  reject: (error: Error) => void;
  onPiece?: (piece: Piece) => void;
}

/** A worker with the requests that wait for it. */
export class Client {
  onLoaded?: (loadedBytes: number, notice?: string) => void;
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #next = 1;
  #ended?: Error;

  constructor() {
    this.#worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "tilestream" });
    this.#worker.onmessage = ({ data }: MessageEvent<FromWorker>) => this.#receive(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.end(new TilestreamError(`the worker failed: ${event.message || "it could not be loaded"}`, "gpu"));
    };
  }

  /** Asks and waits for the answer; aborting `signal` cancels the request. */
  ask<K extends Kind>(kind: K, ask: Ask<K>, signal?: AbortSignal, onPiece?: (piece: Piece) => void): Promise<Answer<K>> {
    if (this.#ended) return Promise.reject(this.#ended);
    if (signal?.aborted) return Promise.reject(stopped());
    const id = this.#next++;
    const answer = new Promise<unknown>((resolve, reject) => this.#waiting.set(id, { resolve, reject, onPiece }));
    const cancel = () => this.#post({ id, kind: "cancel" });
    signal?.addEventListener("abort", cancel, { once: true });
    this.#post({ id, kind, ...ask } as ToWorker);
    return answer.finally(() => signal?.removeEventListener("abort", cancel)) as Promise<Answer<K>>;
  }

  /** Ends the worker; whoever waits gets `error`. */
  end(error: Error = new TilestreamError("the model was disposed", "cancelled")) {
    if (this.#ended) return;
    this.#ended = error;
    this.#worker.terminate();
    for (const waiting of this.#waiting.values()) waiting.reject(error);
    this.#waiting.clear();
  }

  #post(message: ToWorker) {
    if (!this.#ended) this.#worker.postMessage(message);
  }

  #receive(message: FromWorker) {
    if (message.kind === "loaded") {
      this.onLoaded?.(message.loadedBytes, message.notice);
      return;
    }
    const waiting = this.#waiting.get(message.id);
    if (!waiting) return;
    if (message.kind === "piece") {
      waiting.onPiece?.({ text: message.text, reasoning: message.reasoning, id: message.token, stopReason: message.stopReason });
      return;
    }
    this.#waiting.delete(message.id);
    if (message.kind === "done") waiting.resolve(message.value);
    else waiting.reject(new TilestreamError(message.message, message.code));
  }
}

/** The error of what was aborted. */
export function stopped(): TilestreamError {
  return new TilestreamError("stopped on request", "cancelled");
}
