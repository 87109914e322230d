/** What to tell someone whose browser has no WebGPU. */

import { announce, byId, make } from "./dom.js";

export function hasWebGpu(): boolean {
  return "gpu" in navigator && Boolean(navigator.gpu);
}

const BROWSERS = [
  "Chrome or Edge 113 or later on Windows, macOS and ChromeOS; Chrome 121 or later on Android 12 and later",
  "Safari 26 or later on macOS 26, iOS 26 and iPadOS 26",
  "Firefox 141 or later on Windows, 145 or later on a Mac with Apple silicon",
];

const LINUX = [
  "Chrome or Chromium: open chrome://flags, enable “Unsafe WebGPU Support” (#enable-unsafe-webgpu) and “Vulkan” (#enable-vulkan), and start it again. From a terminal: --enable-unsafe-webgpu --enable-features=Vulkan",
  "Firefox: set dom.webgpu.enabled to true in about:config; Firefox Nightly has it on",
];

const DRIVER = "update the graphics driver, and check that hardware acceleration is on in the browser's settings.";

const box = byId("no-webgpu");

function list(items: string[]): HTMLUListElement {
  return make("ul", {}, ...items.map((item) => make("li", {}, item)));
}

export function hideNoWebGpu(): void {
  box.hidden = true;
}

/** Says that there is no WebGPU and what helps. A browser that knows it may find no adapter for it. */
export function showNoWebGpu(): void {
  box.replaceChildren(make("h3", {}, "This browser cannot reach the GPU"));
  if (hasWebGpu()) box.append(make("p", {}, `It has WebGPU, but finds no graphics adapter: ${DRIVER}`));
  else showBrowsers();
  box.append(make("p", {}, "On Linux it often has to be switched on:"), list(LINUX));
  box.hidden = false;
  announce(box.innerText);
}

function showBrowsers(): void {
  if (!window.isSecureContext) {
    box.append(make("p", {}, "This page was opened over plain http. Browsers give WebGPU to https:// pages and to http://localhost only, so open it from there first."));
  }
  box.append(
    make("p", {}, "Tilestream computes with WebGPU. These browsers have it:"),
    list(BROWSERS),
    make("p", {}, `If yours is on the list, ${DRIVER}`),
  );
}
