/** The page: opens a model, shows the screen that fits, and wires the parts. */

import { AutoModel, env, type Model } from "../src/index.js";
import { attachModel, detachModel, initChat, isAnswering, stopAnswer } from "./chat.js";
import { announce, byId } from "./dom.js";
import { clearError, codeOf, showError } from "./errors.js";
import { showNotice } from "./notice.js";
import { closePanel, initPanels, setPanelModel } from "./panels.js";
import { resetProgress, showProgress } from "./progress.js";
import { initSettings, loadOptions, openSettings } from "./settings.js";
import { addressOfPage, engineSource, folderWasOpen, keptFolder, rememberAddress, rememberOpen, type Source, sourceKey, sourceLabel } from "./source.js";
import { initStart, refreshStart } from "./start.js";
import { initStored } from "./stored.js";
import { hasWebGpu, hideNoWebGpu, showNoWebGpu } from "./webgpu.js";

// The build lays the worker beside the page's script.
env.workerUrl = new URL("./worker.js", import.meta.url);

type View = "start" | "loading" | "chat";

let model: Model | undefined;
let source: Source | undefined;
/** Of the opening that goes on, or of the download that continues beside the chat. */
let loading: AbortController | undefined;

const startError = byId("start-error");

function showView(view: View): void {
  document.body.dataset.view = view;
  byId("start").hidden = view !== "start";
  byId("loading").hidden = view !== "loading";
  byId("workspace").hidden = view !== "chat";
  const name = byId("model-name");
  name.hidden = view !== "chat";
  name.textContent = name.title = model?.name ?? "";
  document.title = view === "chat" && model ? `${model.name} · Tilestream` : "Tilestream";
  if (view === "loading") byId("loading-title").focus();
  // On a touch screen, focus on the prompt would bring up the keyboard unasked.
  if (view === "chat") byId(matchMedia("(pointer: coarse)").matches ? "chat" : "prompt").focus();
}

/** Lets go of the open model, whatever it is doing. */
async function closeModel(): Promise<void> {
  setPanelModel(undefined);
  await detachModel();
  const closing = model;
  model = undefined;
  // A model that fails while it is closed is gone as well.
  await closing?.dispose().catch(() => undefined);
}

function openFailed(error: unknown, tried: Source): void {
  refreshStart(open);
  showView("start");
  if (codeOf(error) === "no_webgpu") return showNoWebGpu();
  showError(startError, error, { retry: () => open(tried), settings: () => openSettings(true), folder: tried.kind !== "address" });
}

/** Opens a model in place of the one that is open. A later call overtakes this one. */
async function openSource(wanted: Source): Promise<void> {
  loading?.abort();
  const controller = new AbortController();
  loading = controller;
  const overtaken = () => loading !== controller;
  clearError(startError);
  hideNoWebGpu();
  resetProgress(sourceLabel(wanted));
  showView("loading");
  let opened: Model;
  let noticed: string | undefined;
  try {
    await closeModel();
    if (overtaken()) return;
    source = wanted;
    opened = await AutoModel.fromPretrained(engineSource(wanted), {
      ...loadOptions(),
      signal: controller.signal,
      onProgress: (progress) => {
        if (overtaken()) return;
        showProgress(progress);
        // What is told later, such as that the storage is full.
        if (model && model.notice !== noticed) showNotice((noticed = model.notice));
      },
    });
    // The engine may be done just when it was cancelled.
    if (overtaken()) return void opened.dispose().catch(() => undefined);
    model = opened;
  } catch (error) {
    if (!overtaken()) openFailed(error, wanted);
    return;
  }
  if (wanted.kind === "address") rememberAddress(wanted.address);
  await rememberOpen(wanted);
  await attachModel(opened, sourceKey(wanted));
  if (overtaken()) return;
  setPanelModel(opened);
  showNotice((noticed = opened.notice));
  showView("chat");
  announce(`${opened.name} is open.`);
}

function open(wanted: Source): void {
  void openSource(wanted);
}

/** Goes back at once; what the engine still does for the cancelled opening is let go when it comes. */
function cancelLoading(): void {
  loading?.abort();
  loading = undefined;
  refreshStart(open);
  showView("start");
  announce("Cancelled.");
  byId("model-address").focus();
}

async function changeModel(): Promise<void> {
  loading?.abort();
  loading = undefined;
  closePanel();
  await rememberOpen(undefined);
  refreshStart(open);
  await closeModel();
  showView("start");
  byId("model-address").focus();
}

/** Budget and KV storage are fixed when a model is opened. */
function settingsNeedReload(): void {
  const onStart = document.body.dataset.view === "start";
  // After a failed start, such as on too small a budget, the new settings are tried at once.
  if (source && (!onStart || startError.childElementCount > 0)) open(source);
}

function onEscape(event: KeyboardEvent): void {
  if (event.key !== "Escape" || event.defaultPrevented || document.querySelector("dialog[open]")) return;
  if (isAnswering()) void stopAnswer();
  else if (document.body.dataset.view === "loading") cancelLoading();
  else closePanel();
}

/** What the page's address asks for, or the folder that was open before a reload. */
async function openAtStart(): Promise<void> {
  const address = addressOfPage();
  if (address) return open({ kind: "address", address });
  if (!folderWasOpen()) return;
  const folder = await keptFolder(false);
  if (folder) open(folder);
  else byId("reopen-folder").focus();
}

function init(): void {
  initSettings(settingsNeedReload);
  initChat();
  initPanels();
  initStored();
  initStart(open);
  refreshStart(open);
  byId("cancel-loading").addEventListener("click", cancelLoading);
  byId("change-model").addEventListener("click", () => void changeModel());
  byId("open-settings").addEventListener("click", () => openSettings());
  byId("dismiss-notice").addEventListener("click", () => showNotice(undefined));
  document.addEventListener("keydown", onEscape);
  if (hasWebGpu()) return void openAtStart();
  showNoWebGpu();
  byId("start-controls").hidden = true;
}

init();
