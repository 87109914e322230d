/** How fast the last answer came, as the page saw it. */

export interface Speed {
  /** From sending to the first token: the prompt's own sweep is in it. */
  firstTokenS: number;
  tokens: number;
  /** Of the tokens after the first; none for an answer of one token. */
  tokensPerSecond?: number;
}

export class SpeedMeter {
  private readonly startMs = performance.now();
  private firstMs = 0;
  private lastMs = 0;
  private tokens = 0;

  countToken(): void {
    this.lastMs = performance.now();
    if (this.tokens === 0) this.firstMs = this.lastMs;
    this.tokens += 1;
  }

  read(): Speed | undefined {
    if (this.tokens === 0) return undefined;
    const decodeS = (this.lastMs - this.firstMs) / 1000;
    return {
      firstTokenS: (this.firstMs - this.startMs) / 1000,
      tokens: this.tokens,
      tokensPerSecond: this.tokens > 1 && decodeS > 0 ? (this.tokens - 1) / decodeS : undefined,
    };
  }
}
