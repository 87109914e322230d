/** The panels beside the chat. Their figures are asked for only while someone can see them. */

import type { Model, Profile } from "../src/index.js";
import { speedOfLastAnswer } from "./chat.js";
import { byId, make } from "./dom.js";
import { formatBytes, formatShare, formatShortTime } from "./format.js";
import { drawTilePicture } from "./tile-picture.js";
import { drawTimeline } from "./timeline.js";

const NAMES = ["stream", "figures"] as const;
type PanelName = (typeof NAMES)[number];

const POLL_MS: Record<PanelName, number> = { stream: 250, figures: 1000 };

const aside = byId("panel");
let model: Model | undefined;
let shown: PanelName | undefined;
let timer: number | undefined;

function figureRows(opened: Model, profile: Profile): [string, string][] {
  const speed = speedOfLastAnswer();
  const rate = speed?.tokensPerSecond;
  return [
    ["Model", opened.name],
    ["Weights", `${formatBytes(profile.modelBytes)} in ${opened.layers} layers`],
    ["GPU", profile.adapter],
    ["Memory budget", formatBytes(profile.budgetBytes)],
    ["Peak GPU memory", `${formatBytes(profile.peakGpuBytes)} (${formatShare(profile.peakGpuBytes, profile.budgetBytes)} of the budget)`],
    ["Pinned on the GPU", `${formatBytes(profile.pinnedBytes)} (${formatShare(profile.pinnedBytes, profile.modelBytes)} of the model)`],
    ["Streamed per sweep", formatBytes(profile.streamedBytesPerSweep)],
    ["Sweeps", String(profile.sweeps)],
    ["Read in all", formatBytes(profile.bytesRead)],
    ["Busy reading", formatShortTime(profile.readBusyS)],
    ["Busy uploading", formatShortTime(profile.uploadBusyS)],
    ["Busy computing", formatShortTime(profile.computeBusyS)],
    ["Time to first token", speed ? formatShortTime(speed.firstTokenS) : "no answer yet"],
    ["Tokens per second", rate === undefined ? "no answer yet" : rate.toFixed(rate < 10 ? 2 : 1)],
    ["Tokens of the last answer", speed ? String(speed.tokens) : "no answer yet"],
  ];
}

function showFigures(opened: Model, profile: Profile): void {
  const rows = figureRows(opened, profile).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]);
  byId("figures").replaceChildren(...rows);
}

async function refresh(): Promise<void> {
  const [asked, panel] = [model, shown];
  if (!asked || !panel || document.hidden) return;
  if (panel === "figures") {
    const profile = await asked.profile();
    if (asked === model) showFigures(asked, profile);
    return;
  }
  const state = await asked.stream();
  if (asked !== model || shown !== "stream") return;
  drawTimeline(state);
  // Last, in the height that the others leave.
  drawTilePicture(state, asked.totalBytes);
}

/** One question at a time: the next is asked a while after the last was answered. */
async function poll(): Promise<void> {
  const panel = shown;
  try {
    await refresh();
  } catch {
    // A model that is being closed, or is failing, has no figures; the chat shows its errors.
  }
  if (panel && panel === shown) timer = window.setTimeout(() => void poll(), POLL_MS[panel]);
}

function toggleOf(name: PanelName): HTMLElement {
  return byId(`toggle-${name}`);
}

function show(name: PanelName | undefined): void {
  clearTimeout(timer);
  shown = name;
  aside.hidden = name === undefined;
  for (const each of NAMES) {
    byId(`panel-${each}`).hidden = each !== name;
    toggleOf(each).setAttribute("aria-expanded", String(each === name));
  }
  void poll();
}

/** Closes the open panel; whether there was one. */
export function closePanel(): boolean {
  if (!shown) return false;
  const toggle = toggleOf(shown);
  const hadFocus = aside.contains(document.activeElement);
  show(undefined);
  if (hadFocus) toggle.focus();
  return true;
}

export function setPanelModel(opened: Model | undefined): void {
  model = opened;
}

export function initPanels(): void {
  for (const name of NAMES) toggleOf(name).addEventListener("click", () => show(shown === name ? undefined : name));
  for (const close of aside.querySelectorAll("[data-close-panel]")) close.addEventListener("click", closePanel);
}
