/** The settings: their values, their keeping, and their dialog. */

import type { GenerateOptions, LoadOptions } from "../src/index.js";
import { byId } from "./dom.js";
import { isSize } from "./format.js";
import { load, save } from "./storage.js";

const NUMBER_FIELDS = ["maxTokens", "temperature", "topK", "topP", "minP", "repetitionPenalty", "seed"] as const;
type NumberField = (typeof NUMBER_FIELDS)[number];

export interface Settings extends Partial<Record<NumberField, number>> {
  budget: string;
  kv: "f32" | "f16";
  system: string;
}

const DEFAULTS: Settings = { budget: "1GiB", kv: "f32", system: "", maxTokens: 1024 };

let current: Settings = { ...DEFAULTS };

/** Settings kept by an earlier version of the page, or edited by hand, may hold anything. */
function checked(kept: Partial<Settings> | undefined): Settings {
  if (!kept || typeof kept !== "object") return { ...DEFAULTS };
  const settings: Settings = {
    budget: typeof kept.budget === "string" && isSize(kept.budget) ? kept.budget : DEFAULTS.budget,
    kv: kept.kv === "f16" ? "f16" : "f32",
    system: typeof kept.system === "string" ? kept.system : "",
  };
  for (const name of NUMBER_FIELDS) {
    const value = kept[name];
    if (typeof value === "number" && Number.isFinite(value)) settings[name] = value;
  }
  return settings;
}

export function settings(): Settings {
  return current;
}

export function loadOptions(): LoadOptions {
  return { budget: current.budget, kv: current.kv };
}

/** Only what was set: an absent field leaves the choice to the engine. */
export function generateOptions(): GenerateOptions {
  const options: GenerateOptions = {};
  for (const name of NUMBER_FIELDS) {
    const value = current[name];
    if (value !== undefined) options[name] = value;
  }
  return options;
}

/** Of an answer that is to differ from the one before, where the settings ask for no chance. */
const OTHER_TEMPERATURE = 0.8;
const SEEDS = 2 ** 32;

/** For another answer to the same message: with a seed of its own. */
export function anotherAnswer(): { options: GenerateOptions; note?: string } {
  const options: GenerateOptions = { ...generateOptions(), seed: Math.floor(Math.random() * SEEDS) };
  if (options.temperature !== undefined && options.temperature > 0) return { options };
  const note = `At temperature 0 every answer is the same, so this one was sampled at ${OTHER_TEMPERATURE}.`;
  return { options: { ...options, temperature: OTHER_TEMPERATURE }, note };
}

const dialog = byId<HTMLDialogElement>("settings-dialog");
const form = byId<HTMLFormElement>("settings-form");
const budgetSelect = byId<HTMLSelectElement>("set-budget");
const customBudget = byId<HTMLInputElement>("set-custom-budget");
const problem = byId("settings-problem");

function field(name: string): HTMLInputElement {
  return form.elements.namedItem(name) as HTMLInputElement;
}

function showCustomBudget(): void {
  byId("custom-budget").hidden = budgetSelect.value !== "custom";
}

function fill(values: Settings): void {
  const listed = [...budgetSelect.options].some((option) => option.value === values.budget);
  budgetSelect.value = listed ? values.budget : "custom";
  customBudget.value = listed ? "" : values.budget;
  field("kv").value = values.kv;
  field("system").value = values.system;
  for (const name of NUMBER_FIELDS) field(name).value = values[name]?.toString() ?? "";
  problem.textContent = "";
  showCustomBudget();
}

/** Marks the first field that is wrong, and says why below it. */
function refuse(input: HTMLInputElement, why: string): undefined {
  const label = input.labels?.[0]?.textContent ?? input.name;
  problem.textContent = `${label}: ${why}`;
  input.setAttribute("aria-invalid", "true");
  input.closest(".field")?.append(problem);
  input.focus();
}

function read(): Settings | undefined {
  for (const input of form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  const budget = budgetSelect.value === "custom" ? customBudget.value.trim() : budgetSelect.value;
  if (!isSize(budget)) return refuse(customBudget, "write a size such as 768MiB or 1.5GiB");
  const values: Settings = { budget, kv: field("kv").value === "f16" ? "f16" : "f32", system: field("system").value.trim() };
  for (const name of NUMBER_FIELDS) {
    const input = field(name);
    if (!input.validity.valid) return refuse(input, input.validationMessage);
    if (input.value !== "") values[name] = input.valueAsNumber;
  }
  return values;
}

/** Opens the dialog; `focusBudget` for errors that a larger budget solves. */
export function openSettings(focusBudget = false): void {
  fill(current);
  dialog.showModal();
  if (focusBudget) budgetSelect.focus();
}

/** Reads the kept settings and wires the dialog. `onReload` runs when a change needs the model to be opened again. */
export function initSettings(onReload: () => void): void {
  current = checked(load<Partial<Settings>>("settings"));
  budgetSelect.addEventListener("change", () => {
    showCustomBudget();
    if (budgetSelect.value === "custom") customBudget.focus();
  });
  byId("settings-cancel").addEventListener("click", () => dialog.close());
  byId("settings-defaults").addEventListener("click", () => fill(DEFAULTS));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const values = read();
    if (!values) return;
    const reload = values.budget !== current.budget || values.kv !== current.kv;
    current = values;
    save("settings", values);
    dialog.close();
    if (reload) onReload();
  });
}
