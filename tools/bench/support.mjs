// What the scripts for Node.js share: their options, and what becomes of their figures.

import { readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { parseArgs } from "node:util";

/** Options and the model's path. `--help` prints the comment at the top of the script, and so does a missing model. */
export function parse(script, options) {
  const known = { ...options, json: { type: "string" }, help: { type: "boolean", short: "h" } };
  const { values, positionals } = parseArgs({ allowPositionals: true, options: known });
  if (values.help || positionals.length !== 1) {
    const lines = readFileSync(script, "utf8").split("\n");
    const comment = lines.slice(0, lines.findIndex((line) => !line.startsWith("//")));
    console.log(comment.map((line) => line.slice(3)).join("\n"));
    process.exit(values.help ? 0 : 2);
  }
  return { options: values, model: resolve(positionals[0]) };
}

/** Writes the figures where `--json` says. */
export function write(options, report) {
  if (options.json) writeFileSync(options.json, `${JSON.stringify(report, null, 1)}\n`);
}
