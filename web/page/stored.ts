/** The dialog of stored models: what the browser keeps, and deleting it. */

import { cache, type CachedModel, type CacheReport } from "../src/index.js";
import { announce, button, byId, make } from "./dom.js";
import { showError } from "./errors.js";
import { formatBytes, formatShare } from "./format.js";

const dialog = byId<HTMLDialogElement>("stored-dialog");
const body = byId("stored-body");

/** The row of a model; deleting asks once more in the same place. */
function modelRow(model: CachedModel): HTMLLIElement {
  const row = make("li", { "data-source": model.source });
  const whole = model.cachedBytes >= model.totalBytes;
  const size = whole
    ? formatBytes(model.cachedBytes)
    : `${formatBytes(model.cachedBytes)} of ${formatBytes(model.totalBytes)} (${formatShare(model.cachedBytes, model.totalBytes)})`;
  const actions = make("div", { class: "row wrap" });
  const offer = () => {
    const start = button("Delete…", ask, { "data-action": "delete", "aria-label": `Delete ${model.name}…` });
    actions.replaceChildren(start);
    return start;
  };
  const ask = () => {
    const yes = button("Delete", () => void remove(model), { class: "danger", "data-action": "confirm-delete" });
    const no = button("Keep", () => offer().focus(), { "data-action": "keep" });
    actions.replaceChildren(make("span", { role: "alert" }, `Delete ${model.name} from this browser?`), yes, no);
    no.focus();
  };
  offer();
  row.append(make("div", { class: "stored-name" }, model.name), make("div", { class: "hint source" }, model.source), make("div", {}, size), actions);
  return row;
}

async function remove(model: CachedModel): Promise<void> {
  try {
    await cache.delete(model.source);
    announce(`${model.name} was deleted.`);
    await refresh();
  } catch (error) {
    showError(body, error, { retry: () => void refresh() });
  }
  byId("stored-title").focus();
}

function quotaLine(report: CacheReport): HTMLElement {
  const text = `This page uses ${formatBytes(report.usageBytes)} of ${formatBytes(report.quotaBytes)} that the browser allows it (${formatShare(report.usageBytes, report.quotaBytes)}).`;
  const bar = make("progress", { max: String(report.quotaBytes || 1), value: String(report.usageBytes), "aria-label": "Storage in use" });
  return make("div", {}, bar, make("p", {}, text));
}

function show(report: CacheReport): void {
  const parts: HTMLElement[] = [];
  if (report.unavailable) {
    parts.push(make("p", { class: "box warn" }, `Nothing is kept in this browser: ${report.unavailable}`));
  }
  if (report.models.length > 0) parts.push(make("ul", { class: "stored" }, ...report.models.map(modelRow)));
  else if (!report.unavailable) parts.push(make("p", {}, "No model is stored yet. A model that is opened by its address is kept here, so that it need not be fetched again."));
  if (report.quotaBytes > 0) parts.push(quotaLine(report));
  if (!report.unavailable) {
    parts.push(make("p", { class: "hint" }, report.persisted
      ? "The browser promised not to remove it on its own."
      : "The browser may remove it when the disk fills up."));
  }
  body.replaceChildren(...parts);
}

async function refresh(): Promise<void> {
  show(await cache.report());
}

export function initStored(): void {
  byId("open-stored").addEventListener("click", () => {
    body.replaceChildren(make("p", {}, "Looking…"));
    dialog.showModal();
    refresh().catch((error) => showError(body, error));
  });
  byId("stored-close").addEventListener("click", () => dialog.close());
}
