/**
 * Where the cells of the picture of the stream go. No drawing here.
 *
 * Each layer starts a new row. A cell is one tile where there is room; otherwise it stands for several neighbours of
 * the same layer, so that cells never become too small to see.
 */

export interface Row {
  label: string;
  /** Tiles `first..end` of the sweep. */
  first: number;
  end: number;
  y: number;
}

export interface TileLayout {
  rows: Row[];
  columns: number;
  tilesPerCell: number;
  cellWidth: number;
  cellHeight: number;
  height: number;
}

const LARGEST = 14;
const SMALLEST = 4;
/** A cell of several tiles shows a mix and needs more room. */
const SMALLEST_MIXED = 6;
const WIDEST = 64;
/** With very many layers, rows may be flatter than cells are wide. */
const FLATTEST = 3;

/** The tile ranges of the layers, and of what lies before the first and after the last one. */
function split(tileCount: number, layers: ArrayLike<number>): Omit<Row, "y">[] {
  const starts = Array.from(layers).filter((start) => start >= 0 && start < tileCount);
  const rows = starts.map((first, index) => {
    // The engine lists the head after the layers.
    const label = index === starts.length - 1 && starts.length > 1 ? "head" : String(index);
    return { label, first, end: starts[index + 1] ?? tileCount };
  });
  const before = starts[0] ?? tileCount;
  if (before > 0) rows.unshift({ label: starts.length > 0 ? "in" : "", first: 0, end: before });
  return rows.filter((row) => row.end > row.first);
}

/** Tiles for a whole line: those of the largest layer. A head that is much larger wraps, so that layers fill the width. */
function tilesOfLayer(groups: Omit<Row, "y">[]): number {
  const counts = groups.map((group) => group.end - group.first).sort((a, b) => a - b);
  const middle = counts[Math.floor(counts.length / 2)] ?? 1;
  return Math.max(1, ...counts.filter((count) => count <= 1.5 * middle));
}

export function layOutTiles(tileCount: number, layers: ArrayLike<number>, width: number, maxHeight: number): TileLayout {
  const groups = split(tileCount, layers);
  const gap = groups.length > 48 || maxHeight < 6 * groups.length ? 1 : 2;
  const usual = tilesOfLayer(groups);

  const build = (tilesPerCell: number, cell: number, cellHeight = cell): TileLayout => {
    const columns = Math.max(1, Math.min(Math.floor(width / cell), Math.ceil(usual / tilesPerCell)));
    let y = 0;
    const rows = groups.map((group) => {
      const row = { ...group, y };
      const lines = Math.ceil(Math.ceil((group.end - group.first) / tilesPerCell) / columns);
      y += lines * cellHeight + gap;
      return row;
    });
    return { rows, columns, tilesPerCell, cellWidth: Math.min(WIDEST, width / columns), cellHeight, height: Math.max(0, y - gap) };
  };

  for (let tilesPerCell = 1; ; tilesPerCell *= 2) {
    const smallest = tilesPerCell === 1 ? SMALLEST : SMALLEST_MIXED;
    for (let cell = LARGEST; cell >= smallest; cell -= 1) {
      const layout = build(tilesPerCell, cell);
      if (layout.height <= maxHeight) return layout;
    }
    // With one line a layer, nothing is gained by mixing more tiles; what is still too high then scrolls.
    if (Math.ceil(usual / tilesPerCell) > Math.floor(width / smallest)) continue;
    for (let cellHeight = smallest - 1; cellHeight > FLATTEST; cellHeight -= 1) {
      const layout = build(tilesPerCell, smallest, cellHeight);
      if (layout.height <= maxHeight) return layout;
    }
    return build(tilesPerCell, smallest, FLATTEST);
  }
}
