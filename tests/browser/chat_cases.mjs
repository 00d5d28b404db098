/** What the chat page makes of an answer, and what it says where there is none. */
import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import { launch, profile, startModel, startServer, statsOf, until } from "./harness.mjs";
import { answered, ask, barriers, holds, note, openChat, person, textOf } from "./steps.mjs";

const MARKDOWN = `# A semaphore

At most **four** tasks run, the *others* wait in \`waiting\`.

1. Make it.
2. Use it:
   - as a [function](https://example.com/a?b=c#d);
   - with a signal.

| approach | memory |
|----------|-------:|
| one | 48 |
| \`all\` | **whole** |

\`\`\`ts
const long = "${"a line that is scrolled, ".repeat(8)}";
\`\`\`

> It is enough.`;

/** What must be shown as text, soon, and make no element but those of text. */
const HOSTILE = {
  "addresses of scripts":
    "[a](javascript:alert(1)) ![b](data:text/html,<script>) <javascript:alert(2)>",
  "HTML":
    `<img src=x onerror="alert(3)"><iframe srcdoc="<script>alert(4)</script>"><a href=x>y</a>`,
  "a table in a table": "| <table><tr><td>| a |</td></tr></table> | b |",
  "10,000 open brackets": "[".repeat(10_000),
  "marks of direction": "a \u202eb\u2066c\u200f d",
};

const TURNS = 19;
const SECTIONS = TURNS * 112;
/** 100,000 tokens, in 10,600 blocks. */
const ENDLESS = `## A section of it\n
It is \`short\`, and says *little* of what there is to say.\n
- one **bold** item\n- and another\n
\`\`\`ts\nconst x = 1;\n\`\`\`\n
`.repeat(SECTIONS).match(/\s*\S{1,3}/g);

const TASKS = ["toplevel"];

/** The longest task of a renderer in a trace, in milliseconds of processor time. */
function longestTask(trace) {
  const { traceEvents } = JSON.parse(trace);
  const threads = traceEvents.filter(({ args }) => args?.name === "CrRendererMain");
  const tasks = traceEvents.filter(({ name, pid, tid }) =>
    name === "ThreadControllerImpl::RunTask" &&
    threads.some((thread) => thread.pid === pid && thread.tid === tid)
  );
  return Math.max(...tasks.map(({ tdur = 0 }) => tdur)) / 1000;
}

const openPopover = (page) => page.getByRole("button", { name: "Chats", exact: true }).click();
const hint = (page, text) => page.locator("#hint", { hasText: text }).waitFor();
const gone = (page, selector) => page.locator(selector).waitFor({ state: "hidden" });

