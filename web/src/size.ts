import { TilestreamError } from "./types.js";

const UNITS: Record<string, number> = {
  "": 1,
  b: 1,
  kb: 1e3,
  kib: 2 ** 10,
  mb: 1e6,
  mib: 2 ** 20,
  gb: 1e9,
  gib: 2 ** 30,
};

/** Bytes of a size such as 1000, "512MiB" or "1.5 GB". */
export function parseSize(size: number | string): number {
  const [, digits = "", unit = ""] = /^\s*([\d.]+)\s*([a-z]*)\s*$/i.exec(String(size)) ?? [];
  const bytes = Math.floor(Number(digits) * (UNITS[unit.toLowerCase()] ?? NaN));
  if (digits === "" || !Number.isSafeInteger(bytes) || bytes <= 0) {
    throw new TilestreamError(`"${size}" is no size; write it like 512MiB or 4GB`, "argument");
  }
  return bytes;
}
