/** The model of every home: what its request's `case` asks for. It prints what happens to it. */
import { randomBytes } from "node:crypto";
import { MemoryLog, StreamError } from "spillway";
import { HOSTILE } from "./hostile.js";

/** What the recipes give to `sse` besides the source. */
export const options = {
  log: new MemoryLog(),
  heartbeatMs: 300,
  disconnect: "cancel",
};

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Resolves when the client has left, and says when. */
function departure(signal, name) {
  return new Promise((resolve) =>
    signal.addEventListener("abort", () => {
      console.log(`left ${name} ${Date.now()}`);
      resolve();
    }, { once: true })
  );
}

export async function* model({ request, signal }) {
  const query = new URL(request.url).searchParams;
  const name = query.get("name");
  switch (query.get("case")) {
    case "hostile":
      return yield* HOSTILE;
    case "body":
      return yield await request.text();
    case "paced":
      for (let i = 0; i < 40; i++) {
        yield String(Date.now());
        await sleep(20);
      }
      return;
    case "failing":
      await sleep(5);
      throw new StreamError("upstream_failed");
    case "breaking":
      yield "half";
      throw new StreamError("upstream_failed");
    case "silent":
      yield "before";
      await sleep(1500);
      return yield "after";
    case "writing":
      departure(signal, name);
      while (!signal.aborted) {
        yield "token";
        await sleep(20);
      }
      return;
    case "waiting": {
      const left = departure(signal, name);
      yield "token";
      return await left;
    }
    case "unborn": {
      const left = departure(signal, name);
      console.log(`began ${name} ${Date.now()}`);
      return await left;
    }
    case "flood": {
      // A proxy cannot make it smaller.
      const token = randomBytes(48 * 1024).toString("base64");
      for (let i = 1; !signal.aborted && i <= 1024; i++) {
        yield token;
        console.log(`flood ${name} ${i}`);
        if (i % 16 === 0) await sleep(1);
      }
    }
  }
}
