// `tilestream serve`, asked by OpenAI's own client.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { after, before, test } from "node:test";

import OpenAI from "openai";

import { command, small, tilestream } from "./support.mjs";

let server;
let client;
let model;

before(async () => {
  model = small("Q8_0");
  server = spawn(command(), ["serve", model, "--port", "0", "--budget", "64MiB"], { stdio: ["ignore", "ignore", "pipe"] });
  process.on("exit", () => server.kill());
  const baseURL = await new Promise((found, failed) => {
    let told = "";
    server.stderr.on("data", (text) => {
      told += text;
      const match = /http:\/\/\S+\/v1/.exec(told);
      if (match) found(match[0]);
    });
    server.on("exit", () => failed(new Error(`tilestream serve ended: ${told}`)));
  });
  client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
});

after(() => server.kill());

const messages = [{ role: "user", content: "hello" }];
const asked = { model: undefined, messages, max_tokens: 12, temperature: 1.5, seed: 7, ignore_eos: true };

function alone() {
  const args = ["--prompt", "hello", "--max-tokens", "12", "--temperature", "1.5", "--seed", "7", "--ignore-eos", "--json"];
  return JSON.parse(tilestream("run", model, "--budget", "64MiB", ...args)).text;
}

test("a chat is answered, whole and as it comes, with the text of the command", async () => {
  const names = [];
  for await (const one of client.models.list()) names.push(one.id);
  assert.equal(names.length, 1);
  const request = { ...asked, model: names[0] };
  const whole = await client.chat.completions.create(request);
  assert.equal(whole.choices[0].message.content, alone());
  assert.equal(whole.choices[0].finish_reason, "length");
  assert.equal(whole.usage.completion_tokens, 12);

  const stream = client.chat.completions.stream({ ...request, stream_options: { include_usage: true } });
  let text = "";
  stream.on("content", (delta) => (text += delta));
  const final = await stream.finalChatCompletion();
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(final.choices[0].message.content, text);
  assert.deepEqual(final.usage, whole.usage);
});

test("a text goes on, several times, and a stream that is left ends", async () => {
  const request = { prompt: "hello", max_tokens: 4, n: 2, ignore_eos: true };
  const all = await client.completions.create(request);
  assert.equal(all.choices.length, 2);
  const endless = await client.chat.completions.create({ ...asked, max_tokens: 1_000_000, stream: true });
  for await (const chunk of endless) {
    if (chunk.choices[0].delta.content) break;
  }
  const health = () => fetch(new URL("/health", client.baseURL)).then((answer) => answer.json());
  const start = Date.now();
  while ((await health()).requests > 0) assert.ok(Date.now() - start < 20_000, "it goes on");
});

test("what is wrong comes as the client's own kinds of errors", async () => {
  await assert.rejects(client.chat.completions.create({ ...asked, model: "gpt-9" }), OpenAI.NotFoundError);
  await assert.rejects(client.chat.completions.create({ ...asked, temperature: -1 }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError && error.message.includes("temperature"), error.message);
    return true;
  });
});
