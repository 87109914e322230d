/** What callers hand in, checked before it goes to the worker: a wrong name or kind is named. */

import { type ContentPart, type Message, TilestreamError } from "./types.js";

type Kind = "number" | "string" | "boolean" | "function" | "strings" | "size" | "signal" | "messages" | "object" | "any";

const LOAD: Record<string, Kind> = {
  budget: "size",
  context: "number",
  sequences: "number",
  kv: "string",
  activations: "string",
  date: "string",
  templateArgs: "object",
  cache: "string",
  onProgress: "function",
  signal: "signal",
};
const GENERATE: Record<string, Kind> = {
  maxTokens: "number",
  temperature: "number",
  topK: "number",
  topP: "number",
  minP: "number",
  repetitionPenalty: "number",
  presencePenalty: "number",
  frequencyPenalty: "number",
  seed: "number",
  stop: "strings",
  ignoreEos: "boolean",
  continueFinalMessage: "boolean",
  signal: "signal",
};
const COMPLETION: Record<string, Kind> = {
  messages: "messages",
  model: "string",
  user: "string",
  stream: "boolean",
  max_tokens: "number",
  max_completion_tokens: "number",
  temperature: "number",
  top_p: "number",
  seed: "number",
  stop: "any",
  signal: "signal",
};

const KINDS: Record<Kind, { is: (value: unknown) => boolean; words: string }> = {
  number: { is: (value) => typeof value === "number" && Number.isFinite(value), words: "a number" },
  string: { is: (value) => typeof value === "string", words: "a string" },
  boolean: { is: (value) => typeof value === "boolean", words: "true or false" },
  function: { is: (value) => typeof value === "function", words: "a function" },
  strings: { is: (value) => Array.isArray(value) && value.every((one) => typeof one === "string"), words: "an array of strings" },
  size: { is: (value) => typeof value === "number" || typeof value === "string", words: "a number of bytes or a size such as \"512MiB\"" },
  signal: { is: (value) => value instanceof AbortSignal, words: "an AbortSignal" },
  messages: { is: Array.isArray, words: "an array of messages" },
  object: { is: (value) => typeof value === "object" && value !== null && !Array.isArray(value), words: "an object" },
  any: { is: () => true, words: "" },
};

const wrong = (message: string) => new TilestreamError(message, "argument");

function shown(value: unknown): string {
  const text = typeof value === "string" ? JSON.stringify(value) : String(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

/** The options that are given, without those that are undefined. */
function checked<T extends object>(options: T, known: Record<string, Kind>, what: string): T {
  if (options === null || typeof options !== "object") throw wrong(`${what} are an object, not ${shown(options)}`);
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  for (const [name, value] of given) {
    const kind = Object.hasOwn(known, name) ? known[name] : undefined;
    if (!kind) throw wrong(`${what} have no "${name}"; there are ${Object.keys(known).join(", ")}`);
    if (!KINDS[kind].is(value)) throw wrong(`"${name}" must be ${KINDS[kind].words}, not ${shown(value)}`);
  }
  return Object.fromEntries(given) as T;
}

export const checkLoad = <T extends object>(options: T): T => checked(options, LOAD, "the options of fromPretrained");
export const checkGenerate = <T extends object>(options: T): T => checked(options, GENERATE, "the options of generate");
export const checkCompletion = <T extends object>(request: T): T => checked(request, COMPLETION, "the options of create");

function checkPart(part: ContentPart, where: string) {
  if (part?.type === "text" && typeof part.text === "string") return;
  throw wrong(`${where} is ${part?.type === "text" ? "text without a text" : `of the type ${shown(part?.type)}`}; only { type: "text", text } is understood`);
}

/** Throws where a message has no role, or a content that is neither a string nor parts that are texts. */
export function checkMessages(messages: Message[]) {
  messages.forEach((message, index) => {
    const where = `messages[${index}]`;
    if (typeof message?.role !== "string") throw wrong(`${where} has no role`);
    const { content } = message;
    if (typeof content === "string") return;
    if (!Array.isArray(content)) throw wrong(`the content of ${where} must be a string or an array of parts, not ${shown(content)}`);
    content.forEach((part, at) => checkPart(part, `${where}.content[${at}]`));
  });
}

/** The folder that an address means: with or without a slash at its end, or the manifest in it. */
export function folderAddress(source: string | URL): string {
  let url: URL;
  try {
    url = new URL(source, globalThis.location?.href);
  } catch {
    throw wrong(`${shown(source)} is no address`);
  }
  url.hash = "";
  url.pathname = `${url.pathname.replace(/\/manifest\.json$/, "").replace(/\/+$/, "")}/`;
  return url.href;
}
