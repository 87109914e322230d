// `tilestream serve`, asked by OpenAI's own client.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import OpenAI from "openai";

import { browser, command, small, tilestream } from "./support.mjs";

const servers = [];
let client;
let model;

/** A client of a server for a model. */
async function serve(model, ...args) {
  const server = spawn(command(), ["serve", model, "--port", "0", "--budget", "64MiB", ...args], { stdio: ["ignore", "ignore", "pipe"] });
  servers.push(server);
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
  return new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
}

before(async () => {
  model = small("Q8_0");
  client = await serve(model);
});

after(() => servers.forEach((server) => server.kill()));

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
  assert.equal(final.usage.total_tokens, whole.usage.total_tokens);
  // The prompt was read a moment before; the last token of it gives the first one of the answer.
  assert.equal(final.usage.prompt_tokens_details.cached_tokens, whole.usage.prompt_tokens - 1);
});

test("a response has the text of a chat, as it comes too, and another goes on from it", async () => {
  const sampling = { temperature: asked.temperature, seed: asked.seed };
  const request = { ...sampling, input: "a", max_output_tokens: 4 };
  const whole = await client.responses.create(request);
  const chat = async (...said) => {
    const messages = said.map((content, index) => ({ role: index % 2 ? "assistant" : "user", content }));
    const answer = await client.chat.completions.create({ ...sampling, max_tokens: 4, messages });
    return answer.choices[0].message.content;
  };
  assert.equal(whole.output_text, await chat("a"));
  assert.ok(["completed", "incomplete"].includes(whole.status), whole.status);
  const stream = client.responses.stream(request);
  let text = "";
  stream.on("response.output_text.delta", (event) => (text += event.delta));
  const final = await stream.finalResponse();
  assert.equal(text, whole.output_text);
  assert.equal(final.output_text, text);
  assert.equal((await client.responses.retrieve(final.id)).output_text, text);
  const next = await client.responses.create({ ...request, input: "b", previous_response_id: whole.id });
  assert.equal(next.output_text, await chat("a", text, "b"));
  await client.responses.delete(whole.id);
  await assert.rejects(client.responses.create({ ...request, previous_response_id: whole.id }), OpenAI.NotFoundError);
});

test("a model calls the function that the client runs for it", async () => {
  const folder = mkdtempSync(join(tmpdir(), "tilestream-tools-"));
  try {
    // The small model has room for 64 tokens; what is told of a function takes more.
    const bytes = readFileSync(new URL("../../tests/data/small-gguf/Q8_0.gguf", import.meta.url));
    bytes.writeUInt32LE(4096, bytes.indexOf("llama.context_length") + "llama.context_length".length + 4);
    const [larger, template] = ["larger.gguf", "template.jinja"].map((name) => join(folder, name));
    writeFileSync(larger, bytes);
    writeFileSync(
      template,
      `{%- if tools %}{{ tools | tojson }} <tool_call>{"name": NAME, "arguments": FIELDS}</tool_call>{% endif %}
{%- for message in messages %}{{ message.role }}: {{ message.content }}{% for call in message.tool_calls or [] %}
{{- call.function.arguments.city }}{% endfor %}
{% endfor %}assistant:`,
    );
    const server = await serve(larger, "--chat-template", template);
    const ran = [];
    const weather = {
      type: "function",
      function: {
        name: "weather",
        parameters: {
          type: "object",
          properties: { city: { type: "string", enum: ["Rome", "Oslo"] } },
          required: ["city"],
          additionalProperties: false,
        },
        parse: JSON.parse,
        function: ({ city }) => ran.push(city) && "sunny",
      },
    };
    for (const stream of [false, true]) {
      const runner = server.chat.completions.runTools(
        { model: undefined, messages, max_tokens: 100, temperature: 1.2, seed: 3, tools: [weather], tool_choice: "required", stream },
        { maxChatCompletions: 1 },
      );
      await runner.done();
      const results = runner.messages.filter((message) => message.role === "tool");
      assert.ok(results.length >= 1 && results.every((message) => message.content === "sunny"), JSON.stringify(runner.messages));
    }
    assert.ok(ran.length >= 2 && ran.every((city) => ["Rome", "Oslo"].includes(city)), ran.join());
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test("texts become vectors, however the client asks for them", async () => {
  const ask = (more) => client.embeddings.create({ model: undefined, input: ["hello", "a tile"], ...more });
  const packed = await ask({});
  const plain = await ask({ encoding_format: "float" });
  assert.equal(packed.data.length, 2);
  assert.deepEqual(packed.data.map((one) => Array.from(one.embedding)), plain.data.map((one) => one.embedding));
  assert.deepEqual((await ask({ dimensions: 4 })).data.map((one) => one.embedding.length), [4, 4]);
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

test("the page of chats shows what the API says, and goes on", async () => {
  const chromium = await browser({ webgpu: false });
  try {
    const page = await chromium.newPage();
    const faults = [];
    page.on("pageerror", (error) => faults.push(error.message));
    page.on("console", (message) => message.type() === "error" && faults.push(message.text()));
    await page.goto(new URL("/", client.baseURL).href);
    await page.waitForSelector("#model option");
    const set = (id, value) => page.$eval(`#${id}`, (input, value) => (input.value = value), value);
    await set("seed", "7");
    await set("temperature", "1.5");
    await set("max", "12");
    await page.type("#text", "hello");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.querySelector(".assistant small")?.textContent.includes("known"));
    const shown = await page.$eval(".assistant span", (span) => span.textContent);
    const said = await client.chat.completions.create({ ...asked, ignore_eos: undefined });
    assert.equal(shown, said.choices[0].message.content);
    // What was said is part of what is asked next, and is known.
    await set("max", "4");
    await page.type("#text", "more");
    await page.click("#send");
    await page.waitForFunction(() => document.querySelectorAll(".assistant small")[1]?.textContent.includes("known"));
    const known = /of these (\d+) known/.exec(await page.$$eval(".assistant small", (notes) => notes[1].textContent));
    assert.ok(Number(known[1]) > said.usage.prompt_tokens, known[0]);
    assert.deepEqual(faults, []);
  } finally {
    await chromium.close();
  }
});
