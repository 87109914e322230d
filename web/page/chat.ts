/** The chat: sends messages, shows answers as they come, stops and regenerates them, keeps all of it. */

import type { Model, Piece, StopReason } from "../src/index.js";
import { initChats } from "./chats.js";
import { Conversation, type Turn } from "./conversation.js";
import { announce, byId } from "./dom.js";
import { clearError, codeOf, showError } from "./errors.js";
import { formatBytes } from "./format.js";
import { begin, open, resume } from "./held.js";
import { MessageView, type TurnActions } from "./message-view.js";
import { showNotice } from "./notice.js";
import { missingBytes, setAnswerState } from "./progress.js";
import { anotherAnswer, generateOptions, openSettings, settings } from "./settings.js";
import { type Speed, SpeedMeter } from "./speed.js";

const scroller = byId("messages");
const turnList = byId("turns");
const errorPlace = byId("chat-error");
const promptField = byId<HTMLTextAreaElement>("prompt");
const sendButton = byId<HTMLButtonElement>("send");
const stopButton = byId<HTMLButtonElement>("stop");

/** The reader is at the end when less than this is hidden below; then the text scrolls along. */
const NEAR_END_PX = 48;
/** An answer in progress is kept this often. */
const KEEP_MS = 1000;
/** How an answer ended that can go on. */
const CAN_GO_ON: (StopReason | undefined)[] = ["cancelled", "max_tokens"];
const FULL = "The browser's storage is full, so this chat is not kept. Delete some under “Chats”.";

let model: Model | undefined;
let conversation = Conversation.fresh("");
let running: { controller: AbortController; done: Promise<void> } | undefined;
let lastSpeed: Speed | undefined;

export function speedOfLastAnswer(): Speed | undefined {
  return lastSpeed;
}

export function isAnswering(): boolean {
  return running !== undefined;
}

function isAtEnd(): boolean {
  return scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_END_PX;
}

function scrollToEnd(): void {
  scroller.scrollTop = scroller.scrollHeight;
}

/** Keeps the conversation, and tells once where that cannot be. */
function keep(): void {
  const kept = conversation.keep();
  const full = document.body.dataset.storage === "full";
  if (kept !== full) return;
  document.body.dataset.storage = kept ? "" : "full";
  showNotice(kept ? undefined : FULL);
}

const actions: TurnActions = {
  goOn: () => void goOn(),
  regenerate: () => void regenerate(),
  edit: (turn, text) => void ask(text, turn),
  remove: (turn) => void remove(turn),
};

function addView(turn: Turn): MessageView {
  const view = new MessageView(turn, actions);
  turnList.append(view.element);
  byId("empty-chat").hidden = true;
  return view;
}

function invitation(): string {
  const invite = model?.hasChatTemplate === false
    ? "This model has no chat template: it continues the text that you write."
    : "Ask something.";
  const missing = missingBytes();
  return missing > 0 ? `${invite} The answer first downloads what it needs of the model: up to ${formatBytes(missing)}.` : invite;
}

function showAll(): void {
  turnList.replaceChildren();
  for (const turn of conversation.turns) addView(turn);
  const empty = byId("empty-chat");
  empty.hidden = conversation.turns.length > 0;
  empty.textContent = invitation();
  scrollToEnd();
}

function setAnswering(answering: boolean): void {
  document.body.dataset.answering = String(answering);
  // Focus would be lost with the button that goes.
  const hadFocus = document.activeElement === sendButton || document.activeElement === stopButton;
  sendButton.hidden = answering;
  stopButton.hidden = !answering;
  if (hadFocus) (answering ? stopButton : promptField).focus();
}

/** Adds the model's pieces to the turn until it ends or is stopped. */
async function receive(turn: Turn, view: MessageView, pieces: AsyncGenerator<Piece, void, void>): Promise<void> {
  const meter = new SpeedMeter();
  let keptMs = performance.now();
  for await (const piece of pieces) {
    if (piece.id !== undefined) {
      (turn.ids ??= []).push(piece.id);
      turn.sampling = { ...turn.sampling, seed: piece.seed };
      meter.countToken();
      setAnswerState("writing");
    }
    lastSpeed = meter.read() ?? lastSpeed;
    if (piece.stopReason) turn.stopReason = piece.stopReason;
    if (!piece.text && !piece.reasoning) continue;
    turn.content += piece.text;
    if (piece.reasoning) turn.reasoning = (turn.reasoning ?? "") + piece.reasoning;
    if (performance.now() - keptMs > KEEP_MS) {
      keptMs = performance.now();
      keep();
    }
    const follow = isAtEnd();
    view.setStatus("");
    view.schedule(() => follow && scrollToEnd());
  }
}

/** Adds an empty answer to the conversation; `another`: the last message had one already. */
function emptyAnswer(another: boolean): Turn {
  const { options, note } = another ? anotherAnswer() : { options: generateOptions(), note: undefined };
  const { maxTokens, ...sampling } = options;
  const turn: Turn = { role: "assistant", content: "", sampling, ...(note && { note }) };
  conversation.turns.push(turn);
  return turn;
}

