/** Errors in words: what happened, what to do about it, and what the engine said. */

import { button, make } from "./dom.js";

interface Words {
  /** What happened; none where the engine's own sentence is the one that people need. */
  title?: string;
  advice: string[];
}

const WORDS: Record<string, Words> = {
  network: {
    title: "The server cannot be reached",
    advice: [
      "Check the connection, the address, and that the server is running.",
      "A server of another site must allow this page to read its files (CORS).",
    ],
  },
  checksum: {
    title: "A file of the model is damaged",
    advice: ["Try again. If that does not help, delete the stored copy under “Stored models”."],
  },
  budget: { advice: ["Choose a larger GPU memory budget in the settings."] },
  worker: {
    title: "A file of this page could not be loaded",
    advice: ["Reload the page. If that does not help, whoever hosts it must offer worker.js beside page.js."],
  },
  wasm: {
    title: "A file of this page could not be loaded",
    advice: ["Reload the page. If that does not help, whoever hosts it must offer tilestream_bg.wasm beside page.js."],
  },
  adapter: {
    title: "The GPU or its driver cannot run the model",
    advice: ["Update the browser and the GPU's driver, or try another browser."],
  },
  device_lost: {
    title: "The GPU failed again and again",
    advice: ["Close other tabs that use the GPU, or choose a smaller GPU memory budget in the settings, and try again."],
  },
  gpu_memory: {
    title: "The GPU has no memory left",
    advice: ["Close other tabs that use the GPU, or choose a smaller GPU memory budget in the settings, and try again."],
  },
  not_finite: {
    title: "The model computed something that is not a number",
    advice: [
      "Delete the stored copy under “Stored models” and load the model again.",
      "If that does not help, the GPU's driver computes wrongly: try another browser or machine.",
    ],
  },
  internal: {
    title: "Tilestream has a fault",
    advice: ["Reload the page. If it comes again, please report it with the details."],
  },
  malformed: {
    title: "These files are not a split model, or a damaged one",
    advice: [
      "Check the address: some servers answer with a web page where there is no file.",
      "If it is right, split the model again with Tilestream's command line and upload the whole folder.",
    ],
  },
  no_space: {
    title: "There is no room left to store the model",
    advice: ["Delete models under “Stored models”, or free some space on the disk."],
  },
};

const NO_MODEL_THERE: Words = {
  title: "There is no model at this address",
  advice: [
    "Check the address: it names the folder of a split model, the one that holds manifest.json.",
    "Open the address of manifest.json in a tab of its own, to see whether the folder is hosted there.",
    "A server of another site must also allow this page to read its files (CORS).",
  ],
};

const NO_MODEL_IN_FOLDER: Words = {
  title: "This folder holds no model",
  advice: ["Choose the folder that holds manifest.json: the one that Tilestream's command line made when it split the model."],
};

const FILE_MISSING: Words = {
  title: "A file of the model is missing",
  advice: ["The folder of the model is not complete: the details name the file that is not there."],
};

/** The stable code of an error, where it has one. */
export function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  if (typeof code === "string") return code;
  return error instanceof DOMException && error.name === "AbortError" ? "cancelled" : "";
}

function messageOf(error: unknown): string {
  return error instanceof Error && error.message ? error.message : String(error);
}

function wordsFor(code: string, message: string, folder: boolean): Words | undefined {
  if (code !== "not_found") return WORDS[code];
  if (!message.includes("manifest.json")) return FILE_MISSING;
  return folder ? NO_MODEL_IN_FOLDER : NO_MODEL_THERE;
}

/** The engine's messages begin in lower case; a name of a file or an address stays as it is. */
function asSentence(message: string): string {
  return /^[a-z]+[ ,]/.test(message) ? message.charAt(0).toUpperCase() + message.slice(1) : message;
}

function adviceElement(advice: string[]): HTMLElement {
  if (advice.length === 1) return make("p", { class: "error-advice" }, ...advice);
  return make("ul", { class: "error-advice" }, ...advice.map((line) => make("li", {}, line)));
}

export interface ErrorOptions {
  retry?: () => void;
  settings?: () => void;
  /** What failed came from a folder of this machine, not from an address. */
  folder?: boolean;
}

/** Shows an error in `place`, instead of the one before. */
export function showError(place: HTMLElement, error: unknown, options: ErrorOptions = {}): void {
  const [code, message] = [codeOf(error), messageOf(error)];
  const words = wordsFor(code, message, options.folder ?? false);
  const box = make("div", { class: "box error", role: "alert", "data-code": code || undefined });
  box.append(make("p", { class: "error-message" }, words?.title ?? asSentence(message)));
  if (words) box.append(adviceElement(words.advice));
  // The engine's sentence ends with advice of its own, so it does not stand beside the page's.
  if (words?.title) box.append(make("details", {}, make("summary", {}, "Details"), make("p", { class: "hint" }, message)));
  const row = make("div", { class: "row wrap" });
  if (options.retry) row.append(button("Try again", options.retry, { "data-action": "retry" }));
  if (options.settings && ["budget", "device_lost", "gpu_memory"].includes(code)) {
    row.append(button("Open settings", options.settings, { "data-action": "settings" }));
  }
  if (row.childElementCount > 0) box.append(row);
  place.replaceChildren(box);
  box.scrollIntoView({ block: "nearest" });
}

export function clearError(place: HTMLElement): void {
  place.replaceChildren();
}
