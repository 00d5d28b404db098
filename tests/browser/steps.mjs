/**
 * What a person does on the pages, and what they see: the words that the tests are written in. Separate
 * from the harness because that knows no page.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import test from "node:test";
import { launch, profile } from "./harness.mjs";

export const TUTORIAL = "Streaming responseのテスト";
export const LONG =
  "Water takes its time over the crest, 世界, and falls 😀 as a sheet.\n\n  <b>Two</b> lines.";
/** Where the model waits. */
export const HALF = [...LONG].slice(0, [...LONG].length >> 1).join("");
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let browser;

export const openBrowser = async () => void (browser = await launch());
export const closeBrowser = () => browser?.close();

/** A test with a profile of its own, which must end without a fault. */
export function person(name, act, options = {}) {
  test(name, { timeout: 60_000 }, async () => {
    const someone = await profile(browser, options);
    try {
      await act(someone);
      assert.deepEqual(someone.faults, []);
    } catch (error) {
      error.message += await someone.seen();
      throw error;
    } finally {
      await someone.close();
    }
  });
}

/** Waits until a function of the page says something true. A page behind another draws no frames. */
export const holds = (page, condition, given) =>
  page.waitForFunction(condition, given, { polling: 20 });

export async function openChat({ open }, { url }) {
  const page = await open();
  await page.goto(`${url}/`);
  return page;
}

export async function ask(page, query) {
  await page.fill("#query", query);
  await page.press("#query", "Enter");
}

/** A text without what stands between blocks. */
const blocksOf = (text) => text.replace(/\s*\n\s*/g, "");
/** Waits until the last answer shows this text, or, without one, until it has ended. */
export const answered = (page, text) =>
  holds(page, (text) => {
    const answer = [...document.querySelectorAll(".answer")].at(-1);
    if (text === undefined) return answer && !document.querySelector(".live");
    return answer?.textContent.replace(/\s*\n\s*/g, "") === text;
  }, text && blocksOf(text));
/** The last answer as it came, which its buttons show; what is shown of it is made of the same. */
export async function textOf(page) {
  const turn = page.locator(".turn").last();
  // A page behind another draws no frames, and a click waits for some.
  const toggle = (name) => turn.getByRole("button", { name, exact: true }).dispatchEvent("click");
  await toggle("Plain text");
  const text = await turn.locator(".raw").textContent();
  await toggle("Formatted");
  assert.equal(blocksOf(await turn.locator(".answer").textContent()), blocksOf(text));
  return text;
}
export const note = (page, text) => page.locator(".note", { hasText: text }).last();

/** The reference, and its first operation to try, which is there at once. */
export async function openDocs({ open }, { url }) {
  const page = await open();
  await page.goto(`${url}/docs`);
  await page.waitForSelector("form");
  return tryOf(page, "stream");
}

/** How to use an operation's try. */
export function tryOf(page, id) {
  const article = page.locator(`#op-${id}`);
  const box = (label) => article.getByLabel(label, { exact: true });
  return {
    page,
    article,
    button: (name) => article.getByRole("button", { name, exact: true }),
    select: (name) => article.getByRole("combobox", { name, exact: true }),
    body: article.getByRole("textbox", { name: "Body", exact: true }),
    snippet: box("Snippet"),
    wire: () => box("Wire").textContent(),
    text: () => box("Text").textContent(),
    /** Its form is made when it is opened. */
    async open() {
      await article.getByText("Try it").click();
      await article.locator("form").waitFor();
    },
    /** Waits until this text is there, and says what is seen at that moment. */
    async seen(text) {
      const handle = await holds(page, ([id, text]) => {
        const article = document.getElementById(`op-${id}`);
        const figures = article.querySelector(".figures").innerText;
        return article.querySelector(".Text").textContent === text && {
          wire: article.querySelector(".Wire").textContent,
          bars: article.querySelector("figure path").getAttribute("d"),
          figures,
        };
      }, [id, text]);
      return await handle.jsonValue();
    },
  };
}

/** The faults of axe-core's that keep somebody from using the page, of some of its rules or of all. */
export async function barriers(page, ...rules) {
  await page.evaluate(axe);
  const { violations, passes } = await page.evaluate(
    (runOnly) => globalThis.axe.run(runOnly.length > 0 ? { runOnly } : {}),
    rules,
  );
  assert(passes.length > 0, "axe has looked at something");
  return violations.filter(({ impact }) => ["serious", "critical"].includes(impact))
    .map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html + node.failureSummary)}`);
}

/** Notes what a page shows of its last answer and tells a screen reader, from now on. */
export const observe = (page) =>
  page.evaluate(() => {
    const seen = globalThis.seen = { lengths: [], announced: [] };
    const whole = { childList: true, characterData: true, subtree: true };
    new MutationObserver(() => {
      const answer = [...document.querySelectorAll(".answer")].at(-1);
      if (answer) seen.lengths.push(answer.textContent.length);
    }).observe(document.querySelector("#log"), whole);
    const status = document.querySelector("[role=status]");
    new MutationObserver(() => seen.announced.push(status.textContent)).observe(status, whole);
  });
export const observed = (page) => page.evaluate(() => globalThis.seen);
