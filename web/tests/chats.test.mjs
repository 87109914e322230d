// Conversations on the page: what of them stays, and what can be done with them.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, cpSync, join, scripted, smollm2, temporary } from "./support.mjs";

let chromium, server, page;
// A tab in the background draws no frames, so that conditions are asked for by the clock.
const WAIT = { timeout: 90_000, polling: 100 };

before(async () => {
  const models = temporary();
  cpSync(smollm2(), join(models, "smollm2"), { recursive: true });
  server = await scripted(models);
  chromium = await browser();
  page = await tab();
  await set(page, { maxTokens: 8 });
});
after(async () => {
  await chromium?.close();
  await server?.stop();
});

const view = (page) => page.waitForSelector('body[data-view="chat"]', WAIT);
const texts = (page, selector) => page.$$eval(selector, (found) => found.map((element) => element.innerText));
const shown = async (page) => ({ questions: await texts(page, ".question .message-body"), answers: await texts(page, ".answer .message-body") });
const finished = (page, count) =>
  page.waitForFunction((count) => {
    const answers = [...document.querySelectorAll(".message.answer")];
    return document.body.dataset.answering === "false" && answers.length === count && answers.every((answer) => answer.dataset.state === "done");
  }, WAIT, count);

/** A tab with the model open; `name` is without its slash, which changes nothing. */
async function tab(name = "models/smollm2") {
  const opened = await chromium.newPage();
  opened.on("pageerror", (error) => assert.fail(error.message));
  await opened.goto(`${server.address}?model=${name}`);
  await view(opened);
  return opened;
}

/** Settings for the next answer. */
async function set(page, values) {
  await page.click("#open-settings");
  for (const [name, value] of Object.entries(values)) await page.$eval(`[name=${name}]`, (input, value) => (input.value = value), String(value));
  await page.click("#settings-save");
}

async function ask(page, text, answers) {
  await page.type("#prompt", text);
  await page.keyboard.press("Enter");
  await finished(page, answers);
}

async function chats(page) {
  await page.click("#open-chats");
  const titles = await texts(page, "#chats-body .choice-name");
  await page.click("#chats-close");
  return titles;
}

async function openChat(page, title) {
  await page.click("#open-chats");
  for (const choice of await page.$$("#chats-body [data-action=open]")) {
    if ((await choice.evaluate((choice) => choice.innerText)).includes(title)) return choice.click();
  }
  assert.fail(`no chat ${title}`);
}

test("a new chat keeps the old one, which can be opened again", async () => {
  await ask(page, "first chat", 1);
  const first = await shown(page);
  await page.click("#new-chat");
  await page.waitForFunction(() => document.querySelectorAll(".message").length === 0, WAIT);
  await page.reload();
  await view(page);
  assert.deepEqual(await shown(page), { questions: [], answers: [] }, "the new one is open after a reload");
  await ask(page, "second chat", 1);
  assert.deepEqual(await chats(page), ["second chat", "first chat"]);
  await openChat(page, "first chat");
  await page.waitForFunction(() => document.querySelector(".question")?.innerText.includes("first chat"), WAIT);
  assert.deepEqual(await shown(page), first);
});

test("two tabs do not overwrite each other's chat", async () => {
  await ask(page, "on and on", 2);
  const other = await tab("models/smollm2/");
  assert.deepEqual(await shown(other), { questions: [], answers: [] }, "the first tab has the newest one");
  await ask(other, "third chat", 1);
  await page.bringToFront();
  await ask(page, "and on", 3);
  await other.bringToFront();
  await openChat(other, "first chat");
  await other.waitForFunction(() => document.querySelector("#chats-body .problem:not(:empty)")?.innerText.includes("another tab"), WAIT);
  await other.click("#chats-close");
  const [ours, theirs] = [await shown(page), await shown(other)];
  await Promise.all([page.reload(), other.reload()]);
  await Promise.all([view(page), view(other)]);
  assert.deepEqual([await shown(page), await shown(other)], [ours, theirs]);
  assert.deepEqual((await chats(other)).sort(), ["first chat", "second chat", "third chat"]);
  await other.close();
  await page.bringToFront();
});

test("regenerating gives another answer, and says how", async () => {
  await page.click("#new-chat");
  await set(page, { maxTokens: 16 });
  await ask(page, "Tell me a story about a fox", 1);
  const seen = new Set((await shown(page)).answers);
  for (let times = 0; times < 3 && seen.size === 1; times += 1) {
    await page.click("[data-action=regenerate]");
    await finished(page, 1);
    assert.match((await texts(page, ".message-note")).join(), /temperature 0 .* sampled at 0\.8/);
    for (const answer of (await shown(page)).answers) seen.add(answer);
  }
  assert.ok(seen.size > 1, [...seen].join());
});

/** The text of the only answer, as it is kept. */
const kept = (page) => page.evaluate(() => {
  const [newest] = Object.keys(localStorage)
    .filter((key) => key.startsWith("tilestream.conversation."))
    .map((key) => JSON.parse(localStorage.getItem(key)))
    .sort((a, b) => b.changedMs - a.changedMs);
  return newest.turns[1].content;
});

