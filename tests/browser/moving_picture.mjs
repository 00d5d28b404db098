/**
 * `npm run picture`: the moving picture of README, frame by frame from Chromium. The chat page is asked
 * something; in the middle of the answer the page is loaded again, and then its network is cut off.
 * Separate from the screenshots because these are to be looked at, and this is shown.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { launch, profile, startModel, startServer, wireTo } from "./harness.mjs";

const FILE = fileURLToPath(new URL("../../bench/results/chat.gif", import.meta.url));
const WIDTH = 720;
const HEIGHT = 450;
/** The strip above the page, which says what is done to it. */
const STRIP = 40;
const COLOURS = 48;

const QUERY = "What is a spillway?";
const ANSWER =
  "A **spillway** lets water out of a dam at the rate that the valley below can take.\n\n" +
  "Here it is for the tokens of a language model:\n\n" +
  "- the model waits for whoever reads it,\n" +
  "- a page that is loaded again goes on where it was,\n" +
  "- a network that is lost costs **not one character**.";

/** Draws the frames, and makes a GIF of them, in a page of its own: a browser reads its own pictures. */
async function studio(browser) {
  const page = await browser.newPage();
  const gifenc = readFileSync(createRequire(import.meta.url).resolve("gifenc"), "utf8");
  await page.addScriptTag({
    content:
      `{ const exports = {}, module = { exports }; ${gifenc}\nglobalThis.gifenc = module.exports; }`,
  });
  await page.evaluate(([width, height, strip]) => {
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    globalThis.frames = [];
    globalThis.draw = async ({ png, label, tone, delay }) => {
      context.fillStyle = "#0f1719";
      context.fillRect(0, 0, width, height);
      if (png) {
        const blob = await (await fetch(`data:image/png;base64,${png}`)).blob();
        context.drawImage(await createImageBitmap(blob), 0, strip);
      }
      context.fillStyle = "#1b3338";
      context.fillRect(0, 0, width, strip);
      context.fillStyle = tone;
      context.beginPath();
      context.arc(22, strip / 2, 6, 0, 7);
      context.fill();
      context.font = "600 16px system-ui, sans-serif";
      context.textBaseline = "middle";
      context.fillText(label, 40, strip / 2 + 1);
      const { data } = context.getImageData(0, 0, width, height);
      globalThis.frames.push({ data: new Uint8Array(data.buffer), tone, delay });
    };
    globalThis.encode = (colours) => {
      const { GIFEncoder, quantize, applyPalette } = globalThis.gifenc;
      const { frames } = globalThis;
      // The frames differ little: some of them have every colour.
      const some = frames.filter((_, i) => i % 8 === 0 || i === frames.length - 1);
      const all = new Uint8Array(some.length * some[0].data.length);
      some.forEach(({ data }, i) => all.set(data, i * data.length));
      // The words above the page keep their colours, however small they are.
      const tones = [...new Set(frames.map(({ tone }) => tone))].map((tone) =>
        [1, 3, 5].map((at) => parseInt(tone.slice(at, at + 2), 16))
      );
      const palette = [...quantize(all, colours - tones.length - 1), ...tones];
      const transparentIndex = palette.push([0, 0, 0]) - 1;
      const gif = GIFEncoder();
      let before;
      for (const { data, delay } of frames) {
        const index = applyPalette(data, palette.slice(0, -1));
        // What stays is not sent again.
        const changed = before
          ? index.map((c, i) => c === before[i] ? transparentIndex : c)
          : index;
        gif.writeFrame(changed, width, height, {
          ...before ? {} : { palette },
          delay,
          transparent: before !== undefined,
          transparentIndex,
          dispose: 1,
        });
        before = index;
      }
      gif.finish();
      return gif.bytes().toBase64();
    };
  }, [WIDTH, HEIGHT, STRIP]);
  return {
    add: (frame) => page.evaluate((frame) => globalThis.draw(frame), frame),
    encode: async () =>
      Buffer.from(await page.evaluate((n) => globalThis.encode(n), COLOURS), "base64"),
  };
}

const [browser, model] = await Promise.all([launch(), startModel()]);
const server = await startServer("bun", model.environment);
const wire = await wireTo(server);
const { open } = await profile(browser, {
  viewport: { width: WIDTH, height: HEIGHT - STRIP },
  colorScheme: "dark",
  reducedMotion: "reduce",
});
const { add, encode } = await studio(browser);
const page = await open();
page.setDefaultTimeout(120_000);

const CALM = ["the page streams an answer", "#9fb1b3"];
const RELOAD = ["the page is loaded again", "#ffd479"];
const OFFLINE = ["offline: the network is cut", "#ff9ba3"];
const ONLINE = ["online again", "#7fd99a"];
let [label, tone] = CALM;
const shoot = async (delay) => {
  const png = (await page.screenshot()).toString("base64");
  await add({ png, label, tone, delay });
};
const answer = () => page.locator(".answer").textContent();
const plain = (text) => text.replace(/[*\n]|^- /gm, "").trim();

await page.goto(wire.url);
await page.locator("#echo").waitFor({ state: "detached" });
await shoot(500);
for (let at = 2; at < QUERY.length + 2; at += 2) {
  await page.fill("#query", QUERY.slice(0, at));
  await shoot(80);
}
await shoot(300);
const { say, end } = model.next();
await page.press("#query", "Enter");
const words = ANSWER.match(/\S+\s*/g);
let said = 0;
/** Says words, each of which is seen as it comes. */
const speak = async (count) => {
  for (const word of words.slice(said, said + count)) {
    const shown = (await answer()).length;
    await say(word);
    said++;
    await page.waitForFunction(
      (length) => document.querySelector(".answer").textContent.length > length,
      shown,
      { polling: 20, timeout: 300 },
    ).catch(() => {}); // what may yet be the beginning of a mark is not shown
    await shoot(80);
  }
};
/** Says words that nobody sees come. */
const speakUnseen = async (count) => {
  await say(words.slice(said, said + count).join(""));
  said += count;
};
await speak(12);
[label, tone] = RELOAD;
await shoot(600);
await add({ label, tone, delay: 250 });
await speakUnseen(3);
await page.reload();
await page.waitForFunction((text) => document.body.innerText.includes(text), "the valley");
await shoot(600);
[label, tone] = CALM;
await speak(8);
wire.down = true;
wire.cut();
[label, tone] = OFFLINE;
await page.locator(".note", { hasText: "The connection is lost." }).waitFor();
await speakUnseen(8);
for (let i = 0; i < 5; i++) {
  await shoot(320);
  await page.waitForTimeout(300);
}
wire.down = false;
await page.waitForFunction((text) => document.body.innerText.includes(text), "waits");
[label, tone] = ONLINE;
await shoot(500);
await speak(words.length - said);
await end();
await page.waitForFunction(() => !document.querySelector(".live"));
[label, tone] = ["not one character is missing", "#7fd99a"];
await shoot(2200);

if (plain(await answer()).replace(/\s/g, "") !== plain(ANSWER).replace(/\s/g, "")) {
  throw new Error(`It is not the answer: ${await answer()}`);
}
const gif = await encode();
const file = process.argv[2] ?? FILE;
writeFileSync(file, gif);
console.log(`${file}: ${gif.length} bytes`);
model.stop();
wire.close();
await Promise.all([browser.close(), server.stop()]);
