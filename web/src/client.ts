/** The page's end of the line to a worker. */

import type { Answer, Ask, FromWorker, Kind, ToWorker } from "./protocol.js";
import { startWorker } from "./start.js";
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
  #started = false;

  /** Throws a TilestreamError with the code "worker" where the browser starts none. */
  constructor() {
    this.#worker = startWorker();
    this.#worker.onmessage = ({ data }: MessageEvent<FromWorker>) => this.#receive(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.end(this.#started ? new TilestreamError(`the worker failed: ${event.message}`, "internal") : notLoaded(event.message));
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
    this.#started = true;
    if (message.kind === "started") return;
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

function notLoaded(why: string): TilestreamError {
  const advice = "worker.js and tilestream_bg.wasm must lie beside the package's script, and a server of another origin must allow this page to read them (CORS)";
  return new TilestreamError(`the worker could not be loaded${why ? `: ${why}` : ""}; ${advice}`, "worker");
}

/** The error of what was aborted. */
export function stopped(): TilestreamError {
  return new TilestreamError("stopped on request", "cancelled");
}
