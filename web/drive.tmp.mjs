import puppeteer from "puppeteer-core";
const url = process.argv[2];
const browser = await puppeteer.launch({ executablePath: "/usr/bin/chromium", headless: true, protocolTimeout: 600000,
  args: ["--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"] });
const page = await browser.newPage();
page.on("console", m => console.log("console:", m.text()));
page.on("pageerror", e => console.log("pageerror:", e.message));
page.on("workercreated", w => w.on?.("console", m => console.log("worker:", m.text())));
await page.goto(url);
const out = await page.evaluate(async (model, bud, n) => { globalThis.BUD = bud;
  const { AutoModel } = await import("/pkg2/index.js");
  const t0 = performance.now();
  try {
    const m = await AutoModel.fromPretrained(model, { budget: globalThis.BUD, onProgress: p => (globalThis.last = p) });
    const t1 = performance.now();
    const pieces = []; let first;
    for await (const p of m.generate([{ role: "user", content: "What is the capital of France?" }], { maxTokens: n, ignoreEos: true })) { first ??= performance.now(); pieces.push(p); }
    const t2 = performance.now();
    const pr = await m.profile();
    return { open: t1 - t0, first: first - t1, total: t2 - t1, text: pieces.map(p => p.text).join(""), ids: pieces.map(p => p.id), pr, last: globalThis.last };
  } catch (e) { return { error: String(e), code: e.code, stack: e.stack }; }
}, process.argv[3], process.argv[4], Number(process.argv[5]));
console.log(JSON.stringify(out, null, 1));
await browser.close();
