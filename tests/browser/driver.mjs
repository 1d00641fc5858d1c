// A browser at the end of a pipe: one JSON command on each line of stdin, one answer on each line of
// stdout. Run by browser.py; playwright-core is looked for where node is started.
//
//   {"do": "evaluate", "script": "() => 1"}  ->  {"value": 1}   or   {"error": "..."}

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import path from "node:path";

const require = createRequire(path.join(process.cwd(), "package.json"));
const { chromium } = require("playwright-core");

const [executablePath] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
const page = await browser.newPage({ viewport: { width: 1600, height: 1000 } });
page.setDefaultTimeout(30_000);

let told = []; // what the console said since it was last asked
page.on("console", (message) => {
  if (["error", "warning"].includes(message.type())) {
    told.push({ kind: message.type(), text: message.text(), url: message.location().url ?? "" });
  }
});
page.on("pageerror", (error) => {
  told.push({ kind: "exception", text: String(error.stack ?? error), url: "" });
});

/** A function's text, called with a value, as an expression. */
const call = (script, value) => `(${script})(${JSON.stringify(value ?? null)})`;

const middle = (box) => [box.x + box.width / 2, box.y + box.height / 2];

const acts = {
  open: async ({ url }) => { await page.goto(url); },
  evaluate: async ({ script, value }) => page.evaluate(call(script, value)),
  wait: async ({ script, value, timeout }) => {
    await page.waitForFunction(call(script, value), undefined,
      { timeout: timeout ?? 30_000, polling: 50 });
  },
  click: async ({ selector, nth, ...options }) => {
    await page.locator(selector).nth(nth ?? 0).click(options);
  },
  fill: async ({ selector, text }) => { await page.locator(selector).first().fill(text); },
  hover: async ({ selector, nth, ...options }) => {
    await page.locator(selector).nth(nth ?? 0).hover(options);
  },
  drag: async ({ from, to }) => {
    const [a, b] = await Promise.all([from, to].map((one) => page.locator(one).boundingBox()));
    await page.mouse.move(...middle(a));
    await page.mouse.down();
    await page.mouse.move(...middle(b), { steps: 12 });
    await page.mouse.up();
  },
  press: async ({ key }) => { await page.keyboard.press(key); },
  mouse: async ({ x, y }) => { await page.mouse.move(x, y); },
  screenshot: async ({ file, clip }) => { await page.screenshot({ path: file, clip }); },
  console: async () => { const all = told; told = []; return all; },
};

process.stdout.write('{"value": "ready"}\n');
for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    const { do: name, ...values } = JSON.parse(line);
    answer = { value: (await acts[name](values)) ?? null };
  } catch (error) {
    answer = { error: String(error?.stack ?? error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
