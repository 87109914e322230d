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
  // All of it is on the GPU, so there is no timeline to draw.
  assert.match(await text("#timeline-text"), /pinned/);
  assert.equal(await page.$("#timeline:not([hidden])"), null);
  await page.click("#toggle-figures");
  await page.waitForFunction(() => document.querySelector("#figures")?.innerText.includes("swiftshader"));
});

test("stored models are listed and deleted, but for the open one", async () => {
  const remove = async () => {
    await page.click("#open-stored");
    await page.waitForSelector(".stored li[data-source]");
    await page.click(".stored li [data-action=delete]");
    await page.click(".stored li [data-action=confirm-delete]");
  };
  await remove();
  const error = await page.waitForSelector("#stored-body .error", { timeout: 20_000 });
  assert.match(await error.evaluate((error) => error.innerText), /the model is open.*then delete it/s);
  await page.click("#stored-close");
  await page.click("#change-model");
  await view("start");
  await remove();
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
  const advice = await shown.evaluate((error) => error.innerText);
  assert.match(advice, /manifest\.json/);
  assert.match(advice, /CORS/);
  assert.doesNotMatch(advice, /split a checkpoint/);
  await other.close();
});

test("a download is shown while it goes on, and a server that is gone is told once", async (context) => {
  // A context of its own, in which nothing is stored.
  const visitor = await chromium.createBrowserContext();
  context.after(() => visitor.close());
  context.after(() => (server.misbehave = () => false));
  const other = await visitor.newPage();
  const strip = (state) => other.waitForSelector(`#download-strip${state}`, { timeout: 30_000 });
  const ask = async () => {
    await other.type("#prompt", "hello");
    await other.keyboard.press("Enter");
  };
  server.misbehave = (name, range, response, send) => name.endsWith(".safetensors") && Boolean(setTimeout(send, 200));
  await other.goto(`${server.address}?model=${MODEL}`);
  await other.waitForSelector('body[data-view="chat"]', { timeout: 30_000 });
  await strip("[hidden]");
  await ask();
  await strip(":not([hidden])");
  await other.click("#stop");
  await strip("[hidden]");
  server.misbehave = (name, range, response) => Boolean(response.destroy());
  await ask();
  const shown = await other.waitForSelector("#chat-error .error", { timeout: 60_000 });
  await strip("[hidden]");
  assert.equal((await shown.evaluate((error) => error.innerText)).split("CORS").length, 2);
  const gap = await other.evaluate(() => {
    const box = (selector) => document.querySelector(selector).getBoundingClientRect();
    return box("#chat-error .error").top - box("#turns").bottom;
  });
  assert.ok(gap >= 8, `${gap} px`);
});

test("on a narrow screen the panel of the stream is seen whole", async (context) => {
  const other = await chromium.newPage();
  context.after(() => other.close());
  await other.setViewport({ width: 360, height: 740 });
  await other.goto(`${server.address}?model=${MODEL}`);
  await other.waitForSelector('body[data-view="chat"]', { timeout: 30_000 });
  await other.click("#toggle-stream");
  await other.waitForSelector("#tile-legend li");
  await other.waitForFunction(() => document.querySelector("#panel").scrollHeight <= document.querySelector("#panel").clientHeight, { timeout: 10_000 });
  assert.ok(await other.evaluate(() => document.documentElement.scrollWidth <= 360));
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
