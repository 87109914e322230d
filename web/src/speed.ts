/** Seconds that the speed is taken over. */
const WINDOW_S = 4;

/** The speed of a download over its last seconds. */
export class Speed {
  #samples: { at: number; bytes: number }[] = [];

  /** Notes how much is here now; gives the speed and the time left. */
  add(bytes: number, total: number): { bytesPerSecond: number; secondsLeft?: number } {
    const at = performance.now() / 1000;
    this.#samples.push({ at, bytes });
    while (this.#samples.length > 2 && at - (this.#samples[0]?.at ?? at) > WINDOW_S) this.#samples.shift();
    const first = this.#samples[0] ?? { at, bytes };
    const bytesPerSecond = at > first.at ? (bytes - first.bytes) / (at - first.at) : 0;
    return bytesPerSecond > 0 ? { bytesPerSecond, secondsLeft: (total - bytes) / bytesPerSecond } : { bytesPerSecond };
  }
}
