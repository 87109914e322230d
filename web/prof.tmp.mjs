import puppeteer from "puppeteer-core";
const browser = await puppeteer.launch({ executablePath: "/usr/bin/chromium", headless: true, protocolTimeout: 600000,
  args: ["--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"] });
const page = await browser.newPage();
let reqs = 0;
page.on("workercreated", async w => { globalThis.w = w; const c = w.client; await c.send("Network.enable").catch(()=>{}); c.on("Network.requestWillBeSent", () => reqs++); });
await page.goto("http://127.0.0.1:8321/");
await page.evaluate(async () => {
  const { AutoModel } = await import("/pkg2/index.js");
  globalThis.m = await AutoModel.fromPretrained("http://127.0.0.1:8321/smollm2/", { budget: "24MiB" });
  globalThis.ask = async (n) => { let t = performance.now(); for await (const p of m.generate("Once upon a time", { maxTokens: n, ignoreEos: true })); return performance.now() - t; };
  return ask(2);
});
console.log("requests after warmup", reqs);
const c = globalThis.w.client;
await c.send("Profiler.enable"); await c.send("Profiler.setSamplingInterval", { interval: 500 }); await c.send("Profiler.start");
console.log("4 tokens ms", await page.evaluate(() => ask(4)), "requests", reqs);
const { profile } = await c.send("Profiler.stop");
const self = new Map(); const dt = profile.timeDeltas; const byId = new Map(profile.nodes.map(n => [n.id, n]));
profile.samples.forEach((id, i) => { const n = byId.get(id); const k = n.callFrame.functionName + ":" + n.callFrame.url.split("/").pop() + ":" + n.callFrame.lineNumber; self.set(k, (self.get(k) ?? 0) + dt[i] / 1000); });
console.log([...self].sort((a, b) => b[1] - a[1]).slice(0, 25).map(([k, v]) => v.toFixed(0) + " ms " + k).join("\n"));
await browser.close();
