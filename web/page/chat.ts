/** The chat: sends messages, shows answers as they come, stops and regenerates them. */

import type { Model, Piece } from "../src/index.js";
import { Conversation, type Turn } from "./conversation.js";
import { announce, byId } from "./dom.js";
import { clearError, codeOf, showError } from "./errors.js";
import { formatBytes } from "./format.js";
import { MessageView } from "./message-view.js";
import { missingBytes, setAnswerState } from "./progress.js";
import { generateOptions, openSettings, settings } from "./settings.js";
import { type Speed, SpeedMeter } from "./speed.js";

const scroller = byId("messages");
const turnList = byId("turns");
const errorPlace = byId("chat-error");
const promptField = byId<HTMLTextAreaElement>("prompt");
const sendButton = byId<HTMLButtonElement>("send");
const stopButton = byId<HTMLButtonElement>("stop");

/** The reader is at the end when less than this is hidden below; then the text scrolls along. */
const NEAR_END_PX = 48;

let model: Model | undefined;
let conversation = Conversation.of("");
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

function addView(turn: Turn): MessageView {
  const view = new MessageView(turn, () => void regenerate());
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
  for await (const piece of pieces) {
    if (piece.id !== undefined) {
      meter.countToken();
      setAnswerState("writing");
    }
    lastSpeed = meter.read() ?? lastSpeed;
    if (piece.stopReason) turn.stopReason = piece.stopReason;
    if (!piece.text) continue;
    turn.content += piece.text;
    const follow = isAtEnd();
    view.setStatus("");
    view.schedule(() => follow && scrollToEnd());
  }
}

async function answer(asked: Model, signal: AbortSignal): Promise<void> {
  const prompt = asked.hasChatTemplate ? conversation.messages(settings().system) : conversation.plainText();
  const turn: Turn = { role: "assistant", content: "" };
  conversation.turns.push(turn);
  const view = addView(turn);
  view.begin();
  view.setStatus("Reading your message…");
  setAnswerState("reading");
  scrollToEnd();
  announce("The model is answering.");
  let failure: unknown;
  try {
    await receive(turn, view, asked.generate(prompt, { ...generateOptions(), signal }));
  } catch (error) {
    if (signal.aborted || codeOf(error) === "cancelled") turn.stopReason = "cancelled";
    else failure = error;
  }
  setAnswerState("none");
  const follow = isAtEnd();
  view.finish();
  if (failure && turn.content === "") {
    conversation.turns.pop();
    view.element.remove();
  }
  conversation.keep();
  if (failure) showError(errorPlace, failure, { retry: () => void regenerate(), settings: () => openSettings(true) });
  else announce(turn.stopReason === "cancelled" ? `Stopped. ${view.text()}` : view.text());
  if (follow) scrollToEnd();
}

function startAnswer(): void {
  if (!model || running) return;
  clearError(errorPlace);
  const controller = new AbortController();
  setAnswering(true);
  const done = answer(model, controller.signal).finally(() => {
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
  const turn: Turn = { role: "user", content: text };
  conversation.turns.push(turn);
  addView(turn);
  conversation.keep();
  startAnswer();
}

/** Answers the last message once more, in place of the answer that it has. */
async function regenerate(): Promise<void> {
  await stopAnswer();
  if (conversation.lastAnswer()) {
    conversation.turns.pop();
    turnList.lastElementChild?.remove();
    // The button that was pressed is gone with its answer.
    promptField.focus();
  }
  if (conversation.turns.length > 0) startAnswer();
}

/** Stops the answer, which stays in the conversation, and waits until the model is free. */
export async function stopAnswer(): Promise<void> {
  running?.controller.abort();
  await running?.done;
}

export async function newChat(): Promise<void> {
  await stopAnswer();
  conversation.clear();
  clearError(errorPlace);
  showAll();
  announce("New chat.");
  promptField.focus();
}

/** Shows the conversation kept for a model that was opened. */
export function attachModel(opened: Model, sourceKey: string): void {
  model = opened;
  conversation = Conversation.of(sourceKey);
  lastSpeed = undefined;
  clearError(errorPlace);
  showAll();
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
}
