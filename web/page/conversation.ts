/** A conversation: its turns, its keeping, and what of it goes to the model. */

import type { Message, StopReason } from "../src/index.js";
import { forget, keysWith, load, save } from "./storage.js";

export interface Turn {
  role: "user" | "assistant";
  content: string;
  stopReason?: StopReason;
}

const PREFIX = "chat.";

function isTurn(item: unknown): item is Turn {
  const turn = item as Partial<Turn> | null;
  return (turn?.role === "user" || turn?.role === "assistant") && typeof turn.content === "string";
}

export class Conversation {
  readonly turns: Turn[];

  private constructor(private readonly key: string, turns: Turn[]) {
    this.turns = turns;
  }

  /** The conversation that was kept for a model, or an empty one. */
  static of(sourceKey: string): Conversation {
    const key = PREFIX + sourceKey;
    const kept = load<unknown>(key);
    return new Conversation(key, Array.isArray(kept) ? kept.filter(isTurn) : []);
  }

  /** The last turn, if it is an answer. */
  lastAnswer(): Turn | undefined {
    const last = this.turns.at(-1);
    return last?.role === "assistant" ? last : undefined;
  }

  keep(): void {
    if (this.turns.length === 0) return forget(this.key);
    if (save(this.key, this.turns)) return;
    // The storage is full: this conversation matters more than those with other models.
    for (const key of keysWith(PREFIX)) if (key !== this.key) forget(key);
    save(this.key, this.turns);
  }

  clear(): void {
    this.turns.length = 0;
    forget(this.key);
  }

  /**
   * The messages for a chat template. Templates want roles to alternate, so an answer that was stopped before its first
   * word is left out and messages without an answer between them become one.
   */
  messages(system: string): Message[] {
    const messages: Message[] = system ? [{ role: "system", content: system }] : [];
    for (const turn of this.turns) {
      if (turn.role === "assistant" && turn.content === "") continue;
      const last = messages.at(-1);
      if (last?.role === turn.role) last.content += `\n\n${turn.content}`;
      else messages.push({ role: turn.role, content: turn.content });
    }
    return messages;
  }

  /** For a model without a chat template, which only continues a text. */
  plainText(): string {
    return this.turns.map((turn) => turn.content).filter(Boolean).join("\n");
  }
}
