/** A conversation: its turns, its keeping, and what of it goes to the model. */

import type { GenerateOptions, Message, StopReason } from "../src/index.js";
import { forget, keysWith, load, save } from "./storage.js";

export interface Turn {
  role: "user" | "assistant";
  content: string;
  /** What the model thought before its answer. */
  reasoning?: string;
  stopReason?: StopReason;
  /** Kept while it was being written; what is kept longer was cut off by the end of the page. */
  unfinished?: boolean;
  /** Its tokens, and how they were chosen, as long as it can go on: until it came to its end by itself. */
  ids?: number[];
  sampling?: GenerateOptions;
  /** How it came about, where that is not as the settings say. */
  note?: string;
}

interface Kept {
  source: string;
  changedMs: number;
  turns: Turn[];
}

const PREFIX = "conversation.";
/** Where an earlier version kept the only conversation with a model. */
const OLD_PREFIX = "chat.";
const TITLE_LENGTH = 60;

function isTurn(item: unknown): item is Turn {
  const turn = item as Partial<Turn> | null;
  return (turn?.role === "user" || turn?.role === "assistant") && typeof turn.content === "string";
}

/** A kept turn without what cannot be right of it. */
function cleaned({ ids, sampling, ...turn }: Turn): Turn {
  if (!Array.isArray(ids) || !ids.every(Number.isInteger)) return turn;
  return { ...turn, ids, ...(typeof sampling === "object" && { sampling }) };
}

export class Conversation {
  private constructor(
    readonly id: string,
    /** The model that it is held with. */
    readonly source: string,
    readonly turns: Turn[],
    /** Milliseconds since 1970. */
    public changedMs: number,
  ) {}

  static fresh(source: string, id: string = crypto.randomUUID()): Conversation {
    return new Conversation(id, source, [], Date.now());
  }

  static kept(id: string): Conversation | undefined {
    const kept = load<Partial<Kept>>(PREFIX + id);
    if (typeof kept?.source !== "string" || !Array.isArray(kept.turns)) return undefined;
    return new Conversation(id, kept.source, kept.turns.filter(isTurn).map(cleaned), Number(kept.changedMs) || 0);
  }

  /** The conversations that are kept with a model, the newest first. */
  static all(source: string): Conversation[] {
    const old = load<unknown>(OLD_PREFIX + source);
    if (Array.isArray(old)) {
      const taken = Conversation.fresh(source);
      taken.turns.push(...old.filter(isTurn));
      if (taken.turns.length === 0 || taken.keep()) forget(OLD_PREFIX + source);
    }
    const found = keysWith(PREFIX).map((key) => Conversation.kept(key.slice(PREFIX.length)));
    return found
      .filter((one): one is Conversation => one?.source === source)
      .sort((a, b) => b.changedMs - a.changedMs);
  }

  /** What it begins with. */
  title(): string {
    const first = (this.turns[0]?.content ?? "").trim().replace(/\s+/g, " ");
    return first.length > TITLE_LENGTH ? `${first.slice(0, TITLE_LENGTH)}…` : first;
  }

  /** The last turn, if it is an answer. */
  lastAnswer(): Turn | undefined {
    const last = this.turns.at(-1);
    return last?.role === "assistant" ? last : undefined;
  }

  /** Whether it is kept now; not where the browser's storage is full. */
  keep(): boolean {
    if (this.turns.length === 0) {
      this.forget();
      return true;
    }
    this.changedMs = Date.now();
    const kept: Kept = { source: this.source, changedMs: this.changedMs, turns: this.turns };
    return save(PREFIX + this.id, kept);
  }

  forget(): void {
    forget(PREFIX + this.id);
  }

  /**
   * The messages for a chat template. Templates want roles to alternate, so an answer that was stopped before its first
   * word is left out and messages without an answer between them become one. Of an answer that goes on, the tokens go along.
   */
  messages(system: string, goesOn?: Turn): Message[] {
    const messages: (Message & { content: string })[] = system ? [{ role: "system", content: system }] : [];
    for (const turn of this.turns) {
      const { role, content, reasoning } = turn;
      if (role === "assistant" && content === "" && turn !== goesOn) continue;
      const last = messages.at(-1);
      if (last?.role === role) last.content += `\n\n${content}`;
      else messages.push({ role, content, ...(reasoning && { reasoning }), ...(turn === goesOn && { ids: turn.ids }) });
    }
    return messages;
  }

  /** For a model without a chat template, which only continues a text. */
  plainText(): string {
    return this.turns.map((turn) => turn.content).filter(Boolean).join("\n");
  }
}
