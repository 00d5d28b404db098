/**
 * Answers that are cut at any byte, read with the packages that come back by themselves: `EventSource` as
 * its makers have it, and on POST by the recipes of docs/resume.md. The text is exact, and made once.
 * Plain `fetch` is in `tests/behaviour/cuts_test.ts`.
 */
import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import { CUTS, startCutScene } from "../support/cutting_proxy.ts";
import { type AnyEventSource, MAKERS } from "./clients/eventsource.ts";
import { openai } from "./clients/openai.ts";
import { closeRecipes, openRecipes, run } from "./reload.ts";

// Each of them waits a second before it comes back, as the stream says.
const timeout = 60_000 + CUTS * 300;
const pauseMs = 100;

before(openRecipes);
after(closeRecipes);

/** The text that an `EventSource` has when it has closed by itself: at the 204 after the end. */
function readOn(source: AnyEventSource): Promise<string> {
  let text = "";
  const ends: string[] = [];
  source.addEventListener("message", ({ data }) => text += JSON.parse(data).token);
  for (const end of ["done", "failed"]) source.addEventListener(end, () => ends.push(end));
  return new Promise((resolve, reject) => {
    source.addEventListener("error", () => {
      if (source.readyState !== 2) return;
      if (ends.join() === "done") resolve(text);
      else reject(new Error(`Closed for good after ${text.length} characters and [${ends}]`));
    });
  });
}

// The other makers' are tried with three cuts in `replay.interop.ts`, and here in the long set.
const makers = Object.entries(MAKERS).filter(([name]) => CUTS > 100 || name === "eventsource");
for (const [name, Maker] of makers) {
  test(
    `${CUTS} cuts of GET /streaming/{id}, read by EventSource (${name}): exact, and made once`,
    { timeout },
    async () => {
      const scene = await startCutScene(11, { pauseMs });
      try {
        await scene.run(async (query) => {
          const { headers, body } = await fetch(`${scene.url}/streaming`, {
            method: "POST",
            headers: { "content-type": "application/json" },
            body: JSON.stringify({ query }),
          });
          await body!.cancel();
          const id = headers.get("x-stream-id");
          return readOn(new Maker(`${scene.cutter.url}/streaming/${id}`));
        });
      } finally {
        await scene.close();
      }
    },
  );
}

test(
  `${CUTS} cuts of sse() on GET, read by EventSource (eventsource): exact, and made once`,
  { timeout },
  async () => {
    // A GET that starts a generation has no name to come back with before its first event.
    const scene = await startCutScene(12, { pauseMs, sparesFirst: "event" });
    const Maker = MAKERS.eventsource!;
    try {
      await scene.run((query) => readOn(new Maker(`${scene.cutter.url}/sse/${query}`)));
    } finally {
      await scene.close();
    }
  },
);

test(
  `${CUTS} cuts of POST /streaming, read by the recipe for fetch-event-source: exact, and made once`,
  { timeout },
  async () => {
    // Until the head has come there is no name, so what is lost before is asked anew.
    const scene = await startCutScene(13, { pauseMs, sparesFirst: "head" });
    try {
      await scene.run(async (query) => {
        const { prints } = await run("reload_fetch_event_source", scene.cutter.url, query);
        assert.equal(prints.at(-1)?.[0], "done");
        const tokens = prints.slice(0, -1) as [string, { token: string }][];
        return tokens.map(([, { token }]) => token).join("");
      });
    } finally {
      await scene.close();
    }
  },
);

test(
  `${CUTS} cuts of POST /streaming, read by the recipe for eventsource: exact, and made once`,
  { timeout },
  async () => {
    const scene = await startCutScene(14, { pauseMs, sparesFirst: "event" });
    try {
      await scene.run(async (query) => {
        const { prints } = await run("client_eventsource_post", scene.cutter.url, query);
        const whole = scene.textOf(query);
        const text = () => prints.map(([token]) => token).join("");
        // It goes on behind its import, and prints no end.
        while (text().length < whole.length) await new Promise((go) => setTimeout(go, 50));
        return text();
      });
    } finally {
      await scene.close();
    }
  },
);

test(
  `${CUTS} cuts of POST /v1/responses, read by openai with starting_after: exact, and made once`,
  { timeout },
  async () => {
    const scene = await startCutScene(15, { sparesFirst: "event" });
    const { responses } = openai(scene.cutter.url);
    try {
      await scene.run(async (query) => {
        let id = "";
        let last = -1;
        let text = "";
        for (;;) {
          try {
            const events = id === ""
              ? await responses.create({ model: "m", input: query, stream: true })
              : await responses.retrieve(id, { stream: true, starting_after: last });
            for await (const event of events) {
              // A heartbeat has the last number once more.
              if (event.sequence_number === last) continue;
              assert.equal(event.sequence_number, last + 1);
              last = event.sequence_number;
              if (event.type === "response.created") id = event.response.id;
              if (event.type === "response.output_text.delta") text += event.delta;
              if (event.type !== "response.completed") continue;
              assert.equal(event.response.output_text ?? text, text);
              return text;
            }
          } catch (error) {
            if (error instanceof assert.AssertionError) throw error;
            // It was cut.
          }
          await new Promise((go) => setTimeout(go, 5));
        }
      });
    } finally {
      await scene.close();
    }
  },
);
