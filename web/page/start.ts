/** The start screen: a model by its address, of this site, or from a folder. */

import { button, byId, make } from "./dom.js";
import { formatBytes } from "./format.js";
import { addressOfPage, forgetAddress, keptFolder, lastFolderName, recentAddresses, type Source } from "./source.js";

type Open = (source: Source) => void;

interface HostedModel {
  name: string;
  path: string;
  bytes: number;
}

type DirectoryPicker = (options: { id: string; mode: "read" }) => Promise<FileSystemDirectoryHandle>;

const addressField = byId<HTMLInputElement>("model-address");
const folderInput = byId<HTMLInputElement>("folder-input");

function isHosted(item: unknown): item is HostedModel {
  const model = item as Partial<HostedModel> | null;
  return typeof model?.name === "string" && typeof model.path === "string";
}

/** The models hosted beside the page; a page without any has no list. */
async function hostedModels(): Promise<HostedModel[]> {
  try {
    const response = await fetch("./models.json");
    const list: unknown = response.ok ? await response.json() : [];
    return Array.isArray(list) ? list.filter(isHosted) : [];
  } catch {
    return [];
  }
}

async function showHosted(open: Open): Promise<void> {
  const models = await hostedModels();
  const items = models.map((model) => {
    const choice = button("", () => open({ kind: "address", address: model.path }), { "data-path": model.path });
    choice.append(make("span", { class: "choice-name" }, model.name));
    if (model.bytes > 0) choice.append(make("span", { class: "choice-size" }, formatBytes(model.bytes)));
    return make("li", {}, choice);
  });
  byId("hosted-models").replaceChildren(...items);
  byId("hosted").hidden = items.length === 0;
}

function showRecent(open: Open): void {
  const addresses = recentAddresses();
  byId("recent-addresses").replaceChildren(...addresses.map((value) => make("option", { value })));
  const items = addresses.map((address) => {
    const choice = button("", () => open({ kind: "address", address }), { "data-address": address });
    choice.append(make("span", { class: "choice-name" }, address));
    const remove = () => {
      forgetAddress(address);
      showRecent(open);
      addressField.focus();
    };
    return make("li", {}, choice, button("Forget", remove, { class: "quiet", "aria-label": `Forget ${address}` }));
  });
  byId("recent-models").replaceChildren(...items);
  byId("recent").hidden = items.length === 0;
}

function showLastFolder(): void {
  const again = byId("reopen-folder");
  const name = lastFolderName();
  again.hidden = name === undefined;
  again.textContent = `Open “${name}” again`;
}

async function pickFolder(open: Open): Promise<void> {
  const pick = (window as { showDirectoryPicker?: DirectoryPicker }).showDirectoryPicker;
  if (!pick) return folderInput.click();
  try {
    open({ kind: "handle", handle: await pick.call(window, { id: "tilestream", mode: "read" }) });
  } catch (error) {
    // Closing the picker is not an error; where the picker is forbidden (in a frame), the plain input still works.
    if (error instanceof DOMException && error.name === "SecurityError") folderInput.click();
  }
}

/** Brings the lists up to date, for each time the screen is shown. */
export function refreshStart(open: Open): void {
  showRecent(open);
  showLastFolder();
}

export function initStart(open: Open): void {
  void showHosted(open);
  addressField.value = addressOfPage() ?? "";
  byId("address-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const address = addressField.value.trim();
    if (address) open({ kind: "address", address });
  });
  byId("open-folder").addEventListener("click", () => void pickFolder(open));
  byId("reopen-folder").addEventListener("click", async () => {
    const source = await keptFolder(true);
    if (source) open(source);
    else void pickFolder(open);
  });
  folderInput.addEventListener("change", () => {
    const files = [...(folderInput.files ?? [])];
    // A path reads "folder/file"; the folder's name stands for the model.
    const name = files[0]?.webkitRelativePath.split("/")[0] || "folder";
    folderInput.value = "";
    if (files.length > 0) open({ kind: "files", name, files });
  });
}
