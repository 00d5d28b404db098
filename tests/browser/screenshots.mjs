/**
 * `npm run screenshots -- folder`: both pages in each of their states, on a desktop and on a phone, in
 * dark and in light, to be looked at after a change of them. It stands apart from the tests because
 * only a person can say whether a page is pleasant.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { launch, profile, startModel, startServer, until } from "./harness.mjs";

const ANSWER =
  `Use a **semaphore**: at most \`limit\` tasks run at a time, and the others wait in order.

\`\`\`ts
export function createLimit(limit: number) {
  const waiting: (() => void)[] = [];
  let running = 0;
  return async <T>(task: () => Promise<T>): Promise<T> => {
    // A long line, so that one can see how a block of code is scrolled instead of being broken.
    if (running >= limit) await new Promise<void>((resolve) => waiting.push(resolve));
    running++;
    try {
      return await task();
    } finally {
      running--;
      waiting.shift()?.();
    }
  };
}
\`\`\`

## How it compares

| approach | in order | memory | a task that fails |
|----------|:--------:|-------:|-------------------|
| semaphore | yes | 48 bytes a task | the next one starts |
| \`Promise.all\` in batches | by batch | the whole batch | **the batch is lost** |
| a queue and workers | yes | 210 bytes a task | the worker ends |

1. Make **one** limit, where the tasks are made.
2. Give each task to it:
   - as a function, not as a promise;
   - with its own \`AbortSignal\`.
3. Wait for all of them.

> A limit of 4 to 8 is enough for most HTTP services.

More is in [the documentation](https://developer.mozilla.org/en-US/docs/Web/JavaScript/Reference/Global_Objects/Promise).`;
const SHORT = "A spillway lets water out of a dam at the rate that the valley below can take. " +
  "Tokens are let out here at the rate that their reader takes them.";

const folder = process.argv[2];
if (!folder) throw new Error("npm run screenshots -- folder");
const only = process.argv.slice(3);
mkdirSync(folder, { recursive: true });

const [browser, model] = await Promise.all([launch(), startModel()]);
const [echo, relay, several] = await Promise.all([
  startServer("bun", { TOKEN_DELAY_MS: "40" }),
  startServer("bun", model.environment),
  startServer("bun", {}, "tests/browser/several.ts"),
]);

const ask = async (page, query) => {
  await page.fill("#query", query);
  await page.press("#query", "Enter");
};
const shows = (page, text) =>
  page.waitForFunction((text) => document.body.innerText.includes(text), text);
const ended = (page) => page.waitForFunction(() => !document.querySelector(".live"));
const conversation = async (page) => {
  const first = model.next();
  await ask(page, "What is a spillway?");
  await first.say(SHORT);
  await first.end();
  await ended(page);
};
const send = async (page, id = "stream") => {
  const button = page.locator(`#op-${id}`).getByRole("button", { name: "Send", exact: true });
  await button.click();
  return button;
};

/** Each state of a page: where it is, and how one comes to it. */
const scenes = {
  "chat-empty": [relay, "/", () => {}],
  "chat-echo": [echo, "/", () => {}],
  "chat-midstream": [relay, "/", async (page) => {
    await conversation(page);
    const { say, end } = model.next();
    await ask(page, "How do I limit the number of tasks that run at a time?");
    await say(ANSWER.slice(0, ANSWER.indexOf("running--")));
    await shows(page, "} finally {");
    return end;
  }],
  "chat-error": [relay, "/", async (page) => {
    await conversation(page);
    const { say, fail } = model.next();
    await ask(page, "And how high is it?");
    await say("That depends on the");
    await shows(page, "depends on the");
    await fail();
    await shows(page, "Try again");
  }],
  "chat-limited": [relay, "/", async (page) => {
    model.next(429, { "retry-after": "30" });
    await ask(page, "What is a spillway?");
    await shows(page, "Try again");
  }],
  "chat-stop": [relay, "/", async (page) => {
    const { say, end } = model.next();
    await ask(page, "What is a spillway?");
    await say(SHORT.slice(0, 90));
    await shows(page, "valley");
    await page.click("#stop");
    await shows(page, "Stopped.");
    return end;
  }],
  "chat-reload": [relay, "/", async (page) => {
    await conversation(page);
    const { say, end } = model.next();
    await ask(page, "How do I limit the number of tasks that run at a time?");
    await say(ANSWER.slice(0, ANSWER.indexOf("| a queue")));
    await shows(page, "the batch is lost");
    await page.reload();
    await shows(page, "the batch is lost");
    await page.waitForSelector(".live");
    return end;
  }],
  "chat-long": [relay, "/", async (page) => {
    const { say, end } = model.next();
    await ask(page, "How do I limit the number of tasks that run at a time?");
    await say(ANSWER);
    await end();
    await ended(page);
    await page.hover("#log");
    await page.mouse.wheel(0, -600);
  }],
  "chat-long-end": [relay, "/", async (page) => {
    const { say, end } = model.next();
    await ask(page, "How do I limit the number of tasks that run at a time?");
    await say(ANSWER);
    await end();
    await ended(page);
  }],
  "chat-list": [relay, "/", async (page) => {
    await conversation(page);
    await page.click("#clear");
    const { say, end } = model.next();
    await ask(page, "How do I limit the number of tasks that run at a time?");
    await say(ANSWER);
    await end();
    await ended(page);
    await page.click("text=Chats");
    await page.waitForSelector("#chats:popover-open");
  }],
  "chat-delete": [relay, "/", async (page) => {
    await conversation(page);
    await page.click("text=Chats");
    await page.getByRole("button", { name: "Delete: What is a spillway?" }).click();
    await page.waitForSelector("#sure[open]");
  }],
  "chat-reasoning": [several, "/", async (page) => {
    await page.waitForSelector("#model:not([hidden])");
    await ask(page, "think");
    await shows(page, "It is asked");
  }],
  "chat-model": [several, "/", async (page) => {
    await page.waitForSelector("#model:not([hidden])");
    await ask(page, "What is a spillway?");
    await ended(page);
  }],
  "docs-top": [relay, "/docs", () => {}],
  "docs-sent": [echo, "/docs", async (page) => {
    const button = await send(page);
    await until(() => button.isEnabled(), "the end");
    await page.locator("#op-stream .buttons").first().scrollIntoViewIfNeeded();
    await page.locator("#op-stream .results").scrollIntoViewIfNeeded();
  }],
  "docs-error": [echo, "/docs", async (page) => {
    await page.locator("#op-stream textarea").fill('{"quary": 1}');
    await send(page);
    await page.locator(".problem").first().scrollIntoViewIfNeeded();
  }],
  "docs-responses": [relay, "/docs", async (page) => {
    for (const title of ["Parameters", "Body", "Responses"]) {
      const article = page.locator("#op-createResponse");
      const part = article.getByRole("heading", { name: title, exact: true });
      if (await part.count() > 0) await part.click();
    }
    await page.locator("#op-createResponse").scrollIntoViewIfNeeded();
  }],
  "docs-search": [relay, "/docs", (page) => page.fill("#search", "responses")],
};

const sizes = {
  desktop: { viewport: { width: 1280, height: 800 } },
  phone: { viewport: { width: 390, height: 780 }, isMobile: true, hasTouch: true },
};
for (const [size, options] of Object.entries(sizes)) {
  for (const colorScheme of ["dark", "light"]) {
    for (const [name, [server, path, act]] of Object.entries(scenes)) {
      if (
        only.length > 0 && !only.some((word) => `${name}-${size}-${colorScheme}`.includes(word))
      ) continue;
      const { open, close } = await profile(browser, { ...options, colorScheme });
      const page = await open();
      page.setDefaultTimeout(150_000);
      await page.goto(server.url + path);
      if (path === "/docs") await page.waitForSelector("form");
      const end = await act(page);
      await page.waitForTimeout(150);
      await page.screenshot({ path: join(folder, `${name}-${size}-${colorScheme}.png`) });
      await end?.();
      await close();
      process.stdout.write(".");
    }
  }
}
process.stdout.write("\n");
model.stop();
await Promise.all([browser.close(), echo.stop(), relay.stop(), several.stop()]);