test("an answer that a reload or a stop interrupted goes on as it would have", async () => {
  await page.click("#new-chat");
  await set(page, { maxTokens: 400 });
  await page.type("#prompt", "Tell me about the sea");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => (document.querySelector(".answer .message-body")?.innerText.length ?? 0) > 20, WAIT);
  await page.reload();
  await view(page);
  const parts = [await kept(page)];
  assert.match((await texts(page, ".message-note")).join(), /Interrupted.*Continue/);
  // To the limit of the settings, and once more.
  for (const maxTokens of [12, 8]) {
    await set(page, { maxTokens });
    await page.click("[data-action=continue]");
    await finished(page, 1);
    parts.push(await kept(page));
  }
  parts.reduce((before, after) => (assert.ok(after.length > before.length && after.startsWith(before), parts.join(" | ")), after));
  assert.deepEqual((await shown(page)).questions, ["Tell me about the sea"]);
  assert.doesNotMatch((await texts(page, ".message-note")).join(), /Interrupted/);
  // The same question at temperature 0, without any interruption: one of both texts may be longer.
  await set(page, { maxTokens: 40 });
  await page.click(".question [data-action=edit]");
  await page.click("[data-action=save-edit]");
  await finished(page, 1);
  const [whole, continued] = [await kept(page), parts.at(-1)];
  assert.ok(whole.startsWith(continued) || continued.startsWith(whole), `${continued} | ${whole}`);
  assert.ok(whole.length > parts[0].length, `${parts[0]} | ${whole}`);
});

test("an answer that came to its end has nothing to go on with", async () => {
  await page.click("#new-chat");
  await set(page, { maxTokens: 60 });
  await ask(page, "Say only the word yes.", 1);
  const ended = await page.$eval(".answer", (answer) => answer.dataset.stopReason);
  const hidden = await page.$eval("[data-action=continue]", (button) => button.hidden);
  assert.equal(hidden, ended === "end_of_turn", ended);
});

test("an answer under way outlives a reload, and can be written anew", async () => {
  await page.click("#new-chat");
  await set(page, { maxTokens: 400 });
  await page.type("#prompt", "Count to a hundred");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => (document.querySelector(".answer .message-body")?.innerText.length ?? 0) > 20, WAIT);
  const [before] = (await shown(page)).answers;
  await page.reload();
  await view(page);
  const { questions, answers } = await shown(page);
  assert.deepEqual(questions, ["Count to a hundred"]);
  assert.ok(answers[0].length >= before.length && answers[0].startsWith(before.slice(0, 15)), `${before} / ${answers[0]}`);
  assert.match((await texts(page, ".message-note")).join(), /Interrupted/);
  await set(page, { maxTokens: 8 });
  await page.click("[data-action=regenerate]");
  await finished(page, 1);
  assert.doesNotMatch((await texts(page, ".message-note")).join(), /Interrupted|temperature/);
});

test("a message past the model's context is refused, edited, and answered", async () => {
  await page.click("#new-chat");
  await page.$eval("#prompt", (field) => (field.value = "one two three four ".repeat(4000)));
  await page.click("#send");
  const error = await page.waitForSelector("#chat-error .error", WAIT);
  assert.match(await error.evaluate((error) => error.innerText), /position|context/i);
  await page.click(".question [data-action=edit]");
  await page.$eval("[data-action=edit-field]", (field) => (field.value = "one two"));
  await page.click("[data-action=save-edit]");
  await finished(page, 1);
  assert.deepEqual((await shown(page)).questions, ["one two"]);
  assert.equal(await page.$("#chat-error .error"), null);
  await ask(page, "three", 2);
  // The first one goes, the second stays.
  await page.click(".question [data-action=remove]");
  await page.waitForFunction(() => document.querySelectorAll(".message").length === 2, WAIT);
  assert.deepEqual((await shown(page)).questions, ["three"]);
  await page.reload();
  await view(page);
  assert.deepEqual((await shown(page)).questions, ["three"]);
});

test("text reads in its own direction, and headings go down one by one", async () => {
  await page.click("#new-chat");
  await ask(page, "שלום עולם", 1);
  const direction = (selector) => page.$eval(selector, (element) => getComputedStyle(element).direction);
  assert.equal(await direction(".question .message-body"), "rtl");
  await page.type("#prompt", "مرحبا");
  assert.equal(await direction("#prompt"), "rtl");
  await page.$eval("#prompt", (field) => (field.value = ""));
  const levels = await page.$$eval("h1, h2, h3, h4, h5, h6", (found) =>
    found.filter((heading) => heading.checkVisibility()).map((heading) => Number(heading.tagName[1])),
  );
  assert.equal(levels[0], 1);
  levels.reduce((above, level) => (assert.ok(level <= above + 1, levels.join()), level));
  assert.ok(levels.includes(3), levels.join());
});

test("the page asks for trusted types", async () => {
  const thrown = await page.evaluate(() => {
    try {
      document.body.insertAdjacentHTML("beforeend", "<b>x</b>");
      return "";
    } catch (error) {
      return error.name;
    }
  });
  assert.equal(thrown, "TypeError");
});

test("a full storage is told, and nothing else goes for it", async () => {
  await page.click("#new-chat");
  const before = await chats(page);
  await page.evaluate(() => {
    for (let size = 1 << 22; size >= 1; size >>= 1) {
      try {
        for (let part = 0; ; part += 1) localStorage.setItem(`fill.${size}.${part}`, "x".repeat(size));
      } catch {
        // Full for this size; a smaller one may still fit.
      }
    }
  });
  await ask(page, "not kept", 1);
  await page.waitForSelector("#notice:not([hidden])", WAIT);
  assert.match((await texts(page, "#notice-text")).join(), /storage is full.*not kept/);
  assert.deepEqual(await chats(page), before);
  await page.evaluate(() => Object.keys(localStorage).filter((key) => key.startsWith("fill.")).forEach((key) => localStorage.removeItem(key)));
  await ask(page, "kept again", 2);
  assert.equal(await page.$("#notice:not([hidden])"), null);
  assert.deepEqual(await chats(page), ["not kept", ...before]);
});
