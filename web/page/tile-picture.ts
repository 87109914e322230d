/** The picture of the stream: the model's tiles, coloured by where they are now. */

import { TIERS, type StreamState } from "../src/index.js";
import { hasWidePanel, prepareCanvas, themeColor } from "./canvas.js";
import { byId, make } from "./dom.js";
import { formatBytes, formatShare } from "./format.js";
import { layOutTiles, type TileLayout } from "./tile-layout.js";

/** In the order of TIERS. */
const TIER_NAMES: Record<(typeof TIERS)[number], string> = {
  network: "on the network",
  opfs: "browser storage",
  ram: "memory (RAM)",
  ring: "GPU, streamed",
  pinned: "GPU, pinned",
};

const LABEL_WIDTH = 36;
const LINE_HEIGHT = 12;

const canvas = byId<HTMLCanvasElement>("tile-picture");
const legend = byId("tile-legend");
const scale = byId("tile-scale");

function countPlaces(tiles: Uint8Array, first: number, end: number): number[] {
  const counts = TIERS.map(() => 0);
  for (let tile = first; tile < end; tile += 1) {
    const place = tiles[tile] ?? 0;
    if (place < counts.length) counts[place] = (counts[place] ?? 0) + 1;
  }
  return counts;
}

/** A cell of several tiles is split into stripes; a place that occurs keeps a stripe that can be seen. */
function drawCell(context: CanvasRenderingContext2D, counts: number[], colors: string[], x: number, y: number, width: number, height: number): void {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const present = counts.filter((count) => count > 0).length;
  const least = present > 1 ? Math.min(1.5, width / present) : width;
  let left = x;
  let spare = width - least * present;
  counts.forEach((count, place) => {
    if (count === 0) return;
    const stripe = least + (spare * count) / total;
    context.fillStyle = colors[place] ?? "gray";
    context.fillRect(left, y, stripe, height);
    left += stripe;
  });
}

function drawRows(context: CanvasRenderingContext2D, state: StreamState, layout: TileLayout): void {
  const colors = TIERS.map((place) => themeColor(`--place-${place}`));
  const { columns, tilesPerCell, cellWidth, cellHeight } = layout;
  const seam = cellHeight > 6 ? 1 : 0.5;
  const labelColor = themeColor("--muted");
  let labelled = -LINE_HEIGHT;
  for (const row of layout.rows) {
    if (row.y - labelled >= LINE_HEIGHT) {
      context.fillStyle = labelColor;
      context.textBaseline = "top";
      context.fillText(row.label, 0, row.y);
      labelled = row.y;
    }
    for (let cell = 0, tile = row.first; tile < row.end; cell += 1, tile += tilesPerCell) {
      const counts = countPlaces(state.tiles, tile, Math.min(row.end, tile + tilesPerCell));
      // Whole pixels: a seam between two of them would be blurred.
      const column = cell % columns;
      const x = LABEL_WIDTH + Math.round(column * cellWidth);
      const right = LABEL_WIDTH + Math.round((column + 1) * cellWidth);
      const y = row.y + Math.floor(cell / columns) * cellHeight;
      drawCell(context, counts, colors, x, y, right - x - seam, cellHeight - seam);
    }
  }
}

/** The same in words: how many tiles are where, and about how many bytes that is. */
function showLegend(counts: number[], tileCount: number, totalBytes: number): void {
  const items = TIERS.map((place, index) => {
    const count = counts[index] ?? 0;
    const bytes = tileCount > 0 ? (totalBytes * count) / tileCount : 0;
    return make("li", { "data-place": place, "data-count": String(count) },
      make("span", { class: `swatch ${place}`, "aria-hidden": "true" }),
      make("span", { class: "place" }, TIER_NAMES[place]),
      make("span", { class: "amount" },
        make("span", { class: "more" }, `${count} · `),
        formatShare(count, tileCount),
        make("span", { class: "more" }, ` · ≈ ${formatBytes(bytes)}`)));
  });
  legend.replaceChildren(...items);
  const said = TIERS.map((place, index) => `${counts[index] ?? 0} ${TIER_NAMES[place]}`).join("; ");
  canvas.setAttribute("aria-label", `${tileCount} tiles: ${said}.`);
}

/** The height that the rest of the panel leaves, so that all of it is seen without scrolling. */
function pictureHeight(): number {
  const [panel, section] = [canvas.closest<HTMLElement>(".panel"), canvas.closest<HTMLElement>("section")];
  if (!panel || !section) return 0;
  const style = getComputedStyle(panel);
  const wide = hasWidePanel();
  const inner = (wide ? panel.clientHeight : parseFloat(style.maxHeight)) - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
  const room = inner - (section.offsetHeight - canvas.offsetHeight) - LINE_HEIGHT;
  return Math.min(400, Math.max(wide ? 160 : 120, room));
}

export function drawTilePicture(state: StreamState, totalBytes: number): void {
  const width = canvas.parentElement?.clientWidth ?? 0;
  if (width === 0) return;
  const tileCount = state.tiles.length;
  showLegend(countPlaces(state.tiles, 0, tileCount), tileCount, totalBytes);
  const layout = layOutTiles(tileCount, state.layers, width - LABEL_WIDTH, pictureHeight());
  // The last label needs a whole line.
  const context = prepareCanvas(canvas, width, Math.max(layout.height, (layout.rows.at(-1)?.y ?? 0) + LINE_HEIGHT));
  if (context) drawRows(context, state, layout);
  scale.textContent = layout.tilesPerCell > 1
    ? `There are too many to see one by one: a cell here is ${layout.tilesPerCell} of them, its stripes where they are.`
    : "";
}
