/** One turn of the conversation on the page. */

import type { StopReason } from "../src/index.js";
import type { Turn } from "./conversation.js";
import { announce, button, make } from "./dom.js";
import { MarkdownView } from "./markdown.js";

const STOP_NOTES: Partial<Record<StopReason, string>> = {
  cancelled: "Stopped.",
  max_tokens: "Ended at the number of tokens set in the settings.",
  context_full: "Ended: the conversation fills the model's context. Start a new chat.",
};

async function copyText(text: string, pressed: HTMLButtonElement): Promise<void> {
  let said = "Copied";
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    said = "Copying was refused";
  }
  pressed.textContent = said;
  announce(said);
  setTimeout(() => (pressed.textContent = "Copy"), 1500);
}

export class MessageView {
  readonly element: HTMLLIElement;
  private readonly body = make("div", { class: "message-body" });
  private readonly note = make("p", { class: "message-note hint" });
  private readonly actions = make("div", { class: "message-actions" });
  private readonly markdown = new MarkdownView(this.body);
  private pending = false;
  private lastCostMs = 0;
  private nextRenderMs = 0;

  constructor(readonly turn: Turn, onRegenerate: () => void) {
    const answer = turn.role === "assistant";
    this.element = make("li", { class: `message ${answer ? "answer" : "question"}`, "data-role": turn.role });
    this.element.append(make("h3", { class: "unseen" }, answer ? "Answer" : "You"), this.body);
    if (answer) {
      const copy: HTMLButtonElement = button("Copy", () => void copyText(turn.content, copy), {
        class: "quiet", "data-action": "copy", "aria-label": "Copy this answer",
      });
      this.actions.append(
        copy,
        button("Regenerate", onRegenerate, { class: "quiet", "data-action": "regenerate", "aria-label": "Regenerate this answer" }),
      );
      this.element.append(this.note, this.actions);
      this.finish();
    } else {
      this.body.textContent = turn.content;
    }
  }

  /** Shows that the answer is being written. */
  begin(): void {
    this.element.dataset.state = "writing";
    this.element.setAttribute("aria-busy", "true");
    this.note.textContent = "";
  }

  setStatus(text: string): void {
    this.note.textContent = text;
  }

  /**
   * Draws the text so far in the next frame. A text whose drawing takes long is drawn less often, so that at least
   * three quarters of the time stay for everything else.
   */
  schedule(afterDraw: () => void): void {
    if (this.pending) return;
    this.pending = true;
    const draw = () => {
      if (!this.pending) return;
      const begin = performance.now();
      if (begin < this.nextRenderMs) return void requestAnimationFrame(draw);
      this.pending = false;
      this.markdown.render(this.turn.content, false);
      this.lastCostMs = performance.now() - begin;
      this.nextRenderMs = begin + 4 * this.lastCostMs;
      afterDraw();
    };
    requestAnimationFrame(draw);
  }

  finish(): void {
    this.pending = false;
    this.element.dataset.state = "done";
    if (this.turn.stopReason) this.element.dataset.stopReason = this.turn.stopReason;
    this.element.removeAttribute("aria-busy");
    this.markdown.render(this.turn.content, true);
    this.note.textContent = (this.turn.stopReason && STOP_NOTES[this.turn.stopReason]) ?? "";
  }

  /** The answer as it reads, for screen readers. */
  text(): string {
    return this.body.textContent ?? "";
  }
}
