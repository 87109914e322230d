import puppeteer from "puppeteer-core";
const browser = await puppeteer.launch({ executablePath: "/usr/bin/chromium", headless: true, protocolTimeout: 600000,
  args: ["--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"] });
const page = await browser.newPage();
await page.goto("http://127.0.0.1:8321/");
console.log(await page.evaluate(async () => {
  const { AutoModel, cache } = await import("/pkg2/index.js");
  globalThis.m = await AutoModel.fromPretrained("http://127.0.0.1:8321/smollm2/", { budget: "24MiB" });
  for await (const p of m.generate("Once upon a time", { maxTokens: 2, ignoreEos: true }));
  await new Promise(r => setTimeout(r, 600));
  return [m.notice, JSON.stringify(await cache.report())];
}));
await browser.close();
