/**
 * Which conversation this tab holds. A conversation is open in one tab at a time, so that two tabs never overwrite what
 * the other one keeps.
 */

import { Conversation } from "./conversation.js";

const TAB_KEY = "tilestream.open-chat";
/** A page that is being reloaded lets go of its conversation about when the new one asks for it. */
const RELOAD_MS = 2000;

const lockName = (id: string) => `tilestream-chat:${id}`;
let holding = "";
let release = () => {};

/** Takes a conversation for this tab, in place of the one that it holds; whether no other tab has it. */
function hold(id: string, waitMs = 0): Promise<boolean> {
  if (!navigator.locks || id === holding) return Promise.resolve(true);
  const options: LockOptions = waitMs > 0 ? { signal: AbortSignal.timeout(waitMs) } : { ifAvailable: true };
  return new Promise((resolve) => {
    const held = navigator.locks.request(lockName(id), options, (lock) => {
      resolve(lock !== null);
      if (lock === null) return undefined;
      release();
      holding = id;
      return new Promise<void>((done) => (release = done));
    });
    held.catch(() => resolve(false));
  });
}

/** Whether any tab has a conversation open. */
export async function isOpen(id: string): Promise<boolean> {
  const { held = [] } = (await navigator.locks?.query()) ?? {};
  return held.some((lock) => lock.name === lockName(id));
}

/** The tab opens this one again after a reload. */
function remember({ id, source }: Conversation): void {
  try {
    sessionStorage.setItem(TAB_KEY, JSON.stringify({ id, source }));
  } catch {
    // Without storage the tab forgets.
  }
}

function remembered(source: string): string | undefined {
  try {
    const kept = JSON.parse(sessionStorage.getItem(TAB_KEY) ?? "null") as { id?: unknown; source?: unknown } | null;
    return kept?.source === source && typeof kept.id === "string" ? kept.id : undefined;
  } catch {
    return undefined;
  }
}

async function take(conversation: Conversation, waitMs = 0): Promise<Conversation | undefined> {
  if (!(await hold(conversation.id, waitMs))) return undefined;
  remember(conversation);
  // Another tab may have written it until now.
  return Conversation.kept(conversation.id) ?? conversation;
}

/** Begins a conversation. */
export async function begin(source: string): Promise<Conversation> {
  const fresh = Conversation.fresh(source);
  return (await take(fresh)) ?? fresh;
}

/** Opens a kept conversation, where no other tab has it. */
export async function open(id: string): Promise<Conversation | undefined> {
  const kept = Conversation.kept(id);
  return kept && take(kept);
}

/** The conversation that this tab had, else the newest one, else a new one. */
export async function resume(source: string): Promise<Conversation> {
  const id = remembered(source);
  const mine = id && (await take(Conversation.kept(id) ?? Conversation.fresh(source, id), RELOAD_MS));
  if (mine) return mine;
  const newest = Conversation.all(source)[0];
  return (newest && !id && (await take(newest))) || begin(source);
}
