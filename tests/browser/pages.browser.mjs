/**
 * The pages in Chromium, against the server on Bun and on Deno: what a person sees of a stream, of a
 * reload, a second tab, a lost network and a failure. `SCREENSHOTS=folder` keeps pictures of it.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import test, { after, before, describe } from "node:test";
import { promisify } from "node:util";
import {
  chromiumIsMissing,
  launch,
  picture,
  profile,
  startServer,
  statsOf,
  until,
  wireTo,
} from "./harness.mjs";

const TUTORIAL = "Streaming responseのテスト";
const LONG =
  "Water takes its time over the crest, 世界, and falls 😀 as a sheet.\n\n  <b>Two</b> lines.";
/** Long enough to be left, cut and stopped in its middle. */
const LONGER = `${LONG}\n${LONG}`;
/** A picture takes its time. */
const DELAY_MS = process.env.SCREENSHOTS ? 100 : 15;
const SETTINGS = { TOKEN_DELAY_MS: String(DELAY_MS), LOG: "off" };
const PHONE = {
  viewport: { width: 360, height: 640 },
  isMobile: true,
  hasTouch: true,
};
const axe = readFileSync(
  createRequire(import.meta.url).resolve("axe-core/axe.min.js"),
  "utf8",
);

let browser;

/** A test with a profile of its own, which must end without a fault. */
function person(name, act, options = {}) {
  test(name, { timeout: 30_000 }, async () => {
    const someone = await profile(browser, options);
    try {
      await act(someone);
      assert.deepEqual(someone.faults, []);
    } finally {
      await someone.close();
    }
  });
}

async function openChat({ open }, { url }) {
  const page = await open();
  await page.goto(`${url}/`);
  return page;
}

async function ask(page, query) {
  await page.fill("#query", query);
  await page.press("#query", "Enter");
}

const textOf = (page) => page.locator(".answer").last().evaluate((element) => element.textContent);
const note = (page, text) => page.locator(".note", { hasText: text }).last();

/** Waits until a function of the page says something true. A page behind another draws no frames. */
const holds = (page, condition, arg) => page.waitForFunction(condition, arg, { polling: 20 });

/** Waits until the last answer has this many UTF-16 units. */
const grown = (page, length) =>
  holds(page, (length) => {
    const answer = [...document.querySelectorAll(".answer")].at(-1);
    return answer !== undefined && answer.textContent.length >= length;
  }, length);

/** Waits until no answer is under way. */
const settled = (page) =>
  holds(
    page,
    () =>
      document.querySelector("#stop").hidden &&
      !document.querySelector(".live"),
  );

/** The reference, and how to use an operation's try. */
async function openDocs({ open }, { url }, id = "stream") {
  const page = await open();
  await page.goto(`${url}/docs`);
  await page.waitForSelector("form");
  const article = page.locator(`#op-${id}`);
  if (!await article.locator("form").isVisible()) {
    await article.getByText("Try it").click();
  }
  const box = (label) => article.getByLabel(label, { exact: true });
  return {
    page,
    article,
    button: (name) => article.getByRole("button", { name, exact: true }),
    field: (name) =>
      article.getByRole("combobox", { name, exact: true })
        .or(article.getByRole("textbox", { name, exact: true })),
    snippet: box("Snippet"),
    wire: () => box("Wire").textContent(),
    text: () => box("Text").textContent(),
    /** Waits until as much text is there, and says what is seen at that moment. */
    async seen(length) {
      const handle = await holds(page, ([id, length]) => {
        const article = document.getElementById(`op-${id}`);
        const text = article.querySelector(".Text").textContent;
        return text.length >= length && {
          text,
          wire: article.querySelector(".Wire").textContent,
          bars: article.querySelector("figure path").getAttribute("d"),
          figures: article.querySelector(".figures").innerText,
        };
      }, [id, length]);
      return await handle.jsonValue();
    },
  };
}

