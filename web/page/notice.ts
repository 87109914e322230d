/** A line above the chat that stays until it is dismissed. */

import { announce, byId } from "./dom.js";

export function showNotice(text: string | undefined): void {
  if (text && byId("notice-text").textContent !== text) announce(text);
  byId("notice").hidden = !text;
  byId("notice-text").textContent = text ?? "";
}