/** On a runtime. */
export function chatCases(runtime) {
  let model, relay, echo, several;
  before(async () => {
    model = await startModel();
    [relay, echo, several] = await Promise.all([
      startServer(runtime, model.environment),
      startServer(runtime, { TOKEN_DELAY_MS: "5" }),
      startServer(runtime, {}, "tests/browser/several.ts"),
    ]);
  });
  after(async () => {
    model?.stop();
    await Promise.all([relay, echo, several].map((server) => server?.stop()));
  });

  person("chat: markdown is elements, whose text is a click away", async (someone) => {
    await someone.context.grantPermissions(["clipboard-read", "clipboard-write"]);
    const page = await openChat(someone, relay);
    const { say, end } = model.next();
    await ask(page, "How?");
    const middle = MARKDOWN.indexOf("| one");
    await say(MARKDOWN.slice(0, middle));
    await page.waitForSelector(".answer th");
    // What is there stays there while more comes.
    await page.evaluate(() => {
      globalThis.removed = [];
      const first = [...document.querySelector(".answer").children];
      new MutationObserver((changes) =>
        changes.forEach(({ removedNodes }) =>
          globalThis.removed.push(...[...removedNodes].filter((node) => first.includes(node)))
        )
      ).observe(document.querySelector(".answer"), { childList: true });
    });
    await say(MARKDOWN.slice(middle));
    await end();
    await answered(page);
    assert.equal(await page.evaluate(() => globalThis.removed.length), 0);
    const shown = () =>
      page.locator(".answer").evaluate((answer) =>
        [...answer.querySelectorAll("h3, strong, em, ol > li > p, ul > li, a, th, td, pre code")]
          .map((element) => `${element.localName} ${element.className} ${element.textContent}`)
      );
    const elements = await shown();
    for (
      const element of [
        "h3  A semaphore",
        "strong  four",
        "em  others",
        "p  Use it:",
        "li  with a signal.",
        "th right memory",
        "td right whole",
      ]
    ) assert(elements.includes(element), `${element} in ${elements.join("\n")}`);
    const link = page.locator(".answer a");
    assert.equal(await link.getAttribute("href"), "https://example.com/a?b=c#d");
    assert.match(await link.getAttribute("rel"), /noopener noreferrer/);
    assert.equal(await link.getAttribute("target"), "_blank");
    const code = await page.locator(".answer pre").evaluate((pre) => ({
      scrolls: pre.scrollWidth > pre.clientWidth && getComputedStyle(pre).overflowX === "auto",
      font: getComputedStyle(pre.firstChild).fontFamily,
      fits: document.body.scrollWidth <= innerWidth,
    }));
    assert.deepEqual([code.scrolls, code.fits], [true, true]);
    assert.match(code.font, /mono/);
    // The tests of another runtime, beside these, copy to the same clipboard.
    const copies = (name, isRight) =>
      until(async () => {
        await page.locator(name).click();
        await page.locator("#status", { hasText: "Copied." }).waitFor({ state: "attached" });
        return isRight(await page.evaluate(() => navigator.clipboard.readText()));
      }, `a copy by ${name}`);
    await copies(".answer .bar button", (text) => /^const long = ".*";$/.test(text));
    await copies(".turn .tools button:nth-child(2)", (text) => text === MARKDOWN);
    await page.getByRole("button", { name: "Plain text" }).click();
    assert.equal(await page.locator(".raw").textContent(), MARKDOWN);
    await page.reload();
    assert.deepEqual(await shown(), elements);
    assert.deepEqual(await barriers(page), []);
  });

  person("chat: hostile markdown is text, and is so quickly", async (someone) => {
    const page = await openChat(someone, relay);
    const session = await someone.context.newCDPSession(page);
    await session.send("Performance.enable");
    const scriptTime = async () => {
      const { metrics } = await session.send("Performance.getMetrics");
      return metrics.find(({ name }) => name === "ScriptDuration").value;
    };
    for (const [name, text] of Object.entries(HOSTILE)) {
      const { say, end } = model.next();
      const before = await scriptTime();
      await ask(page, name);
      await say(text);
      await end();
      await answered(page, text);
      await answered(page);
      const took = await scriptTime() - before;
      assert(took < 2, `${name}: ${took} s`);
    }
    const { say, end } = model.next();
    await ask(page, "a fence that never ends");
    await say(`\`\`\`\n${"x < y\n".repeat(2000)}`);
    await end();
    await answered(page);
    assert.equal((await page.locator(".answer pre").textContent()).length, 6 * 2000 - 1);
    const made = page.locator(".answer :is(img, script, iframe, svg, a, table, style, input)");
    assert.equal(await made.count(), 0);
    // A mark of direction ends with its paragraph, and turns nothing beside it.
    const query = page.locator(".answer p").first();
    assert.equal(await query.evaluate((e) => getComputedStyle(e).unicodeBidi), "plaintext");
  });

  test("chat: 100,000 tokens at once leave the page its frames", { timeout: 60_000 }, async () => {
    const isAtEnd = () => {
      const { scrollHeight, scrollTop, clientHeight } = document.querySelector("#log");
      return scrollHeight - scrollTop - clientHeight < 2;
    };
    const text = ENDLESS.join("");
    const hasAll = (all) => document.querySelectorAll(".answer pre").length === all;
    // A browser takes one trace at a time, and the runtimes share the other one.
    const browser = await launch();
    const longest = { streamed: Infinity, reloaded: Infinity };
    try {
      for (let runs = 0; runs < 3 && Math.max(...Object.values(longest)) > 50; runs++) {
        const someone = await profile(browser);
        const page = await openChat(someone, relay);
        const traced = async (name, act) => {
          await browser.startTracing(page, { categories: TASKS });
          await act();
          await holds(page, hasAll, SECTIONS);
          await holds(page, isAtEnd);
          longest[name] = Math.min(longest[name], longestTask(await browser.stopTracing()));
        };
        model.answer = (response) => {
          response.writeHead(200, { "content-type": "text/event-stream" });
          response.write(ENDLESS.map((content) => model.chunk({ content })).join(""));
          response.end(`${model.chunk({}, "stop")}data: [DONE]\n\n`);
        };
        await traced("streamed", async () => {
          await ask(page, "Everything?");
          await page.waitForSelector(".live");
          await answered(page);
        });
        // Whoever scrolls up is left there, and can come back.
        await page.hover("#log");
        await page.mouse.wheel(0, -20_000);
        await page.locator("#latest").click();
        await holds(page, isAtEnd);
        // A heading stands off from what is before it, also where the blocks begin another part.
        const gaps = await page.evaluate(() =>
          [...document.querySelectorAll(".answer h4")].slice(-20).map((heading) => {
            const { previousElementSibling, parentElement } = heading;
            const before = previousElementSibling ??
              parentElement.previousElementSibling.lastElementChild;
            const gap = heading.getBoundingClientRect().top - before.getBoundingClientRect().bottom;
            return `${previousElementSibling ? "within" : "first"} ${gap.toFixed(1)}`;
          })
        );
        assert.deepEqual([...new Set(gaps)].sort(), ["first 22.4", "within 22.4"]);
        // The same as a long conversation, which was kept.
        await page.evaluate(([text, turns]) => {
          const [key] = Object.keys(localStorage);
          const kept = JSON.parse(localStorage.getItem(key));
          const length = text.length / turns;
          for (let turn = 0; turn < turns; turn++) {
            const part = text.slice(turn * length, (turn + 1) * length);
            localStorage.setItem(`${key}${turn || ""}`, JSON.stringify({ ...kept, text: part }));
          }
        }, [text, TURNS]);
        await someone.context.addInitScript(() =>
          addEventListener("DOMContentLoaded", () => {
            globalThis.atOnce = document.querySelector("#log").textContent.length;
          })
        );
        await traced("reloaded", async () => {
          await page.reload();
          // What is formatted is shorter: it has no marks.
          const atOnce = await page.evaluate(() => globalThis.atOnce);
          const { length } = text;
          assert(atOnce > 0.75 * length, `at once there were ${atOnce} of ${length} characters`);
          // A turn that is far from the view costs nothing.
          await holds(page, () => {
            const first = document.querySelector(".answer p");
            return !first.checkVisibility({ contentVisibilityAuto: true });
          });
        });
        assert.deepEqual(someone.faults, []);
        await someone.close();
      }
    } finally {
      await browser.close();
    }
    for (const [name, ms] of Object.entries(longest)) {
      assert(ms <= 50, `${name}: the longest task took ${ms} ms`);
    }
  });

  person("chat: several models can be picked from, one cannot", async (someone) => {
    const page = await someone.open();
    const models = page.waitForResponse("**/v1/models");
    await page.goto(`${relay.url}/`);
    await (await models).finished();
    assert.equal(await page.locator("#model").isVisible(), false);
    await page.goto(`${several.url}/`);
    await page.waitForSelector("#model:not([hidden])");
    assert.deepEqual(await page.locator("#model option").allTextContents(), ["small", "large"]);
    await page.selectOption("#model", "large");
    await ask(page, "Hello?");
    await answered(page, "large: Hello?");
    await page.locator(".tools", { hasText: "large" }).waitFor();
    await page.reload();
    await page.waitForSelector("#model:not([hidden])");
    assert.equal(await page.locator("#model").inputValue(), "large");
    await page.selectOption("#model", "small");
    // What is asked again is asked of the model that it was asked of.
    await ask(page, "fail");
    await note(page, "Try again").waitFor();
    await page.selectOption("#model", "large");
    await page.getByRole("button", { name: "Try again" }).click();
    await answered(page, "small: fail");
    assert.deepEqual(await barriers(page), []);
  }, { failing: true });

  person(
    "chat: it says what has no model behind it, and where nothing is said",
    async (someone) => {
      const page = await openChat(someone, echo);
      await page.locator("#echo", { hasText: "the echo repeats what you send" }).waitFor();
      assert.equal(await page.locator("#unmapped").count(), 0);
      await page.goto(`${several.url}/`);
      assert.equal(await page.locator(".notice").count(), 0);
      await ask(page, "nothing");
      await note(page, "The answer is empty.").waitFor();
      assert.equal(await page.locator("#status").textContent(), "The answer is empty.");
      // An application that reads an input of its own.
      await page.goto(`${several.url}/own/`);
      await page.locator("#unmapped", { hasText: "an input of its own" }).waitFor();
      assert.deepEqual(await barriers(page), []);
      await page.click("#unmapped a");
      const article = page.locator("#op-stream");
      await article.getByRole("textbox", { name: "Body", exact: true }).fill('{"question":"why"}');
      await article.getByRole("button", { name: "Send", exact: true }).click();
      await holds(page, () => document.querySelector(".Text").textContent === "WHY");
    },
  );

  person("chat: what is sent while an answer comes waits for its end", async (someone) => {
    const page = await openChat(someone, relay);
    const field = page.locator("#query");
    const first = model.next();
    await ask(page, "one");
    await first.say("uno");
    await answered(page, "uno");
    await ask(page, "two");
    await hint(page, "It is sent when this answer ends.");
    assert.equal(await field.inputValue(), "two", "it is still there");
    await field.press("!");
    assert.equal(await page.locator("#hint.next").count(), 0, "a change takes that back");
    await field.press("Enter");
    await hint(page, "It is sent when this answer ends.");
    const second = model.next();
    await first.end();
    await second.say("due");
    await answered(page, "due");
    assert.deepEqual(await page.locator(".query").allTextContents(), ["one", "two!"]);
    // After a failure it is for the reader to decide.
    await ask(page, "three");
    await second.fail();
    await note(page, "The upstream ended").waitFor();
    assert.equal(await field.inputValue(), "three");
    assert.equal(await page.locator(".turn").count(), 2);
    assert.equal(await page.locator("#hint.next").count(), 0);
  });

  person("chat: reasoning is open while it comes, and folded after", async (someone) => {
    const page = await openChat(someone, relay);
    const { think, say, end } = model.next();
    await ask(page, "Why?");
    await think("Because of");
    const thoughts = page.locator(".reasoning");
    await thoughts.getByText("Because of").waitFor();
    await think(" the dam.");
    await thoughts.getByText("Because of the dam.").waitFor();
    await say("The");
    await answered(page, "The");
    assert.equal(await thoughts.getByText("Because").isVisible(), false, "it is folded");
    await thoughts.locator("summary").click();
    await say(" dam.");
    await answered(page, "The dam.");
    assert(await thoughts.getByText("Because").isVisible(), "who has opened it has it open");
    await end();
    await answered(page);
    await page.reload();
    await answered(page, "The dam.");
    assert.equal(await thoughts.getByText("Because").isVisible(), false);
  });

  person("chat: conversations go on unseen, and none is deleted unasked", async (someone) => {
    const other = await openChat(someone, relay);
    const page = await openChat(someone, relay);
    const first = model.next();
    await ask(page, "first");
    await first.say("begun");
    await answered(page, "begun");
    await page.click("#clear");
    await page.waitForSelector("#welcome:not([hidden])");
    const second = model.next();
    await ask(page, "second");
    await second.say("another");
    await answered(page, "another");
    await first.say(" and ended");
    await first.end();
    const titles = page.locator("#list li button:first-child");
    await openPopover(page);
    assert.deepEqual(await titles.allTextContents(), ["second", "first"]);
    assert.deepEqual(await barriers(page), []);
    await titles.nth(1).click();
    await answered(page, "begun and ended");
    assert.deepEqual(await page.locator(".query").allTextContents(), ["first"]);
    // Neither Escape nor the first button deletes it.
    for (const keep of [() => page.keyboard.press("Escape"), () => page.click("#keep")]) {
      await openPopover(page);
      await page.getByRole("button", { name: "Delete: second" }).click();
      await page.getByRole("heading", { name: "Delete this chat?" }).waitFor();
      assert.deepEqual(await barriers(page), []);
      await keep();
      await gone(page, "#sure");
      assert.equal(await titles.count(), 2);
    }
    assert.equal((await statsOf(relay)).active.sources, 1, "Escape has closed the question alone");
    await openPopover(page);
    await page.getByRole("button", { name: "Delete: second" }).click();
    await page.click("#delete");
    await holds(other, () => document.querySelectorAll("#list li").length === 1);
    await until(async () => (await statsOf(relay)).active.sources === 0, "it is stopped");
    assert.equal(await textOf(page), "begun and ended", "the other is still shown");
    await page.reload();
    assert.deepEqual(await titles.allTextContents(), ["first"]);
  });

  person("chat: what is refused for a time can be tried again after that", async (someone) => {
    await someone.context.clock.install();
    const page = await openChat(someone, relay);
    model.next(429, { "retry-after": "30" });
    await ask(page, "Hello?");
    const again = page.getByRole("button", { name: /^Try again/ });
    const counts = (atMost) =>
      holds(page, (atMost) => {
        const { textContent = "" } = document.querySelector(".note button") ?? {};
        const seconds = Number(/^Try again in (\d+) s$/.exec(textContent)?.[1]);
        return 0 < seconds && seconds <= atMost;
      }, atMost);
    // Time goes on between two steps, on a slow machine by seconds.
    await counts(30);
    await page.clock.fastForward(5000);
    await counts(25);
    assert(await again.isDisabled());
    assert.deepEqual(await barriers(page), []);
    await page.clock.fastForward(30_000);
    await holds(page, () => document.querySelector(".note button").textContent === "Try again");
    const { say, end } = model.next();
    await again.click();
    await say("Hello!");
    await end();
    await answered(page, "Hello!");
    await answered(page);
    assert.equal(await page.locator(".turn").count(), 1);
  }, { failing: true });
}
