/** Answers that are cut at any byte, read with a plain `fetch`: the text is exact, and made once. */
import assert from "node:assert/strict";
import test from "node:test";
import { CUTS, readAll, startCutScene } from "../support/cutting_proxy.ts";

const timeout = 30_000 + CUTS * 200;

/** Headers of a reader that has come so far. */
function headersOf(lastEventId: string | undefined): Record<string, string> {
  return lastEventId === undefined ? {} : { "last-event-id": lastEventId };
}

test(
  `${CUTS} cuts at any byte of sse() and resume(): the text is exact, and made once`,
  {
    timeout,
  },
  async () => {
    const scene = await startCutScene(1);
    try {
      await scene.run((query) =>
        readAll((lastEventId) =>
          fetch(`${scene.cutter.url}/named/${query}`, {
            method: "POST",
            headers: headersOf(lastEventId),
          })
        )
      );
    } finally {
      await scene.close();
    }
  },
);

test(`${CUTS} cuts of POST /streaming: the text is exact, and made once`, {
  timeout,
}, async () => {
  const scene = await startCutScene(2, { sparesFirst: "event" });
  try {
    await scene.run((query) =>
      readAll((lastEventId) =>
        fetch(`${scene.cutter.url}/streaming`, {
          method: "POST",
          headers: {
            "content-type": "application/json",
            ...headersOf(lastEventId),
          },
          body: JSON.stringify({ query }),
        })
      )
    );
  } finally {
    await scene.close();
  }
});

test(
  `${CUTS} cuts of GET /streaming/{id}: the text is exact, and a finished one is not made again`,
  { timeout },
  async () => {
    const scene = await startCutScene(3);
    try {
      await scene.run(async (query) => {
        const started = await fetch(`${scene.url}/streaming`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ query }),
        });
        const streamId = started.headers.get("x-stream-id")!;
        await started.body!.cancel();
        let last: string | undefined;
        const text = await readAll((lastEventId) => {
          last = lastEventId;
          return fetch(`${scene.cutter.url}/streaming/${streamId}`, {
            headers: headersOf(lastEventId),
          });
        });
        // Who does not know that it has all asks again, and is told that there is no more.
        const url = `${scene.url}/streaming/${streamId}`;
        const joined = await fetch(url, { headers: headersOf(last) });
        const ids = [...(await joined.text()).matchAll(/^id: (.*)$/gm)].map((
          [, id],
        ) => id!);
        const again = await fetch(url, { headers: headersOf(ids.at(-1)) });
        assert.equal(again.status, 204);
        return text;
      });
    } finally {
      await scene.close();
    }
  },
);
