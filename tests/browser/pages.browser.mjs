/**
 * The pages in Chromium, against the server on Bun and on Deno: what a person sees of a stream, of a
 * reload, a second tab, a lost network and a failure.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, describe } from "node:test";
import { promisify } from "node:util";
import { chatCases } from "./chat_cases.mjs";
import { docsCases } from "./docs_cases.mjs";
import { chromiumIsMissing, startModel, startServer, statsOf, until, wireTo } from "./harness.mjs";
import {
  answered,
  ask,
  barriers,
  closeBrowser,
  HALF,
  holds,
  LONG,
  note,
  observe,
  observed,
  openBrowser,
  openChat,
  openDocs,
  person,
  textOf,
  tryOf,
  TUTORIAL,
} from "./steps.mjs";

/** What both runtimes have to hold. */
function streams(runtime) {
  let echo, model, relay, closed, bare;
  before(async () => {
    model = await startModel();
    [echo, relay, closed, bare] = await Promise.all([
      startServer(runtime, { TOKEN_DELAY_MS: "60" }),
      startServer(runtime, model.environment),
      startServer(runtime, { ...model.environment, API_KEYS: "open-sesame" }),
      startServer(runtime, {}, "tests/browser/bare.ts"),
    ]);
  });
  after(async () => {
    model?.stop();
    await Promise.all([echo, relay, closed, bare].map((server) => server?.stop()));
  });

  person("chat: the tutorial's text streams", async (someone) => {
    const page = await openChat(someone, echo);
    await observe(page);
    await ask(page, TUTORIAL);
    await answered(page, TUTORIAL);
    await answered(page);
    const { lengths, announced } = await observed(page);
    const steps = new Set(lengths.filter((length) => length > 0 && length < TUTORIAL.length));
    assert(steps.size > 5, `seen in ${steps.size} steps`);
    assert.deepEqual(announced, ["The answer begins.", "The answer is complete."]);
    assert.equal(await page.locator(".note").isVisible(), false);
    assert.equal(await page.locator("article").getAttribute("aria-busy"), "false");
  });

  person("chat: reloaded in mid-answer, it ends exact, and is one generation", async (someone) => {
    const page = await openChat(someone, relay);
    const { ended } = await statsOf(relay);
    await ask(page, LONG);
    await answered(page, HALF);
    for (let reloads = 0; reloads < 2; reloads++) {
      await page.reload();
      assert.equal(await textOf(page), HALF, "what had come is there at once");
      await page.waitForSelector(".live");
    }
    await model.release();
    await answered(page, LONG);
    await answered(page);
    assert.deepEqual((await statsOf(relay)).ended, { ...ended, completed: ended.completed + 1 });
    await page.reload();
    assert.equal(await textOf(page), LONG, "and it stays");
  });

  person("chat: a second tab, open before or opened later, follows it exactly", async (someone) => {
    const first = await openChat(someone, relay);
    const second = await openChat(someone, relay);
    await ask(first, LONG);
    await answered(second, HALF);
    const third = await openChat(someone, relay);
    await answered(third, HALF);
    await model.release();
    for (const page of [first, second, third]) {
      await answered(page, LONG);
      await answered(page);
    }
    // Another conversation in one tab leaves the others where they are.
    await second.bringToFront();
    await second.click("#clear");
    await second.waitForSelector("#welcome:not([hidden])");
    for (const page of [first, third]) assert.equal(await textOf(page), LONG);
  });

  person("chat: Escape stops the model, and what came stays", async (someone) => {
    const page = await openChat(someone, relay);
    const { ended } = await statsOf(relay);
    const { abandoned } = model;
    await ask(page, LONG);
    await answered(page, HALF);
    await page.keyboard.press("Escape");
    await note(page, "Stopped.").waitFor();
    await until(() => model.abandoned === abandoned + 1, "the model is let go");
    assert.deepEqual((await statsOf(relay)).ended, { ...ended, cancelled: ended.cancelled + 1 });
    await page.reload();
    assert.equal(await textOf(page), HALF);
    assert.equal(await page.locator(".note").textContent(), "Stopped.");
  });

  person("chat: a network that is lost and comes back costs no character", async (someone) => {
    const wire = await wireTo(relay);
    try {
      const page = await openChat(someone, wire);
      await observe(page);
      await ask(page, LONG);
      await answered(page, HALF);
      wire.down = true;
      wire.cut();
      await note(page, "The connection is lost.").waitFor();
      wire.down = false;
      // It may have come back by itself.
      await page.evaluate(() => document.querySelector(".note button")?.click());
      await until(async () => (await statsOf(relay)).active.readers === 1, "it reads again");
      wire.cut();
      await model.release();
      await answered(page, LONG);
      await answered(page);
      const { announced } = await observed(page);
      assert.equal(announced.at(-1), "The answer is complete.");
      assert(announced.includes("The connection is lost. Trying again."), announced.join());
      assert(announced.length <= 6, announced.join());
    } finally {
      wire.close();
    }
  }, { failing: true });

  person("chat: markup in a query and in its answer is text", async (someone) => {
    const page = await openChat(someone, relay);
    const queries = [
      `<img src=x onerror="alert(1)">`,
      `</script><script>alert(2)</script>`,
      `</textarea><svg onload=alert(3)><iframe srcdoc="<script>alert(4)</script>">&lt;`,
      `"><a href="javascript:alert(5)">x</a> \${alert(6)} {{alert(7)}} <!--`,
    ];
    model.holds = false;
    for (const query of queries) {
      await ask(page, query);
      await answered(page, query);
      await answered(page);
    }
    model.holds = true;
    for (let reloads = 0; reloads < 2; reloads++) {
      assert.deepEqual(await page.locator(".query").allTextContents(), queries);
      assert.deepEqual(await page.locator(".answer").allTextContents(), queries);
      const made = page.locator(".turn :is(img, script, svg, iframe, textarea, a)");
      assert.equal(await made.count(), 0);
      await page.reload();
    }
  });

  person(
    "EventSource: cut three times it ends exact, and starts nothing again",
    async (someone) => {
      const wire = await wireTo(relay);
      try {
        const page = await openChat(someone, wire);
        const { ended } = await statsOf(relay);
        await page.evaluate(async (query) => {
          const body = JSON.stringify({ query });
          const headers = { "content-type": "application/json" };
          const begun = await fetch("streaming", { method: "POST", headers, body });
          const source = new EventSource(`streaming/${begun.headers.get("x-stream-id")}`);
          const seen = globalThis.seen = { text: "", opens: 0, state: () => source.readyState };
          source.onopen = () => seen.opens++;
          source.onmessage = ({ data }) => (seen.text += JSON.parse(data).token);
          await begun.body.cancel();
        }, LONG);
        for (const opens of [1, 2, 3]) {
          await holds(page, (opens) => globalThis.seen.opens === opens, opens);
          if (opens === 1) await holds(page, (half) => globalThis.seen.text === half, HALF);
          wire.cut();
        }
        await model.release();
        // It is not closed at the end: it comes again, and is told that there is nothing more.
        await holds(page, () => globalThis.seen.state() === EventSource.CLOSED);
        const { text, opens } = await observed(page);
        assert.deepEqual([text, opens], [LONG, 4]);
        const { ended: later, active } = await statsOf(relay);
        assert.deepEqual(later, { ...ended, completed: ended.completed + 1 });
        assert.equal(active.sources, 0);
      } finally {
        wire.close();
      }
    },
    { failing: true },
  );

  person("docs: a try shows tokens, bytes and gaps before the stream ends", async (someone) => {
    const { body, button, seen, page } = await openDocs(someone, relay);
    await body.fill(JSON.stringify({ query: LONG }));
    await button("Send").click();
    await seen(HALF);
    await holds(page, () => document.querySelector("figure path").getAttribute("d") !== "");
    const early = await seen(HALF);
    const begin = /^:\nid: [\w-]{22}\.1\nretry: 1000\ndata: \{"token":"W"\}\n\nid: /;
    assert.match(early.wire, begin);
    assert.doesNotMatch(early.wire, /event: done/);
    assert.match(early.bars, /^(M[\d.]+ 60V[\d.]+){5}/);
    assert.match(early.figures, /200 OK\s+State\s+streaming/);
    await model.release();
    await seen(LONG);
    await until(() => button("Send").isEnabled(), "the end");
    const late = await seen(LONG);
    assert.match(late.wire, begin);
    assert.match(late.wire, /event: done\ndata: \{"reason":"completed"/);
    assert.match(
      late.figures,
      /State\s+ended\s+First token\s+\d.* m?s\s+Tokens\s+8\d\s+Tokens per/,
    );
  });

  person("docs: a try is cut off and resumed to the exact text, and stopped", async (someone) => {
    const { body, button, seen, wire, article } = await openDocs(someone, relay);
    await body.fill(JSON.stringify({ query: LONG }));
    await button("Send").click();
    await seen(HALF);
    for (const cuts of [1, 2]) {
      await button("Cut the network").click();
      await until(() => button("Resume").isEnabled(), "it is cut off");
      assert.equal((await wire()).split("--- cut off ---").length, cuts + 1);
      await button("Resume").click();
      await article.getByText("streaming", { exact: true }).waitFor();
    }
    await model.release();
    await seen(LONG);
    await until(() => button("Send").isEnabled(), "the end");
    assert(await button("Resume").isDisabled() && await button("Stop").isDisabled());
    await button("Send").click();
    await seen(HALF);
    await button("Stop").click();
    await article.getByText('"reason":"cancelled"').waitFor();
    await seen(HALF);
  });

  person("chat: a key is asked for, refused when wrong, and kept for a reload", async (someone) => {
    const page = await openChat(someone, closed);
    await ask(page, LONG);
    for (const [key, why] of [["wrong", "wants an API key"], ["open-sesame", "not accepted"]]) {
      await page.locator("#why", { hasText: why }).waitFor();
      await page.keyboard.type(key);
      await page.keyboard.press("Enter");
    }
    await answered(page, HALF);
    assert.equal(await page.locator("#keys").isVisible(), false);
    await page.reload();
    await model.release();
    await answered(page, LONG);
    const other = await openChat(someone, closed);
    const kept = await other.evaluate(() => JSON.stringify([localStorage, sessionStorage]));
    assert(!kept.includes("sesame"), "another tab has its own");
  }, { failing: true });

  person("docs: a key is sent from its field, and is nowhere else", async (someone) => {
    const { page, button, snippet, body, seen, wire } = await openDocs(someone, closed);
    await body.fill(JSON.stringify({ query: LONG }));
    await button("Send").click();
    await until(async () => (await wire()).includes("unauthorized"), "a refusal");
    await page.locator(".problem", { hasText: "Missing or invalid credentials" }).waitFor();
    await page.fill("#search", "HEALTH");
    assert.equal(await page.locator("nav li:visible").count(), 1);
    await page.fill("#search", "");
    await page.fill("#key", "open-sesame");
    assert.match(await snippet.textContent(), /'Authorization: Bearer '"\$API_KEY"/);
    await button("Send").click();
    await seen(HALF);
    await model.release();
    await seen(LONG);
    const everything = await page.evaluate(() =>
      JSON.stringify([localStorage, sessionStorage, document.cookie]) +
      document.documentElement.outerHTML
    );
    assert(!everything.includes("sesame"));
  }, { failing: true });

  person("without a log, under a path: both pages stream, and do not resume", async (someone) => {
    const wire = await wireTo(bare);
    try {
      const page = await openChat(someone, { url: `${wire.url}/llm/v2` });
      await ask(page, "long");
      await note(page, "The model came to its limit.").waitFor();
      assert.equal(await textOf(page), "long");
      assert.equal(await page.locator(".reasoning p").textContent(), "They ask: long");
      await page.click(".reasoning summary");
      await ask(page, "forbidden");
      await note(page, "The rest of the answer was withheld.").waitFor();
      assert.equal(await textOf(page), "I cannot help.");
      // What the page sends is none of the schema's.
      await ask(page, "for ever");
      await answered(page, "for ever");
      await page.keyboard.press("Escape");
      await note(page, "Stopped.").waitFor();
      const stats = { url: `${bare.url}/llm/v2` };
      await until(async () => (await statsOf(stats)).active.sources === 0, "no source is left");
      await ask(page, "for ever");
      await answered(page, "for ever");
      wire.cut();
      await note(page, "The answer was cut off.").waitFor();

      await page.click("header a");
      await page.waitForSelector("form");
      // Names and descriptions of the document are text.
      const markup = page.getByText("<img src=x onerror", { exact: false });
      assert(await markup.count() >= 5);
      assert.equal(await page.locator("img, a[href^=javascript]").count(), 0);
      const { body, button, seen } = tryOf(page, "stream");
      await body.fill(JSON.stringify({ question: TUTORIAL }));
      await button("Send").click();
      await seen(TUTORIAL);
      assert(await button("Resume").isDisabled());
      await page.click("#chat");
      await page.waitForSelector("#log");
    } finally {
      wire.close();
    }
  }, { failing: true });
}

/** What is the pages' own: they are the same bytes on both runtimes, so it is looked at on one. */
function looks() {
  let echo, model, relay;
  before(async () => {
    model = await startModel();
    [echo, relay] = await Promise.all([
      startServer("bun", { TOKEN_DELAY_MS: "10" }),
      startServer("bun", model.environment),
    ]);
  });
  after(async () => {
    model?.stop();
    await Promise.all([echo, relay].map((server) => server?.stop()));
  });

  const DESK = { viewport: { width: 1100, height: 700 } };
  const LOOKS = {
    light: { ...DESK, colorScheme: "light" },
    phone: { viewport: { width: 360, height: 640 }, isMobile: true, hasTouch: true },
  };
  const overflow = (page) => page.evaluate(() => document.body.scrollWidth - innerWidth);
  for (const [look, options] of Object.entries(LOOKS)) {
    person(`${look}: the chat page keeps nobody out, and fits`, async (someone) => {
      const page = await openChat(someone, echo);
      assert.deepEqual(await barriers(page), []);
      await ask(page, TUTORIAL);
      await answered(page, TUTORIAL);
      await answered(page);
      assert.deepEqual(await barriers(page), []);
      assert(await overflow(page) <= 0);
      await page.emulateMedia({ colorScheme: "dark" });
      assert.deepEqual(await barriers(page, "color-contrast"), []);
    }, options);

    person(`${look}: the reference keeps nobody out, and fits`, async (someone) => {
      const { page, article, button, seen } = await openDocs(someone, echo);
      await button("Send").click();
      await seen(TUTORIAL);
      for (const title of ["Parameters", "Body", "Responses"]) {
        await article.getByRole("heading", { name: title, exact: true }).click();
      }
      assert.deepEqual(await barriers(page), []);
      assert(await overflow(page) <= 0);
      await page.emulateMedia({ colorScheme: "dark" });
      assert.deepEqual(await barriers(page, "color-contrast"), []);
    }, options);
  }

  person("chat: keys send, begin a line, and leave an input method alone", async (someone) => {
    const page = await openChat(someone, echo);
    const field = page.locator("#query");
    await field.pressSequentially("one");
    await field.press("Shift+Enter");
    await field.pressSequentially("two");
    await field.evaluate((element) => {
      const init = { key: "Enter", isComposing: true, bubbles: true, cancelable: true };
      element.dispatchEvent(new KeyboardEvent("keydown", init));
    });
    assert.equal(await page.locator("article").count(), 0, "that Enter ends a word");
    await field.press("Enter");
    await answered(page, "one\ntwo");
    await answered(page);
    assert.equal(await field.inputValue(), "");
    assert(await field.evaluate((element) => element === document.activeElement));
    await field.press("Enter");
    assert.equal(await page.locator("article").count(), 1, "nothing is not sent");
  });

  person("chat: a button stops it, in each tab, and motion can be left out", async (someone) => {
    const page = await openChat(someone, relay);
    const other = await openChat(someone, relay);
    for (const stopping of [page, other]) {
      await ask(page, LONG);
      await answered(stopping, HALF);
      const answer = stopping.locator(".answer p").last();
      const name = await answer.evaluate((e) => getComputedStyle(e, "::after").animationName);
      assert.equal(name, "none");
      await stopping.click("#stop");
      for (const each of [page, other]) {
        await note(each, "Stopped.").waitFor();
        assert.equal(await textOf(each), HALF);
      }
    }
  }, { reducedMotion: "reduce" });

  person("chat: who scrolls up is left there, and finds the way back", async (someone) => {
    const page = await openChat(someone, relay);
    const lines = Array.from({ length: 200 }, (_, i) => `line ${i}`).join("\n");
    await ask(page, lines);
    const atEnd = () => {
      const log = document.querySelector("#log");
      return log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    };
    await holds(page, () => document.querySelector(".answer")?.textContent.includes("line 90"));
    await holds(page, atEnd);
    await page.hover("#log");
    await page.mouse.wheel(0, -600);
    await page.locator("#latest").waitFor();
    const top = await page.evaluate(() => document.querySelector("#log").scrollTop);
    await model.release();
    await answered(page, lines);
    assert.equal(await page.evaluate(() => document.querySelector("#log").scrollTop), top);
    await page.click("#latest");
    await holds(page, atEnd);
    await page.locator("#latest").waitFor({ state: "hidden" });
  });

  person("docs: every operation is there, and every link leads somewhere", async (someone) => {
    const { page, article } = await openDocs(someone, echo);
    const { paths } = await (await fetch(`${echo.url}/openapi.json`)).json();
    const operations = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`)
    );
    const shown = await page.locator("article:has(.method) h3").evaluateAll((all) =>
      all.map(({ children }) => `${children[0].textContent} ${children[1].textContent}`)
    );
    assert.deepEqual(shown.sort(), operations.sort());
    assert(shown.length >= 12);
    const reference = await article.textContent();
    for (
      const text of ["query: string", "422", "invalid_input", "text/event-stream", "each item"]
    ) {
      assert(reference.includes(text), text);
    }
    const links = await page.locator("a[href^='#']").evaluateAll((all) =>
      all.map(({ hash }) => [hash, document.getElementById(hash.slice(1)) !== null])
    );
    assert(links.length > shown.length);
    assert.deepEqual(links.filter(([, found]) => !found), []);
  });

  person("docs: every stream shows its text, and what is none its body", async (someone) => {
    const { page, select, button, seen } = await openDocs(someone, echo);
    for (const format of ["text", "ndjson", "plain"]) {
      await select("format").selectOption(format);
      await button("Send").click();
      await seen(TUTORIAL);
      await until(() => button("Send").isEnabled(), "the end");
    }
    for (const id of ["createChatCompletion", "createMessage", "chat"]) {
      const { open, button, seen } = tryOf(page, id);
      await open();
      await button("Send").click();
      await seen("Hello?");
      await until(() => button("Send").isEnabled(), "the end");
    }
    for (const [id, body] of [["health", '"status": "ok"'], ["chatPage", "<!doctype html>"]]) {
      const { open, button, wire } = tryOf(page, id);
      await open();
      await button("Send").click();
      await until(async () => (await wire()).includes(body), body);
    }
    // The last chat and a model's name are filled in.
    const chat = tryOf(page, "resumeChat");
    await chat.open();
    assert.notEqual(await page.locator("#op-resumeChat input").first().inputValue(), "");
    const model = tryOf(page, "retrieveModel");
    await model.open();
    await holds(page, () => document.querySelector("#op-retrieveModel input")?.value !== "");
    await model.button("Send").click();
    await until(async () => (await model.wire()).includes("owned_by"), "the model");
    // What was begun last can be joined.
    const joining = tryOf(page, "resume");
    await joining.open();
    await joining.button("Send").click();
    await joining.seen("Hello?");
  });

  person("docs: the snippets are of the request at hand, and run", async (someone) => {
    const { page, body, select, button, snippet } = await openDocs(someone, echo);
    await body.fill(JSON.stringify({ query: "it's $HOME" }));
    await select("Accept").selectOption("text/plain");
    const { stdout } = await promisify(execFile)("sh", ["-c", await snippet.textContent()]);
    assert.equal(stdout, "it's $HOME");
    await select("Accept").selectOption("text/event-stream");
    await button("EventSource").click();
    assert.equal(await button("EventSource").getAttribute("aria-pressed"), "true");
    assert(await button("EventSource").evaluate((element) => element === document.activeElement));
    const printed = await page.evaluate((code) =>
      new Promise((resolve, reject) => {
        const tokens = [];
        const run = new (async () => {}).constructor("console", "EventSource", code);
        class Source extends EventSource {
          close() {
            super.close();
            resolve(tokens.join(""));
          }
        }
        run({ log: (token) => tokens.push(token) }, Source).catch(reject);
      }), await snippet.textContent());
    assert.equal(printed, "it's $HOME");
  });

  person("chat: failures are told, kindly enough, and tried again", async (someone) => {
    const wire = await wireTo(relay);
    try {
      const page = await openChat(someone, wire);
      const again = () => page.getByRole("button", { name: "Try again" }).click();
      wire.down = true;
      wire.cut();
      await ask(page, "Hello?");
      await note(page, "The server could not be reached.").waitFor();
      wire.down = false;
      model.answer = (response) => response.writeHead(401).end();
      await again();
      await note(page, "The upstream did not respond with an event stream.").waitFor();
      model.answer = (response) => {
        response.writeHead(200, { "content-type": "text/event-stream" });
        response.write(model.chunk({ content: "Half of the" }));
        setTimeout(() => response.end(), 50);
      };
      await again();
      await note(page, "The upstream ended before its answer was complete.").waitFor();
      assert.equal(await textOf(page), "Half of the");
      assert.deepEqual(await barriers(page), []);
      model.holds = false;
      await again();
      await answered(page, "Hello?");
      await answered(page);
      assert.equal(await page.locator("article").count(), 1);
      await ask(page, "And then?");
      await answered(page, "And then?");
      model.holds = true;
      // The model is told what was said, and not what failed.
      assert.deepEqual(model.asked.at(-1), [
        { role: "user", content: "Hello?" },
        { role: "assistant", content: "Hello?" },
        { role: "user", content: "And then?" },
      ]);
    } finally {
      wire.close();
    }
  }, { failing: true });

  person("chat: conversations are listed, and none is deleted without asking", async (someone) => {
    const page = await openChat(someone, relay);
    await ask(page, "**first** one");
    await page.keyboard.type("and next");
    await page.keyboard.press("Enter");
    await page.locator("#hint.next").waitFor();
    await model.release();
    // The next message is sent by itself, and its answer waits in its middle.
    await answered(page, "and ");
    assert.equal(await page.locator(".answer strong").textContent(), "first");
    await model.release();
    await answered(page, "and next");
    await page.click("#clear");
    await page.waitForSelector("#welcome:not([hidden])");
    await page.click("text=Chats");
    await page.getByRole("button", { name: "Delete: **first** one" }).click();
    await page.click("#keep");
    await page.click("text=Chats");
    await page.click("#list li button");
    assert.equal(await page.locator(".turn").count(), 2);
    await page.click("text=Chats");
    await page.getByRole("button", { name: "Delete: **first** one" }).click();
    await page.click("#delete");
    await page.waitForSelector("#welcome:not([hidden])");
    await page.reload();
    assert.equal(await page.locator(".turn").count(), 0);
  });

  person("chat: an answer that the server has forgotten is told of", async (someone) => {
    const wire = await wireTo(relay);
    try {
      const page = await openChat(someone, wire);
      await ask(page, LONG);
      await answered(page, HALF);
      // Another server takes its place, which never knew of it.
      wire.port = echo.port;
      wire.cut();
      await note(page, "The server no longer has this answer.").waitFor();
      assert.equal(await textOf(page), HALF);
    } finally {
      wire.close();
    }
  }, { failing: true });
}

function allOn(runtime) {
  streams(runtime);
  chatCases(runtime);
  docsCases(runtime);
}

describe("pages", { skip: chromiumIsMissing, concurrency: 3 }, () => {
  before(openBrowser);
  after(closeBrowser);
  describe("on Bun", { concurrency: 1 }, () => allOn("bun"));
  describe("on Deno", { concurrency: 1 }, () => allOn("deno"));
  describe("on either", { concurrency: 1 }, looks);
});
