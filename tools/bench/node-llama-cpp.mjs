// llama.cpp out of npm, for the scripts beside this one.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

export const VERSION = "3.22.1"; // of node-llama-cpp and of its prebuilt Vulkan binaries; the two belong together

/** The package, installed into a folder unless it is there. */
export async function nodeLlamaCpp(modules) {
  const entry = join(modules, "node_modules/node-llama-cpp/dist/index.js");
  if (!existsSync(entry)) {
    mkdirSync(modules, { recursive: true });
    const packages = [`node-llama-cpp@${VERSION}`, `@node-llama-cpp/linux-x64-vulkan@${VERSION}`];
    const install = ["install", "--prefix", modules, "--ignore-scripts", "--no-audit", "--no-fund"];
    execFileSync("npm", [...install, ...packages], { stdio: ["ignore", "ignore", "inherit"] });
  }
  return import(pathToFileURL(entry).href);
}
