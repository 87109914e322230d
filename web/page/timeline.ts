/** The timeline: when tiles were read, uploaded and computed in the last sweeps, one lane each. */

import { TIERS, type StreamState } from "../src/index.js";
import { hasWidePanel, prepareCanvas, themeColor } from "./canvas.js";
import { byId } from "./dom.js";
import { formatShortTime } from "./format.js";

const LANES = [
  { name: "read", color: "--lane-read" },
  { name: "upload", color: "--lane-upload" },
  { name: "compute", color: "--lane-compute" },
];
/** An interval in `StreamState.intervals` is (stage, sweep, tile, begin, end). */
const STRIDE = 5;
const SWEEPS_SHOWN = 3;
const LABEL_WIDTH = 58;
const LANE_HEIGHT = { wide: 26, narrow: 16 };
const LANE_GAP = 5;
const AXIS_HEIGHT = 16;

interface Interval {
  stage: number;
  sweep: number;
  begin: number;
  end: number;
}

const canvas = byId<HTMLCanvasElement>("timeline");
const text = byId("timeline-text");

/** The intervals of the last sweeps, with a broken one left out. */
function lastSweeps(flat: Float64Array): Interval[] {
  const all: Interval[] = [];
  for (let at = 0; at + STRIDE <= flat.length; at += STRIDE) {
    const [stage = 0, sweep = 0, , begin = 0, end = 0] = flat.subarray(at, at + STRIDE);
    if (stage < LANES.length && end >= begin) all.push({ stage, sweep, begin, end });
  }
  const newest = all.reduce((most, interval) => Math.max(most, interval.sweep), 0);
  return all.filter((interval) => interval.sweep > newest - SWEEPS_SHOWN);
}

/** For each of `columns` equal parts of the time, the share of it that a lane was busy. Overlaps count once, as 1. */
function busyShares(intervals: Interval[], from: number, spanS: number, columns: number): Float64Array {
  const shares = new Float64Array(columns);
  for (const { begin, end } of intervals) {
    const left = ((begin - from) / spanS) * columns;
    const right = ((end - from) / spanS) * columns;
    for (let column = Math.max(0, Math.floor(left)); column < Math.min(columns, right); column += 1) {
      const covered = Math.min(right, column + 1) - Math.max(left, column);
      shares[column] = Math.min(1, (shares[column] ?? 0) + covered);
    }
  }
  return shares;
}

function drawLane(context: CanvasRenderingContext2D, shares: Float64Array, top: number, laneHeight: number, color: string): void {
  context.fillStyle = color;
  shares.forEach((share, column) => {
    if (share <= 0) return;
    // The height shows how busy; something very short is still seen.
    const height = Math.max(3, share * laneHeight);
    context.fillRect(LABEL_WIDTH + column, top + laneHeight - height, 1, height);
  });
}

function drawAxis(context: CanvasRenderingContext2D, width: number, top: number, spanS: number, ageS: number): void {
  context.fillStyle = themeColor("--muted");
  context.textBaseline = "top";
  context.textAlign = "left";
  context.fillText(formatShortTime(spanS + ageS) + " ago", LABEL_WIDTH, top);
  context.textAlign = "right";
  context.fillText(ageS < 0.5 ? "now" : `${formatShortTime(ageS)} ago`, width, top);
  context.textAlign = "left";
}

/** Where each sweep begins, as a thin line through the lanes. */
function drawSweepLines(context: CanvasRenderingContext2D, intervals: Interval[], from: number, scale: number, height: number): void {
  const begins = new Map<number, number>();
  for (const { stage, sweep, begin } of intervals) {
    if (stage === 2) begins.set(sweep, Math.min(begin, begins.get(sweep) ?? Infinity));
  }
  context.fillStyle = themeColor("--line");
  for (const begin of begins.values()) context.fillRect(LABEL_WIDTH + (begin - from) * scale, 0, 1, height);
}

const isResident = ({ tiles }: StreamState): boolean => tiles.length > 0 && tiles.every((place) => TIERS[place] === "pinned");

export function drawTimeline(state: StreamState): void {
  const width = canvas.parentElement?.clientWidth ?? 0;
  if (width === 0) return;
  // Of a model that is all on the GPU there is nothing to see but one lane.
  const intervals = isResident(state) ? [] : lastSweeps(state.intervals);
  canvas.hidden = intervals.length === 0;
  if (canvas.hidden) {
    text.textContent = isResident(state)
      ? "The whole model is pinned on the GPU, so nothing has to be streamed."
      : "Nothing is streamed just now: the timeline shows an answer while it is written.";
    return;
  }
  const laneHeight = hasWidePanel() ? LANE_HEIGHT.wide : LANE_HEIGHT.narrow;
  const lanesHeight = LANES.length * (laneHeight + LANE_GAP);
  const context = prepareCanvas(canvas, width, lanesHeight + AXIS_HEIGHT);
  if (!context) return;
  const from = intervals.reduce((least, interval) => Math.min(least, interval.begin), Infinity);
  const to = intervals.reduce((most, interval) => Math.max(most, interval.end), -Infinity);
  const spanS = Math.max(1e-6, to - from);
  const columns = Math.max(1, Math.floor(width - LABEL_WIDTH));
  drawSweepLines(context, intervals, from, columns / spanS, lanesHeight);
  const said = LANES.map((lane, stage) => {
    const shares = busyShares(intervals.filter((interval) => interval.stage === stage), from, spanS, columns);
    const top = stage * (laneHeight + LANE_GAP);
    context.fillStyle = themeColor("--text");
    context.textBaseline = "middle";
    context.fillText(lane.name, 0, top + laneHeight / 2);
    context.fillStyle = themeColor("--line");
    context.fillRect(LABEL_WIDTH, top + laneHeight, columns, 1);
    drawLane(context, shares, top, laneHeight, themeColor(lane.color));
    const busy = shares.reduce((sum, share) => sum + share, 0) / columns;
    return `${lane.name} ${Math.round(busy * 100)} %`;
  });
  drawAxis(context, width, lanesHeight, spanS, Math.max(0, state.now - to));
  const sweeps = new Set(intervals.map((interval) => interval.sweep)).size;
  text.textContent = `${sweeps === 1 ? "One sweep" : `${sweeps} sweeps`} in ${formatShortTime(spanS)}. Busy: ${said.join(", ")}.`;
  canvas.setAttribute("aria-label", text.textContent);
}
