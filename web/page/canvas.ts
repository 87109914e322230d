/** Canvases in CSS pixels, sharp on any display, with colours from the style sheet. */

/** Sizes the canvas and returns a cleared context whose unit is a CSS pixel. */
export function prepareCanvas(canvas: HTMLCanvasElement, width: number, height: number): CanvasRenderingContext2D | null {
  const ratio = window.devicePixelRatio || 1;
  const pixelWidth = Math.max(1, Math.round(width * ratio));
  const pixelHeight = Math.max(1, Math.round(height * ratio));
  // Setting the size clears the canvas and costs a new buffer, so only when it changed.
  if (canvas.width !== pixelWidth || canvas.height !== pixelHeight) {
    canvas.width = pixelWidth;
    canvas.height = pixelHeight;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d");
  if (!context) return null;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = "11px system-ui, sans-serif";
  return context;
}

/** Whether the panel stands beside the chat, as the style sheet has it; on a narrow screen it lies above. */
export function hasWidePanel(): boolean {
  return matchMedia("(min-width: 56rem)").matches;
}

/** A custom property of the style sheet, in the colours of the present scheme. */
export function themeColor(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim() || "gray";
}
