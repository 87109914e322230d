/** Starting the worker: from the package's own place, be it another origin's. */

import { TilestreamError } from "./types.js";

/** What holds for every model that is opened later. */
export interface Environment {
  /**
   * Where the package's `worker.js` is, with its wasm beside it. Needed where a bundler moved it and the usual way cannot
   * be taken: on a page that asks for trusted types, or whose scripts come from another origin.
   */
  workerUrl?: string | URL;
}

export const env: Environment = {};

interface Policy {
  createScriptURL(url: string): unknown;
}
interface Policies {
  createPolicy(name: string, rules: { createScriptURL: (url: string) => string }): Policy;
}

let policy: Policy | undefined;

/** An address as a page with trusted types wants it. The policy's name is `tilestream`. */
function trusted(url: string): string {
  const { trustedTypes } = globalThis as { trustedTypes?: Policies };
  if (!trustedTypes) return url;
  policy ??= trustedTypes.createPolicy("tilestream", { createScriptURL: (url) => url });
  return policy.createScriptURL(url) as string;
}

const OPTIONS = { type: "module", name: "tilestream" } as const;
// Bundlers look for `import.meta.url` inside of `new URL`; here it has to stay as it is.
const here = import.meta.url;

/** A browser starts no worker from another origin; one of this origin may import it. */
function startAt(url: URL): Worker {
  if (url.origin === globalThis.location?.origin || url.protocol === "blob:") return new Worker(trusted(url.href), OPTIONS);
  const script = URL.createObjectURL(new Blob([`import ${JSON.stringify(url.href)};`], { type: "text/javascript" }));
  const worker = new Worker(trusted(script), OPTIONS);
  // The script is fetched by the time of the worker's first message, or its error.
  const forget = () => URL.revokeObjectURL(script);
  worker.addEventListener("message", forget, { once: true });
  worker.addEventListener("error", forget, { once: true });
  return worker;
}

/** The package's worker. */
export function startWorker(): Worker {
  try {
    if (env.workerUrl) return startAt(new URL(env.workerUrl, globalThis.location?.href));
    if (new URL(here).origin !== globalThis.location?.origin) return startAt(new URL("./worker.js", here));
    try {
      // Bundlers know this form and put the worker where it says.
      return new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "tilestream" });
    } catch (error) {
      // The page asks for trusted types.
      if (!(error instanceof TypeError)) throw error;
      return startAt(new URL("./worker.js", here));
    }
  } catch (error) {
    throw new TilestreamError(`the worker could not be started: ${(error as Error).message}`, "worker");
  }
}
