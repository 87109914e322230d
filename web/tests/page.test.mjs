// The page, as a person uses it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, cpSync, join, scripted, smollm2, temporary } from "./support.mjs";

let chromium, server, page, models;
const MODEL = "models/smollm2/";

before(async () => {
  models = temporary();
  cpSync(smollm2(), join(models, "smollm2"), { recursive: true });
  server = await scripted(models);
  chromium = await browser();
  page = await chromium.newPage();
  page.on("pageerror", (error) => assert.fail(error.message));
});
after(async () => {
  await chromium?.close();
  await server?.stop();
});

const view = (name) => page.waitForSelector(`body[data-view="${name}"]`, { timeout: 30_000 });
const text = (selector) => page.$eval(selector, (element) => element.innerText.replace(/\u00a0/g, " "));
const answers = () => page.$$eval(".message.answer", (found) => found.length);
const finished = (count) =>
  page.waitForFunction((count) => document.querySelectorAll('.message.answer[data-state="done"]').length === count, { timeout: 60_000 }, count);

async function send(message) {
  const before = await answers();
  await page.type("#prompt", message);
  await page.keyboard.press("Enter");
  await finished(before + 1);
}

test("a model is opened by its address, answers, and the conversation outlives a reload", async () => {
  await page.goto(server.address);
  await view("start");
  await page.click("#open-settings");
  await page.$eval("#set-max-tokens", (input) => (input.value = ""));
  await page.type("#set-max-tokens", "12");
  await page.click("#settings-save");
  await page.type("#model-address", MODEL);
  await page.keyboard.press("Enter");
  await view("chat");
  await send("hello");
  assert.equal(await answers(), 1);
  const first = await text(".message.answer .message-body");
  await page.reload();
  await view("chat");
  await finished(1);
  assert.equal(await text(".message.answer .message-body"), first);
  await send("and again");
  assert.equal(await answers(), 2);
});

test("the picture of the stream counts every tile, and the figures are there", async () => {
  await page.click("#toggle-stream");
  await page.waitForFunction(() => [...document.querySelectorAll("#tile-legend li")].some((place) => Number(place.dataset.count) > 0));
  const counts = await page.$$eval("#tile-legend li", (places) => Object.fromEntries(places.map(({ dataset }) => [dataset.place, Number(dataset.count)])));
  assert.ok(counts.pinned > 0 && counts.network === 0, JSON.stringify(counts));
  const label = await page.$eval("#tile-picture", (picture) => picture.getAttribute("aria-label"));
  assert.match(label, /\d/);
  await page.click("#toggle-figures");
  await page.waitForFunction(() => document.querySelector("#figures")?.innerText.includes("swiftshader"));
});

test("stored models are listed and deleted", async () => {
  await page.click("#change-model");
  await view("start");
  await page.click("#open-stored");
  await page.waitForSelector(".stored li[data-source]");
  await page.click(".stored li [data-action=delete]");
  await page.click(".stored li [data-action=confirm-delete]");
  await page.waitForFunction(() => document.querySelectorAll(".stored li[data-source]").length === 0, { timeout: 20_000 });
  await page.click("#stored-close");
});

test("a folder of this machine is opened without a server", async () => {
  const asked = server.log.length;
  const folder = join(models, "smollm2");
  const input = await page.$("#folder-input");
  await input.uploadFile(folder);
  await view("chat").catch(async (error) => assert.fail(`${error}: ${await text("main, body")}`));
  await send("from a folder");
  assert.equal(server.log.length, asked);
});

test("an address without a model says so, and what to do", async () => {
  const other = await chromium.newPage();
  await other.goto(`${server.address}?model=models/nothing/`);
  const shown = await other.waitForSelector("#start-error .error", { timeout: 30_000 });
  assert.equal(await shown.evaluate((error) => error.dataset.code), "not_found");
  assert.match(await shown.evaluate((error) => error.innerText), /manifest\.json/);
  await other.close();
});

test("without WebGPU the page says so", async (context) => {
  const old = await browser({ webgpu: false });
  context.after(() => old.close());
  const other = await old.newPage();
  await other.evaluateOnNewDocument("Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined })");
  await other.goto(server.address);
  const said = await other.waitForSelector("#no-webgpu:not([hidden])", { timeout: 10_000 });
  assert.match(await said.evaluate((note) => note.innerText), /WebGPU/);
});
