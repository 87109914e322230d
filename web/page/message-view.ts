/** One turn of the conversation on the page. */

import type { StopReason } from "../src/index.js";
import type { Turn } from "./conversation.js";
import { announce, button, make } from "./dom.js";
import { MarkdownView } from "./markdown.js";

const STOP_NOTES: Partial<Record<StopReason, string>> = {
  cancelled: "Stopped.",
  max_tokens: "Ended at the number of tokens set in the settings.",
  context_full: "Ended: the conversation fills the model's context. Edit or remove messages, or start a new chat.",
};
const INTERRUPTED = "Interrupted: the page was closed while this was written. Continue goes on, Regenerate writes it anew.";

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

/** What the reader may do with a turn. */
export interface TurnActions {
  /** An answer that did not come to its end goes on. */
  goOn(): void;
  regenerate(): void;
  /** A question is asked anew, with another text; what came after it goes. */
  edit(turn: Turn, text: string): void;
  /** A question goes, and its answer. */
  remove(turn: Turn): void;
}

export class MessageView {
  readonly element: HTMLLIElement;
  private readonly body = make("div", { class: "message-body", dir: "auto" });
  private readonly thoughts = make("p", { class: "thoughts", dir: "auto" });
  private readonly thinking = make("details", { class: "thinking", hidden: true }, make("summary", {}, "Thinking"), this.thoughts);
  private readonly note = make("p", { class: "message-note hint" });
  private readonly actions = make("div", { class: "message-actions" });
  private readonly more = button("Continue", () => this.can.goOn(), {
    class: "quiet", "data-action": "continue", "aria-label": "Continue this answer", hidden: true,
  });
  private readonly markdown = new MarkdownView(this.body);
  private pending = false;
  private lastCostMs = 0;
  private nextRenderMs = 0;

  constructor(readonly turn: Turn, private readonly can: TurnActions) {
    const answer = turn.role === "assistant";
    this.element = make("li", { class: `message ${answer ? "answer" : "question"}`, "data-role": turn.role });
    this.element.append(make("h3", { class: "unseen" }, answer ? "Answer" : "You"), this.thinking, this.body);
    if (answer) {
      const copy: HTMLButtonElement = button("Copy", () => void copyText(turn.content, copy), {
        class: "quiet", "data-action": "copy", "aria-label": "Copy this answer",
      });
      this.actions.append(
        copy,
        this.more,
        button("Regenerate", () => can.regenerate(), { class: "quiet", "data-action": "regenerate", "aria-label": "Regenerate this answer" }),
      );
      this.element.append(this.note, this.actions);
      this.finish();
    } else {
      this.showQuestion();
    }
  }

  private showQuestion(): void {
    this.body.textContent = this.turn.content;
    this.actions.replaceChildren(
      button("Edit", () => this.edit(), { class: "quiet", "data-action": "edit", "aria-label": "Edit this message" }),
      button("Remove", () => this.can.remove(this.turn), {
        class: "quiet", "data-action": "remove", "aria-label": "Remove this message and its answer",
      }),
    );
    this.element.append(this.actions);
  }

  private edit(): void {
    const field = make("textarea", { rows: "3", "aria-label": "Your message", dir: "auto", "data-action": "edit-field" });
    field.value = this.turn.content;
    const leave = () => {
      this.showQuestion();
      this.actions.querySelector("button")?.focus();
    };
    const save = () => {
      const text = field.value.trim();
      if (text) this.can.edit(this.turn, text);
    };
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.preventDefault();
      leave();
    });
    this.body.replaceChildren(field);
    this.actions.replaceChildren(
      button("Ask again", save, { class: "primary", "data-action": "save-edit" }),
      button("Cancel", leave, { class: "quiet", "data-action": "cancel-edit" }),
    );
    field.focus();
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
      this.drawThoughts();
      this.markdown.render(this.turn.content, false);
      this.lastCostMs = performance.now() - begin;
      this.nextRenderMs = begin + 4 * this.lastCostMs;
      afterDraw();
    };
    requestAnimationFrame(draw);
  }

  private drawThoughts(): void {
    this.thinking.hidden = !this.turn.reasoning;
    this.thoughts.textContent = this.turn.reasoning ?? "";
  }

  finish(): void {
    this.pending = false;
    this.more.hidden = !this.turn.ids?.length;
    this.element.dataset.state = "done";
    if (this.turn.stopReason) this.element.dataset.stopReason = this.turn.stopReason;
    this.element.removeAttribute("aria-busy");
    this.drawThoughts();
    this.markdown.render(this.turn.content, true);
    const { stopReason, unfinished, note } = this.turn;
    const ended = unfinished ? INTERRUPTED : (stopReason && STOP_NOTES[stopReason]);
    this.note.textContent = [note, ended].filter(Boolean).join(" ");
  }

  /** The answer as it reads, for screen readers. */
  text(): string {
    return this.body.textContent ?? "";
  }
}
