/** The dialog of conversations: those kept with the open model. */

import { Conversation } from "./conversation.js";
import { announce, button, byId, make } from "./dom.js";
import { isOpen } from "./held.js";

const dialog = byId<HTMLDialogElement>("chats-dialog");
const body = byId("chats-body");

export interface ChatsPart {
  source(): string | undefined;
  /** The one that this tab shows. */
  current(): Conversation;
  /** Shows a kept one; whether it could be opened. */
  show(id: string): Promise<boolean>;
}

const BUSY = "This chat is open in another tab.";

function row(chat: Conversation, part: ChatsPart): HTMLLIElement {
  const problem = make("p", { class: "problem", role: "alert" });
  const shown = chat.id === part.current().id;
  const choose = button("", async () => {
    if (shown || (await part.show(chat.id))) dialog.close();
    else problem.textContent = BUSY;
  }, { "data-action": "open", "aria-current": shown ? "true" : undefined });
  const when = new Date(chat.changedMs).toLocaleString();
  choose.append(make("span", { class: "choice-name", dir: "auto" }, chat.title() || "Empty"), make("span", { class: "choice-size" }, when));
  const remove = button("Delete", async () => {
    if (await isOpen(chat.id)) return void (problem.textContent = BUSY);
    chat.forget();
    announce("The chat was deleted.");
    list(part);
    byId("chats-title").focus();
  }, { class: "quiet", "data-action": "delete", "aria-label": `Delete “${chat.title()}”` });
  const line = shown ? [choose] : [choose, remove];
  return make("li", { "data-chat": chat.id }, ...line, problem);
}

function list(part: ChatsPart): void {
  const source = part.source();
  const chats = source === undefined ? [] : Conversation.all(source);
  const rows = chats.map((chat) => row(chat, part));
  body.replaceChildren(rows.length > 0 ? make("ul", { class: "choices" }, ...rows) : make("p", {}, "No chat with this model is kept yet."));
}

export function initChats(part: ChatsPart): void {
  byId("open-chats").addEventListener("click", () => {
    list(part);
    dialog.showModal();
  });
  byId("chats-close").addEventListener("click", () => dialog.close());
}