/** The faults of axe-core's that keep somebody from using the page. */
async function barriers(page) {
  await page.evaluate(axe);
  const { violations, passes } = await page.evaluate(() => globalThis.axe.run());
  assert(passes.length > 5, "axe has looked at something");
  return violations.filter(({ impact }) => ["serious", "critical"].includes(impact))
    .map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html + node.failureSummary)}`);
}

/** Notes what a page shows of its last answer and tells a screen reader, from now on. */
const observe = (page) =>
  page.evaluate(() => {
    const seen = globalThis.seen = { lengths: [], announced: [] };
    const whole = { childList: true, characterData: true, subtree: true };
    new MutationObserver(() => {
      const answer = [...document.querySelectorAll(".answer")].at(-1);
      if (answer) seen.lengths.push(answer.textContent.length);
    }).observe(document.querySelector("#log"), whole);
    const status = document.querySelector("[role=status]");
    new MutationObserver(() => seen.announced.push(status.textContent)).observe(
      status,
      whole,
    );
  });
const observed = (page) => page.evaluate(() => globalThis.seen);

/** What both runtimes have to hold. */
function streams(runtime) {
  let server;
  before(async () => void (server = await startServer(runtime, SETTINGS)));
  after(() => server?.stop());

  person("chat: the tutorial's text streams", async (someone) => {
    const page = await openChat(someone, server);
    await observe(page);
    await ask(page, TUTORIAL);
    await grown(page, TUTORIAL.length);
    await settled(page);
    assert.equal(await textOf(page), TUTORIAL);
    const { lengths, announced } = await observed(page);
    const steps = new Set(
      lengths.filter((length) => length > 0 && length < TUTORIAL.length),
    );
    assert(steps.size > 5, `seen in ${steps.size} steps`);
    assert.deepEqual(announced, [
      "The answer begins.",
      "The answer is complete.",
    ]);
    assert.equal(await page.locator(".note").isVisible(), false);
    assert.equal(
      await page.locator("article").getAttribute("aria-busy"),
      "false",
    );
  });

  person(
    "chat: reloaded in mid-answer, it ends with the exact text of one generation",
    async (someone) => {
      const page = await openChat(someone, server);
      const { ended } = await statsOf(server);
      await ask(page, LONGER);
      for (const length of [10, 60]) {
        await grown(page, length);
        await page.reload();
        assert(
          (await textOf(page)).length >= length,
          "what had come is there at once",
        );
        await page.waitForSelector(".live");
      }
      await settled(page);
      assert.equal(await textOf(page), LONGER);
      assert.deepEqual((await statsOf(server)).ended, {
        ...ended,
        completed: ended.completed + 1,
      });
      await page.reload();
      assert.equal(await textOf(page), LONGER, "and it stays");
    },
  );

  person(
    "chat: a second tab, open before or opened later, follows the same answer",
    async (someone) => {
      const first = await openChat(someone, server);
      const second = await openChat(someone, server);
      await ask(first, LONGER);
      await grown(second, 5);
      const third = await openChat(someone, server);
      await third.waitForSelector(".live");
      for (const page of [first, second, third]) {
        await settled(page);
        assert.equal(await textOf(page), LONGER);
      }
      await second.click("#clear");
      for (const page of [first, third]) {
        await page.waitForSelector("#welcome:not([hidden])");
      }
    },
  );

  person(
    "chat: Escape stops the generation, and what came stays",
    async (someone) => {
      const page = await openChat(someone, server);
      const { ended } = await statsOf(server);
      await ask(page, LONGER);
      await grown(page, 10);
      await page.keyboard.press("Escape");
      await note(page, "Stopped.").waitFor();
      const text = await textOf(page);
      assert(LONGER.startsWith(text) && text.length < LONGER.length, text);
      await until(
        async () => (await statsOf(server)).active.sources === 0,
        "no source is left",
      );
      assert.deepEqual((await statsOf(server)).ended, {
        ...ended,
        cancelled: ended.cancelled + 1,
      });
      await page.reload();
      assert.equal(await textOf(page), text);
    },
  );

  person(
    "chat: a network that is lost and comes back costs no character",
    async (someone) => {
      const wire = await wireTo(server);
      try {
        const page = await openChat(someone, wire);
        await observe(page);
        await ask(page, LONGER);
        await grown(page, 10);
        wire.down = true;
        wire.cut();
        await note(page, "The connection is lost.").waitFor();
        wire.down = false;
        await page.getByRole("button", { name: "Now" }).click();
        await grown(page, 60);
        wire.cut();
        await settled(page);
        assert.equal(await textOf(page), LONGER);
        const { announced } = await observed(page);
        assert.equal(announced.at(-1), "The answer is complete.");
        assert(announced.includes("The connection is lost. Trying again."));
        assert(announced.length <= 6, announced.join());
      } finally {
        await wire.close();
      }
    },
    { failing: true },
  );

  person(
    "chat: markup in a query and in its answer is text",
    async (someone) => {
      const page = await openChat(someone, server);
      const queries = [
        `<img src=x onerror="alert(1)">`,
        `</script><script>alert(2)</script>`,
        `</textarea><svg onload=alert(3)>&lt;`,
      ];
      for (const query of queries) {
        await ask(page, query);
        await page.waitForSelector(".live");
        await settled(page);
      }
      for (let reloads = 0; reloads < 2; reloads++) {
        assert.deepEqual(
          await page.locator(".query").allTextContents(),
          queries,
        );
        assert.deepEqual(
          await page.locator(".answer").allTextContents(),
          queries,
        );
        const made = page.locator(".turn :is(img, script, svg, textarea)");
        assert.equal(await made.count(), 0);
        await page.reload();
      }
    },
  );

  person(
    "EventSource: cut three times it ends exact, and starts nothing again",
    async (someone) => {
      const wire = await wireTo(server);
      try {
        const page = await openChat(someone, wire);
        const { ended } = await statsOf(server);
        await page.evaluate(async (query) => {
          const body = JSON.stringify({ query });
          const headers = { "content-type": "application/json" };
          const begun = await fetch("streaming", {
            method: "POST",
            headers,
            body,
          });
          const source = new EventSource(
            `streaming/${begun.headers.get("x-stream-id")}`,
          );
          const seen = globalThis.seen = {
            text: "",
            opens: 0,
            state: () => source.readyState,
          };
          source.onopen = () => seen.opens++;
          source.onmessage = (
            { data },
          ) => (seen.text += JSON.parse(data).token);
          await begun.body.cancel();
        }, LONGER);
        for (const opens of [1, 2, 3]) {
          await holds(page, (opens) => globalThis.seen.opens === opens, opens);
          wire.cut();
        }
        // It is not closed at the end: it comes again, and is told that there is nothing more.
        await holds(page, () => globalThis.seen.state() === EventSource.CLOSED);
        const { text, opens } = await observed(page);
        assert.deepEqual([text, opens], [LONGER, 4]);
        const { ended: later, active } = await statsOf(server);
        assert.deepEqual(later, { ...ended, completed: ended.completed + 1 });
        assert.equal(active.sources, 0);
      } finally {
        await wire.close();
      }
    },
    { failing: true },
  );

  person(
    "docs: a try shows tokens, bytes and gaps before the stream ends",
    async (someone) => {
      const { field, button, seen, page, wire } = await openDocs(
        someone,
        server,
      );
      await field("Body").fill(JSON.stringify({ query: LONG }));
      await button("Send").click();
      const early = await seen(20);
      assert(
        LONG.startsWith(early.text) && early.text.length < LONG.length,
        early.text,
      );
      const begin = /^:\nid: [\w-]{22}\.1\nretry: 1000\ndata: \{"token":"W"\}\n\nid: /;
      assert.match(early.wire, begin);
      assert.doesNotMatch(early.wire, /event: done/);
      assert.match(early.bars, /^(M[\d.]+ 60V[\d.]+){5}/);
      assert.match(early.figures, /200 OK\s+State\s+streaming/);
      const late = await seen(LONG.length);
      assert.equal(late.text, LONG);
      await page.getByText('"reason":"completed"').waitFor();
      assert.match(await wire(), begin);
      const { figures } = await seen(LONG.length);
      assert.match(
        figures,
        /First token\s+\d+ ms\s+Tokens\s+\d+\s+Tokens per second\s+\d+\.\d/,
      );
    },
  );

  person(
    "docs: a try is cut off and resumed to the exact text, and stopped",
    async (someone) => {
      const { field, button, seen, text, article } = await openDocs(
        someone,
        server,
      );
      await field("Body").fill(JSON.stringify({ query: LONGER }));
      await button("Send").click();
      for (const [i, length] of [10, 60].entries()) {
        await seen(length);
        await button("Cut the network").click();
        await until(() => button("Resume").isEnabled(), "it is cut off");
        assert.equal(
          (await article.getByLabel("Wire").textContent()).split("cut off")
            .length,
          i + 2,
        );
        await button("Resume").click();
      }
      await until(() => button("Send").isEnabled(), "the end");
      assert.equal(await text(), LONGER);
      assert(
        await button("Resume").isDisabled() &&
          await button("Stop").isDisabled(),
      );
      await button("Send").click();
      await seen(10);
      await button("Stop").click();
      await article.getByText('"reason":"cancelled"').waitFor();
      const part = await text();
      assert(LONGER.startsWith(part) && part.length < LONGER.length);
    },
  );

  describe("where a key is wanted", () => {
    let closed;
    before(async () => {
      closed = await startServer(runtime, {
        ...SETTINGS,
        API_KEYS: "open-sesame",
      });
    });
    after(() => closed?.stop());

    person(
      "chat: the key is asked for, refused when it is wrong, and kept for a reload",
      async (someone) => {
        const page = await openChat(someone, closed);
        await ask(page, LONGER);
        for (
          const [key, why] of [["wrong", "wants an API key"], [
            "open-sesame",
            "not accepted",
          ]]
        ) {
          await page.locator("#why", { hasText: why }).waitFor();
          if (runtime === "bun") assert.deepEqual(await barriers(page), []);
          await picture(page, `chat-key-${key}`);
          await page.keyboard.type(key);
          await page.keyboard.press("Enter");
        }
        await grown(page, 10);
        assert.equal(await page.locator("#keys").isVisible(), false);
        await page.reload();
        await page.waitForSelector(".live");
        await settled(page);
        assert.equal(await textOf(page), LONGER);
        const other = await openChat(someone, closed);
        const kept = await other.evaluate(() => JSON.stringify([localStorage, sessionStorage]));
        assert(!kept.includes("sesame"), "another tab has its own");
      },
      { failing: true },
    );

    person(
      "docs: the key is sent from its field, and is nowhere else",
      async (someone) => {
        const { page, button, snippet, seen, wire } = await openDocs(
          someone,
          closed,
        );
        await button("Send").click();
        await until(
          async () => (await wire()).includes("unauthorized"),
          "a refusal",
        );
        await page.fill("#key", "open-sesame");
        assert.match(
          await snippet.textContent(),
          /'Authorization: Bearer '"\$API_KEY"/,
        );
        await button("Send").click();
        await seen(TUTORIAL.length);
        const everything = await page.evaluate(() =>
          JSON.stringify([localStorage, sessionStorage, document.cookie]) +
          document.documentElement.outerHTML
        );
        assert(!everything.includes("sesame"));
      },
      { failing: true },
    );
  });

  describe("without a log, under a path, with a schema that knows no conversation", () => {
    let bare;
    before(async () => {
      const { url, ...started } = await startServer(
        runtime,
        {},
        "tests/browser/bare.ts",
      );
      bare = { url: `${url}/llm/v2`, ...started };
    });
    after(() => bare?.stop());

    person(
      "chat: it streams, tells of a limit, stops, and says what was cut off",
      async (someone) => {
        const wire = await wireTo(bare);
        try {
          const page = await openChat(someone, { url: `${wire.url}/llm/v2` });
          await ask(page, "long");
          await note(page, "The model came to its limit.").waitFor();
          assert.equal(await textOf(page), "long");
          assert.equal(
            await page.locator(".reasoning p").textContent(),
            "They ask: long",
          );
          await page.click(".reasoning summary");
          await picture(page, "chat-reasoning");
          await ask(page, LONG);
          await grown(page, 10);
          await page.keyboard.press("Escape");
          await note(page, "Stopped.").waitFor();
          await until(
            async () => (await statsOf(bare)).active.sources === 0,
            "no source is left",
          );
          await ask(page, LONG);
          await grown(page, 10);
          wire.cut();
          await note(page, "The answer was cut off.").waitFor();
        } finally {
          await wire.close();
        }
      },
      { failing: true },
    );

    person("docs: a try streams, and offers no resuming", async (someone) => {
      const { page, field, button, seen } = await openDocs(someone, bare);
      await field("Body").fill(JSON.stringify({ query: TUTORIAL }));
      await button("Send").click();
      await seen(TUTORIAL.length);
      assert(await button("Resume").isDisabled());
      await page.click("#chat");
      await page.waitForSelector("#welcome");
      await page.click("header a");
      await page.waitForSelector("form");
    });
  });
}

/** What is the pages' own: they are the same bytes on both runtimes, so it is looked at on one. */
function looks() {
  let server;
  before(async () => void (server = await startServer("bun", SETTINGS)));
  after(() => server?.stop());

  const DESK = { viewport: { width: 1100, height: 700 } };
  const LOOKS = {
    light: { ...DESK, colorScheme: "light" },
    dark: { ...DESK, colorScheme: "dark" },
    phone: PHONE,
  };
  for (const [look, options] of Object.entries(LOOKS)) {
    person(`${look}: both pages keep nobody out, and fit`, async (someone) => {
      const page = await openChat(someone, server);
      const overflow = (page) => page.evaluate(() => document.body.scrollWidth - innerWidth);
      await picture(page, `chat-${look}-0`);
      assert.deepEqual(await barriers(page), []);
      await ask(page, TUTORIAL);
      for (const third of [1, 2]) {
        await grown(page, Math.floor(TUTORIAL.length * third / 3));
        await picture(page, `chat-${look}-${third}`);
      }
      await settled(page);
      await picture(page, `chat-${look}-3`);
      assert.deepEqual(await barriers(page), []);
      assert(await overflow(page) <= 0);

      const docs = await openDocs(someone, server);
      await picture(docs.page, `docs-${look}-0`);
      await docs.button("Send").click();
      await docs.seen(7);
      await docs.article.locator(".results").scrollIntoViewIfNeeded();
      await picture(docs.page, `docs-${look}-1`);
      await docs.seen(TUTORIAL.length);
      await docs.article.locator(".snippets").scrollIntoViewIfNeeded();
      await picture(docs.page, `docs-${look}-2`);
      for (const title of ["Parameters", "Body", "Responses"]) {
        await docs.article.getByRole("heading", { name: title, exact: true })
          .click();
      }
      await docs.page.evaluate(() => scrollTo(0, 0));
      await picture(docs.page, `docs-${look}-3`);
      assert.deepEqual(await barriers(docs.page), []);
      assert(await overflow(docs.page) <= 0);
    }, options);
  }

  person(
    "chat: keys send, begin a line, and leave an input method alone",
    async (someone) => {
      const page = await openChat(someone, server);
      const field = page.locator("#query");
      await field.pressSequentially("one");
      await field.press("Shift+Enter");
      await field.pressSequentially("two");
      await field.evaluate((element) => {
        const init = {
          key: "Enter",
          isComposing: true,
          bubbles: true,
          cancelable: true,
        };
        element.dispatchEvent(new KeyboardEvent("keydown", init));
      });
      assert.equal(
        await page.locator("article").count(),
        0,
        "that Enter ends a word",
      );
      await field.press("Enter");
      await grown(page, 7);
      await settled(page);
      assert.equal(await textOf(page), "one\ntwo");
      assert.equal(await field.inputValue(), "");
      assert(
        await field.evaluate((element) => element === document.activeElement),
      );
      await field.press("Enter");
      assert.equal(
        await page.locator("article").count(),
        1,
        "nothing is not sent",
      );
    },
  );

  person(
    "chat: a button stops it, also in another tab; motion is left out where it is not wanted",
    async (someone) => {
      const page = await openChat(someone, server);
      const other = await openChat(someone, server);
      for (const stopping of [page, other]) {
        await ask(page, LONGER);
        await grown(stopping, 10);
        const answer = stopping.locator(".answer").last();
        const name = await answer.evaluate((e) => getComputedStyle(e, "::after").animationName);
        assert.equal(name, "none");
        await stopping.click("#stop");
        for (const each of [page, other]) {
          await settled(each);
          await note(each, "Stopped.").waitFor();
        }
      }
      const texts = await Promise.all([page, other].map(textOf));
      assert.equal(texts[0], texts[1]);
      assert(texts[0].length < LONGER.length);
    },
    { reducedMotion: "reduce" },
  );

  person(
    "docs: every operation of the document is there, and every link leads somewhere",
    async (someone) => {
      const { page, article } = await openDocs(someone, server);
      const { paths } = await (await fetch(`${server.url}/openapi.json`))
        .json();
      const operations = Object.entries(paths).flatMap(([path, methods]) =>
        Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`)
      );
      const shown = await page.locator("article:has(.method) h3").evaluateAll((
        all,
      ) => all.map(({ children }) => `${children[0].textContent} ${children[1].textContent}`));
      assert.deepEqual(shown.sort(), operations.sort());
      assert(shown.length >= 12);
      const reference = await article.textContent();
      for (
        const text of [
          "query: string",
          "422",
          "invalid_input",
          "text/event-stream",
          "each item",
        ]
      ) {
        assert(reference.includes(text), text);
      }
      const links = await page.locator("a[href^='#']").evaluateAll((all) =>
        all.map((
          { hash },
        ) => [hash, document.getElementById(hash.slice(1)) !== null])
      );
      assert(links.length > shown.length);
      assert.deepEqual(links.filter(([, found]) => !found), []);
    },
  );

  person(
    "docs: streams of every kind show their text, and what is none its body",
    async (someone) => {
      for (const id of ["createChatCompletion", "createMessage", "chat"]) {
        const { button, seen, page } = await openDocs(someone, server, id);
        await button("Send").click();
        assert.equal((await seen("Hello?".length)).text, "Hello?");
        await page.close();
      }
      const { page, field, button, seen } = await openDocs(someone, server);
      for (const format of ["text", "ndjson", "plain"]) {
        await field("format").selectOption(format);
        await button("Send").click();
        assert.equal((await seen(TUTORIAL.length)).text, TUTORIAL, format);
        await until(() => button("Send").isEnabled(), "the end");
      }
      // What was begun last can be joined.
      await page.close();
      for (
        const [id, body] of [["health", '"status": "ok"'], [
          "chatPage",
          "<!doctype html>",
        ]]
      ) {
        const { button, wire, page } = await openDocs(someone, server, id);
        await button("Send").click();
        await until(async () => (await wire()).includes(body), body);
        await page.close();
      }
    },
  );

  person(
    "docs: the snippets are of the request at hand, and run",
    async (someone) => {
      const { page, field, button, snippet } = await openDocs(someone, server);
      await field("Body").fill(JSON.stringify({ query: "it's $HOME" }));
      await field("Accept").selectOption("text/plain");
      const { stdout } = await promisify(execFile)("sh", [
        "-c",
        await snippet.textContent(),
      ]);
      assert.equal(stdout, "it's $HOME");
      await field("Accept").selectOption("text/event-stream");
      await button("EventSource").click();
      assert.equal(
        await button("EventSource").getAttribute("aria-pressed"),
        "true",
      );
      assert(
        await button("EventSource").evaluate((element) => element === document.activeElement),
      );
      const printed = await page.evaluate(
        (code) =>
          new Promise((resolve, reject) => {
            const tokens = [];
            const run = new (async () => {}).constructor(
              "console",
              "EventSource",
              code,
            );
            class Source extends EventSource {
              close() {
                super.close();
                resolve(tokens.join(""));
              }
            }
            run({ log: (token) => tokens.push(token) }, Source).catch(reject);
          }),
        await snippet.textContent(),
      );
      assert.equal(printed, "it's $HOME");
    },
  );

  person(
    "chat: a server that cannot be reached is told, and asked again",
    async (someone) => {
      const wire = await wireTo(server);
      try {
        const page = await openChat(someone, wire);
        wire.down = true;
        wire.cut();
        await ask(page, TUTORIAL);
        await note(page, "The server could not be reached.").waitFor();
        wire.down = false;
        await page.getByRole("button", { name: "Try again" }).click();
        await grown(page, TUTORIAL.length);
        await settled(page);
        assert.deepEqual(await page.locator(".answer").allTextContents(), [
          TUTORIAL,
        ]);
      } finally {
        await wire.close();
      }
    },
    { failing: true },
  );

  describe("where the upstream fails", () => {
    let upstream;
    let relay;
    let answer;
    const received = [];
    const chunk = (delta, finish_reason = null) =>
      `data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason }] })}\n\n`;
    before(async () => {
      upstream = createServer(async (request, response) => {
        let body = "";
        for await (const part of request) body += part;
        received.push(JSON.parse(body).messages);
        answer(response);
      });
      await new Promise((resolve) => upstream.listen(0, "127.0.0.1", resolve));
      const OPENAI_BASE_URL = `http://127.0.0.1:${upstream.address().port}/v1`;
      relay = await startServer("bun", {
        OPENAI_BASE_URL,
        OPENAI_MODEL: "m",
        LOG: "off",
      });
    });
    after(async () => {
      await relay?.stop();
      await new Promise((resolve) => upstream.close(resolve));
    });

    person(
      "chat: failures before and in an answer are told, and tried again",
      async (someone) => {
        const page = await openChat(someone, relay);
        const again = () => page.getByRole("button", { name: "Try again" }).click();
        answer = (response) => response.writeHead(401).end();
        await ask(page, "Hello?");
        await note(page, "The upstream did not answer with a stream.")
          .waitFor();
        answer = (response) => {
          response.writeHead(200, { "content-type": "text/event-stream" });
          response.write(chunk({ content: "Half of the" }));
          setTimeout(() => response.end(), 50);
        };
        await again();
        await note(page, "The upstream ended before its answer was complete.")
          .waitFor();
        assert.equal(await textOf(page), "Half of the");
        await picture(page, "chat-failed");
        assert.deepEqual(await barriers(page), []);
        answer = (response) => {
          response.writeHead(200, { "content-type": "text/event-stream" });
          response.end(
            `${chunk({ content: "The whole" })}${chunk({}, "stop")}data: [DONE]\n\n`,
          );
        };
        await again();
        await grown(page, 9);
        await settled(page);
        assert.deepEqual(await page.locator(".answer").allTextContents(), [
          "The whole",
        ]);
        await ask(page, "And then?");
        await until(() => received.length === 4, "a fourth request");
        // The model is told what was said, and not what failed.
        assert.deepEqual(received[3], [
          { role: "user", content: "Hello?" },
          { role: "assistant", content: "The whole" },
          { role: "user", content: "And then?" },
        ]);
      },
      { failing: true },
    );

    person(
      "chat: an answer that the server has forgotten is told of",
      async (someone) => {
        const wire = await wireTo(server);
        try {
          const page = await openChat(someone, wire);
          await ask(page, LONGER);
          await grown(page, 10);
          // Another server takes its place, which never knew of it.
          wire.port = relay.port;
          wire.cut();
          await note(page, "The server no longer has this answer.").waitFor();
          const text = await textOf(page);
          assert(
            text.length >= 10 && text.length < LONGER.length &&
              LONGER.startsWith(text),
          );
        } finally {
          await wire.close();
        }
      },
      { failing: true },
    );
  });
}

describe("pages", { skip: chromiumIsMissing, concurrency: 3 }, () => {
  before(async () => void (browser = await launch()));
  after(() => browser?.close());
  describe("on Bun", { concurrency: 1 }, () => streams("bun"));
  describe("on Deno", { concurrency: 1 }, () => streams("deno"));
  describe("on either", { concurrency: 1 }, looks);
});
