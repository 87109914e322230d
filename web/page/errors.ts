/** Errors in words, with what to do about them. */

import { button, make } from "./dom.js";

const ADVICE: Record<string, string> = {
  not_found: "Check the address: it is the folder that holds the split model, and it must be there.",
  network: "Check the connection. The server must also allow other sites to read its files (CORS) and answer byte ranges.",
  checksum: "A file arrived damaged. Try again; if that does not help, delete the stored copy under “Stored models”.",
  budget: "Choose a larger GPU memory budget in the settings.",
  gpu: "Close other tabs that use the GPU, or choose a smaller budget, and try again.",
  no_webgpu: "This browser gives no access to the GPU. See below what helps.",
  unsupported: "This model, or something in it, is not supported. Try another one.",
  malformed: "The files are not a split model, or a damaged one. Split it again with Tilestream's command line.",
  no_space: "Free some space: delete models under “Stored models”, or elsewhere on the disk.",
};

/** The stable code of an error, where it has one. */
export function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  if (typeof code === "string") return code;
  return error instanceof DOMException && error.name === "AbortError" ? "cancelled" : "";
}

export function messageOf(error: unknown): string {
  return error instanceof Error && error.message ? error.message : String(error);
}

export interface ErrorActions {
  retry?: () => void;
  settings?: () => void;
}

/** Shows an error in `place`, instead of the one before. */
export function showError(place: HTMLElement, error: unknown, actions: ErrorActions = {}): void {
  const code = codeOf(error);
  const box = make("div", { class: "box error", role: "alert", "data-code": code || undefined });
  box.append(make("p", { class: "error-message" }, messageOf(error)));
  const advice = ADVICE[code];
  if (advice) box.append(make("p", { class: "error-advice" }, advice));
  const row = make("div", { class: "row wrap" });
  if (actions.retry) row.append(button("Try again", actions.retry, { "data-action": "retry" }));
  if (actions.settings && (code === "budget" || code === "gpu")) {
    row.append(button("Open settings", actions.settings, { "data-action": "settings" }));
  }
  if (row.childElementCount > 0) box.append(row);
  place.replaceChildren(box);
  box.scrollIntoView({ block: "nearest" });
}

export function clearError(place: HTMLElement): void {
  place.replaceChildren();
}
