/** Where a model comes from, and remembering it. */

import { folderAddress } from "../src/check.js";
import { forget, load, save } from "./storage.js";

export type Source =
  | { kind: "address"; address: string }
  | { kind: "handle"; handle: FileSystemDirectoryHandle }
  | { kind: "files"; name: string; files: File[] };

/** The folder that an address means; a relative one counts from the page. What is no address stays as it is. */
export function resolveAddress(address: string): string {
  return URL.canParse(address, document.baseURI) ? folderAddress(new URL(address, document.baseURI)) : address;
}

/** What `AutoModel.fromPretrained` takes. */
export function engineSource(source: Source): string | FileSystemDirectoryHandle | File[] {
  switch (source.kind) {
    case "address":
      return resolveAddress(source.address);
    case "handle":
      return source.handle;
    case "files":
      return source.files;
  }
}

/** Identifies a model between visits; conversations are kept under it. */
export function sourceKey(source: Source): string {
  if (source.kind === "address") return resolveAddress(source.address);
  return `folder:${source.kind === "handle" ? source.handle.name : source.name}`;
}

export function sourceLabel(source: Source): string {
  if (source.kind === "address") return source.address;
  return `Folder “${source.kind === "handle" ? source.handle.name : source.name}”`;
}

const RECENT_COUNT = 6;

export function recentAddresses(): string[] {
  const kept = load<unknown>("recent");
  return Array.isArray(kept) ? kept.filter((item): item is string => typeof item === "string") : [];
}

export function rememberAddress(address: string): void {
  const others = recentAddresses().filter((other) => resolveAddress(other) !== resolveAddress(address));
  save("recent", [address, ...others].slice(0, RECENT_COUNT));
}

export function forgetAddress(address: string): void {
  save("recent", recentAddresses().filter((other) => other !== address));
}

/** The address that the page was asked to open, in its own address. */
export function addressOfPage(): string | undefined {
  return new URL(location.href).searchParams.get("model")?.trim() || undefined;
}

/** Puts the open model into the page's address, so that a reload or a shared link opens it. */
export function showInAddressBar(source: Source | undefined): void {
  const url = new URL(location.href);
  if (source?.kind === "address") url.searchParams.set("model", source.address);
  else url.searchParams.delete("model");
  history.replaceState(null, "", url);
}

/** What was open last is opened again after a reload. */
export async function rememberOpen(source: Source | undefined): Promise<void> {
  showInAddressBar(source);
  if (source?.kind === "handle") {
    save("last-folder", source.handle.name);
    await keepHandle(source.handle).catch(() => forget("last-folder"));
  } else if (source) {
    forget("last-folder");
  }
  save("folder-open", source?.kind === "handle");
}

export function folderWasOpen(): boolean {
  return load<boolean>("folder-open") === true;
}

export function lastFolderName(): string | undefined {
  return load<string>("last-folder");
}

// Only IndexedDB can keep a folder's handle.
function database(): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open("tilestream-page", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("handles");
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function keepHandle(handle: FileSystemDirectoryHandle): Promise<void> {
  const db = await database();
  await new Promise<void>((resolve, reject) => {
    const change = db.transaction("handles", "readwrite");
    change.objectStore("handles").put(handle, "last");
    change.oncomplete = () => resolve();
    change.onerror = () => reject(change.error);
  });
  db.close();
}

interface PermissionHandle extends FileSystemDirectoryHandle {
  queryPermission?(options: { mode: "read" }): Promise<PermissionState>;
  requestPermission?(options: { mode: "read" }): Promise<PermissionState>;
}

/**
 * The folder that was open last, if the browser still lets the page read it. Asking the user needs a click, so `ask`
 * is true only in answer to one.
 */
export async function keptFolder(ask: boolean): Promise<Source | undefined> {
  try {
    const db = await database();
    const handle = await new Promise<PermissionHandle | undefined>((resolve, reject) => {
      const request = db.transaction("handles").objectStore("handles").get("last");
      request.onsuccess = () => resolve(request.result as PermissionHandle | undefined);
      request.onerror = () => reject(request.error);
    });
    db.close();
    if (!handle) return undefined;
    const state = ask ? await handle.requestPermission?.({ mode: "read" }) : await handle.queryPermission?.({ mode: "read" });
    return state === "granted" ? { kind: "handle", handle } : undefined;
  } catch {
    return undefined;
  }
}
