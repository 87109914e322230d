/** Numbers as people read them. A number and its unit stay on one line. */

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** 1536 is "1.5 KiB". */
export function formatBytes(bytes: number): string {
  let value = Math.max(0, bytes);
  let unit = 0;
  // 1023.5 and more would be printed as 1024 of the smaller unit.
  while (value >= 1023.5 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)}\u00a0${UNITS[unit]}`;
}

/** "45 s", "3 min 20 s", "2 h 5 min". */
export function formatSeconds(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Short times, where the fraction matters: "340 ms", "2.1 s". */
export function formatShortTime(seconds: number): string {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  return seconds < 60 ? `${seconds.toFixed(1)} s` : formatSeconds(seconds);
}

/** A share of a whole; a small part that exists is never shown as 0, and 100 is all of it. */
export function formatShare(part: number, whole: number): string {
  if (part <= 0 || whole <= 0) return "0\u00a0%";
  const percent = (100 * part) / whole;
  if (percent < 1) return "<1\u00a0%";
  return `${part < whole ? Math.min(99, Math.round(percent)) : Math.round(percent)}\u00a0%`;
}

/** Whether a text is a size such as "768MiB", "1.5 GiB" or a number of bytes. */
export function isSize(text: string): boolean {
  return /^\d+(\.\d+)?\s*([KMGT]i?B|B)?$/i.test(text.trim()) && parseFloat(text) > 0;
}
