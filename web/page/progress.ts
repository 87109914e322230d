/** How far loading has come: on the loading screen, then in a strip above the chat. */

import type { Progress } from "../src/index.js";
import { byId } from "./dom.js";
import { formatBytes, formatSeconds } from "./format.js";

const screenBar = byId<HTMLProgressElement>("loading-bar");
const stripBar = byId<HTMLProgressElement>("download-bar");

export function describeProgress(progress: Progress): string {
  if (progress.totalBytes <= 0) return "Looking at the files…";
  const parts = [`${formatBytes(progress.loadedBytes)} of ${formatBytes(progress.totalBytes)}`];
  if (progress.bytesPerSecond > 0) parts.push(`${formatBytes(progress.bytesPerSecond)}/s`);
  if (progress.secondsLeft !== undefined) parts.push(`${formatSeconds(progress.secondsLeft)} left`);
  return parts.join(" · ");
}

/** A bar without a value shows that something happens, but not how far it is. */
function setBar(bar: HTMLProgressElement, progress?: Progress): void {
  if (!progress || progress.totalBytes <= 0) {
    bar.removeAttribute("value");
    return;
  }
  bar.max = progress.totalBytes;
  bar.value = progress.loadedBytes;
}

export function resetProgress(label: string): void {
  byId("loading-source").textContent = label;
  byId("loading-text").textContent = "Looking at the files…";
  byId("download-strip").hidden = true;
  setBar(screenBar);
  setBar(stripBar);
}

/** Shows a report in both places; the strip goes once everything is here. */
export function showProgress(progress: Progress): void {
  const text = describeProgress(progress);
  byId("loading-text").textContent = text;
  setBar(screenBar, progress);
  setBar(stripBar, progress);
  byId("download-text").textContent = `Still downloading: ${text}`;
  const whole = progress.phase === "ready" || progress.loadedBytes >= progress.totalBytes;
  byId("download-strip").hidden = whole;
}