/** Writes an answer, from its beginning or from where it was interrupted. */
async function answer(asked: Model, signal: AbortSignal, turn: Turn): Promise<void> {
  const goesOn = turn.ids?.length ? turn : undefined;
  const prompt = asked.hasChatTemplate ? conversation.messages(settings().system, goesOn) : conversation.plainText();
  const options = { maxTokens: settings().maxTokens, ...turn.sampling, continueFinalMessage: asked.hasChatTemplate && goesOn !== undefined };
  turn.unfinished = true;
  delete turn.stopReason;
  const view = addView(turn);
  view.begin();
  view.setStatus(goesOn ? "Reading the answer so far…" : "Reading your message…");
  setAnswerState("reading");
  scrollToEnd();
  announce("The model is answering.");
  let failure: unknown;
  try {
    await receive(turn, view, asked.generate(prompt, { ...options, signal }));
  } catch (error) {
    if (signal.aborted || codeOf(error) === "cancelled") turn.stopReason = "cancelled";
    else failure = error;
  }
  setAnswerState("none");
  delete turn.unfinished;
  if (!failure && !CAN_GO_ON.includes(turn.stopReason)) {
    delete turn.ids;
    delete turn.sampling;
  }
  const follow = isAtEnd();
  view.finish();
  if (failure && turn.content === "") {
    conversation.turns.pop();
    view.element.remove();
  }
  keep();
  if (failure) showError(errorPlace, failure, { retry: () => void regenerate(), settings: () => openSettings(true) });
  else announce(turn.stopReason === "cancelled" ? `Stopped. ${view.text()}` : view.text());
  if (follow) scrollToEnd();
}

/** Begins an answer, or goes on with one; `another`: the last message had one already. */
function startAnswer({ another = false, more }: { another?: boolean; more?: Turn } = {}): void {
  if (!model || running) return;
  clearError(errorPlace);
  const controller = new AbortController();
  setAnswering(true);
  const done = answer(model, controller.signal, more ?? emptyAnswer(another)).finally(() => {
    running = undefined;
    setAnswering(false);
  });
  running = { controller, done };
}

function send(): void {
  const text = promptField.value.trim();
  if (!text || running || !model) return;
  promptField.value = "";
  fitPrompt();
  void ask(text);
}

/** Asks something: at the end, or in place of a question and all that came after it. */
async function ask(text: string, instead?: Turn): Promise<void> {
  await stopAnswer();
  const turn: Turn = { role: "user", content: text };
  const at = instead ? conversation.turns.indexOf(instead) : -1;
  if (at >= 0) cut(at, conversation.turns.length);
  conversation.turns.push(turn);
  addView(turn);
  keep();
  startAnswer();
  // The button that was pressed is gone with the question's old text.
  if (at >= 0) promptField.focus();
}

/** Takes turns out, on the page too. */
function cut(from: number, to: number): void {
  conversation.turns.splice(from, to - from);
  for (const view of [...turnList.children].slice(from, to)) view.remove();
}

/** Takes a question out, and its answer. */
async function remove(turn: Turn): Promise<void> {
  await stopAnswer();
  const at = conversation.turns.indexOf(turn);
  if (at < 0) return;
  cut(at, conversation.turns[at + 1]?.role === "assistant" ? at + 2 : at + 1);
  keep();
  clearError(errorPlace);
  byId("empty-chat").hidden = conversation.turns.length > 0;
  announce("Removed.");
  promptField.focus();
}

/** Answers the last message once more, in place of the answer that it has. */
async function regenerate(): Promise<void> {
  await stopAnswer();
  const had = conversation.lastAnswer();
  if (had) {
    cut(conversation.turns.length - 1, conversation.turns.length);
    // The button that was pressed is gone with its answer.
    promptField.focus();
  }
  if (conversation.turns.length > 0) startAnswer({ another: had !== undefined && !had.unfinished });
}

/** Goes on with the last answer, which did not come to its end. */
async function goOn(): Promise<void> {
  await stopAnswer();
  const more = conversation.lastAnswer();
  if (!more?.ids?.length) return;
  // The view is made anew below; the button that was pressed goes with it.
  turnList.lastElementChild?.remove();
  promptField.focus();
  // What a character that was cut in two left; it comes whole.
  more.content = more.content.replace(/\uFFFD+$/, "");
  startAnswer({ more });
}

/** Stops the answer, which stays in the conversation, and waits until the model is free. */
export async function stopAnswer(): Promise<void> {
  running?.controller.abort();
  await running?.done;
}

function show(shown: Conversation): void {
  conversation = shown;
  clearError(errorPlace);
  showAll();
}

/** Begins a conversation; the one so far stays under “Chats”. */
async function newChat(): Promise<void> {
  await stopAnswer();
  if (conversation.turns.length > 0) show(await begin(conversation.source));
  announce("New chat.");
  promptField.focus();
}

async function showKept(id: string): Promise<boolean> {
  await stopAnswer();
  const opened = await open(id);
  if (!opened) return false;
  show(opened);
  promptField.focus();
  return true;
}

/** Shows the conversation kept for a model that was opened. */
export async function attachModel(opened: Model, sourceKey: string): Promise<void> {
  model = opened;
  lastSpeed = undefined;
  show(await resume(sourceKey));
}

export async function detachModel(): Promise<void> {
  await stopAnswer();
  model = undefined;
}

/** The field grows with its text; the style sheet sets the limit. */
function fitPrompt(): void {
  promptField.style.height = "auto";
  promptField.style.height = `${promptField.scrollHeight + 2}px`;
}

export function initChat(): void {
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  promptField.addEventListener("input", fitPrompt);
  promptField.addEventListener("keydown", (event) => {
    // Enter also ends a word in an input method; that one does not send.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  stopButton.addEventListener("click", () => void stopAnswer());
  byId("new-chat").addEventListener("click", () => void newChat());
  initChats({ source: () => (model ? conversation.source : undefined), current: () => conversation, show: showKept });
  // What came since the last time it was kept.
  addEventListener("pagehide", () => void (running && conversation.keep()));
}
