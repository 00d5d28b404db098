/** What the reference shows of a service, and of each request that it sends. */
import assert from "node:assert/strict";
import { after, before } from "node:test";
import { startModel, startServer, until } from "./harness.mjs";
import { barriers, HALF, LONG, openDocs, person, tryOf } from "./steps.mjs";

/** Operations whose text is shown as it comes, each in the format of its API. */
const STREAMS = [
  "stream",
  "createChatCompletion",
  "createResponse",
  "createMessage",
  "chat",
  "runAgent",
  "pageChat",
];

/** On a runtime. */
export function docsCases(runtime) {
  let model, relay, echo, several;
  before(async () => {
    model = await startModel();
    [relay, echo, several] = await Promise.all([
      startServer(runtime, model.environment),
      startServer(runtime, { TOKEN_DELAY_MS: "3" }),
      startServer(runtime, {}, "tests/browser/several.ts"),
    ]);
  });
  after(async () => {
    model?.stop();
    await Promise.all([relay, echo, several].map((server) => server?.stop()));
  });

  person("docs: what the API is stands on top, with its document", async (someone) => {
    const { page } = await openDocs(someone, several);
    assert.equal(await page.title(), "Answers API");
    assert.equal(await page.locator("header h1").innerText(), "Answers\n2.1");
    const description = page.locator("main > :first-child");
    assert.equal(await description.innerText(), "What small and large say.");
    assert.deepEqual(await description.locator("code").allTextContents(), ["small", "large"]);
    const link = page.locator("header").getByRole("link", { name: "openapi.json" });
    assert.equal(await link.evaluate(({ href }) => href), `${several.url}/openapi.json`);
    // The entry's own API is described as well.
    await page.goto(`${echo.url}/docs`);
    await page.getByText("A language model's answers as streams of tokens").waitFor();
    assert.match(await page.locator("header h1").innerText(), /^Spillway\n\d+\.\d+\.\d+$/);
  });

  person("docs: a search leaves what has the words, under its headings", async (someone) => {
    const { page } = await openDocs(someone, echo);
    const shown = async () => ({
      links: await page.locator("nav li:visible").allInnerTexts(),
      headings: await page.locator("main h2:visible").allInnerTexts(),
      articles: await page.locator("main article:visible").count(),
    });
    const all = await shown();
    await page.fill("#search", "list models");
    assert.deepEqual(await shown(), {
      links: ["GET\n/v1/models"],
      headings: ["openai"],
      articles: 1,
    });
    await page.fill("#search", "UsaGe");
    assert.deepEqual(await shown(), {
      links: [],
      headings: ["schemas"],
      articles: 1,
    });
    await page.fill("#search", "nowhere at all");
    await page.getByText("Nothing here has that name.").waitFor();
    await page.fill("#search", "");
    assert.deepEqual(await shown(), all);
    assert.equal(await page.locator("#nothing").isVisible(), false);
  });

  person("docs: an error is told beside the button, each fault once", async (someone) => {
    const { page, article, body, button, text } = await openDocs(someone, relay);
    await body.fill('{"quary": 1}');
    await button("Send").click();
    const problem = article.locator(".problem");
    await problem.getByText("The input does not match the schema").waitFor();
    assert.equal(
      await problem.innerText(),
      "The input does not match the schema\n/query: Required",
    );
    const isSeen = (element) =>
      element.evaluate((element) => {
        const { top, bottom } = element.getBoundingClientRect();
        return top >= 0 && bottom <= innerHeight;
      });
    assert(await isSeen(problem), "without scrolling");
    assert.deepEqual(await barriers(page), []);
    // In mid-stream, in the words of each API.
    for (const id of STREAMS) {
      const { article, button, open, text } = tryOf(page, id);
      if (id !== "stream") await open();
      else await body.fill(JSON.stringify({ query: "Hello?" }));
      const { say, fail } = model.next();
      await button("Send").click();
      await say("Half of");
      await until(async () => (await text()) === "Half of", `${id} shows its text`);
      await fail();
      await article.locator(".problem", { hasText: "The upstream ended" }).waitFor();
      assert.equal(await article.locator(".figures").getByText("ended").count(), 1, id);
    }
    assert.equal(await text(), "Half of");
  }, { failing: true });

  person("docs: every route can be sent, with what was begun last", async (someone) => {
    const { page } = await openDocs(someone, echo);
    const sent = {};
    const ids = await page.locator("article:has(.method)").evaluateAll((all) =>
      all.map(({ id }) => id.slice("op-".length))
    );
    // What ends a response comes after what reads it.
    const last = ["stop", "cancelResponse", "deleteResponse"];
    for (
      const id of [
        ...ids.filter((id) => !last.includes(id) && !id.startsWith("join")),
        "join",
        "joinRun",
        ...last,
      ]
    ) {
      const { article, button, open, text } = tryOf(page, id);
      if (id !== "stream") await open();
      // A run that has a name can be joined by it.
      const name = article.getByLabel("X-Run-Id");
      if (await name.count() > 0) await name.fill(`a-name-of-22-characters-${id}`);
      for (const input of await article.locator("input:required").all()) {
        await until(async () => await input.inputValue() !== "", `${id} is filled in`);
      }
      await button("Send").click();
      const status = article.locator(".figures dd").first().filter({ hasText: /^\d/ });
      await status.waitFor();
      await until(() => button("Send").isEnabled(), `the end of ${id}`);
      sent[id] = await status.innerText();
      if (STREAMS.includes(id)) assert.match(await text(), /^(Hello\?|Streaming response)/, id);
    }
    const failed = Object.entries(sent).filter(([, status]) => !status.startsWith("2"));
    assert.deepEqual(failed, []);
    assert.equal(Object.keys(sent).length, ids.length);
    // The snippets are of the same addresses.
    const { snippet } = tryOf(page, "resume");
    const name = await page.locator("#op-resume input.stream").inputValue();
    assert((await snippet.textContent()).includes(name));
  }, { failing: true });

  person("docs: what is replayed is no gap", async (someone) => {
    const { page, article, body, button, seen } = await openDocs(someone, relay);
    await body.fill(JSON.stringify({ query: LONG }));
    await button("Send").click();
    await seen(HALF);
    await button("Cut the network").click();
    await until(() => button("Resume").isEnabled(), "it is cut off");
    const joined = tryOf(page, "resume");
    await joined.open();
    await joined.button("Send").click();
    const { bars, figures } = await joined.seen(HALF);
    assert.equal(bars, "");
    assert.match(figures, /Tokens per second\s+–/);
    await model.release();
    await joined.seen(LONG);
    assert.equal(await article.locator(".problem").isVisible(), false);
  });

  person("docs: on a phone the first route can be tried above the list", async (someone) => {
    const { page } = await openDocs(someone, echo);
    const tops = await page.evaluate(() =>
      ["#op-stream form", "#search", "nav ul", "#op-join"].map((selector) =>
        document.querySelector(selector).getBoundingClientRect().top
      )
    );
    assert.deepEqual(tops, [...tops].sort((a, b) => a - b));
    assert(tops[0] < 780, "its form is on the first screen");
  }, { viewport: { width: 390, height: 780 }, isMobile: true, hasTouch: true });
}
