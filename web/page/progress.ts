/** How far loading has come: on the loading screen, then in a strip above the chat while an answer downloads. */

import type { Progress } from "../src/index.js";
import { byId } from "./dom.js";
import { formatBytes, formatSeconds } from "./format.js";

/** An answer downloads what it needs before it writes; between answers nothing is downloaded. */
export type AnswerState = "none" | "reading" | "writing";

/** After this time without a byte, a download is not called one. */
const QUIET_MS = 5000;
const LOOKING = "Looking at the files…";

const screenBar = byId<HTMLProgressElement>("loading-bar");
const strip = byId("download-strip");
const stripBar = byId<HTMLProgressElement>("download-bar");
const stripText = byId("download-text");

let latest: Progress | undefined;
let answer: AnswerState = "none";
let quiet: number | undefined;

function amounts({ loadedBytes, totalBytes }: Progress): string {
  return `${formatBytes(loadedBytes)} of ${formatBytes(totalBytes)}`;
}

function describeProgress(progress: Progress): string {
  if (progress.totalBytes <= 0) return LOOKING;
  const parts = [amounts(progress)];
  if (progress.bytesPerSecond > 0) parts.push(`${formatBytes(progress.bytesPerSecond)}/s`);
  if (progress.secondsLeft !== undefined) parts.push(`${formatSeconds(progress.secondsLeft)} left`);
  return parts.join(" · ");
}

/** Bytes of the open model that are not on this machine. */
export function missingBytes(): number {
  return latest ? Math.max(0, latest.totalBytes - latest.loadedBytes) : 0;
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

function hideStrip(): void {
  clearTimeout(quiet);
  strip.hidden = true;
}

/** Nothing came for a while: the network hangs, or all that the answer needs is here. */
function onQuiet(progress: Progress): void {
  if (answer === "writing") return hideStrip();
  stripText.textContent = `Nothing arrived for a while: ${amounts(progress)} are here`;
}

function showStrip(progress: Progress): void {
  clearTimeout(quiet);
  setBar(stripBar, progress);
  stripText.textContent = `Downloading the model: ${describeProgress(progress)}`;
  strip.hidden = false;
  quiet = window.setTimeout(() => onQuiet(progress), QUIET_MS);
}

export function resetProgress(label: string): void {
  latest = undefined;
  byId("loading-source").textContent = label;
  byId("loading-text").textContent = LOOKING;
  setAnswerState("none");
  setBar(screenBar);
}

/** Without an answer under way, the strip goes. */
export function setAnswerState(state: AnswerState): void {
  answer = state;
  if (state === "none") hideStrip();
}

/** Shows a report; the strip only where it tells of new bytes, and more are to come. */
export function showProgress(progress: Progress): void {
  const grew = latest !== undefined && progress.loadedBytes > latest.loadedBytes;
  latest = progress;
  byId("loading-text").textContent = describeProgress(progress);
  setBar(screenBar, progress);
  if (missingBytes() === 0) hideStrip();
  else if (answer !== "none" && grew) showStrip(progress);
}
