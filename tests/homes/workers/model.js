/** The source of each case that a client may ask for, and what it was told. */
import { StreamError } from "spillway";
import { HOSTILE } from "./hostile.js";

/** What the recipes give to `sse` besides the source. Failures are meant to be. */
export const options = { heartbeatMs: 500, onError: () => {} };

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
/** How often each case ran, and which of them were told that their client has left, after how many ms. */
const runs = {};
const left = {};

/** A token a turn of the loop, and at the end what the isolate knows of others. */
export async function* model({ request, signal }) {
  const query = new URL(request.url).searchParams;
  const [name, of] = ["name", "of"].map((key) => query.get(key));
  runs[name] = (runs[name] ?? 0) + 1;
  signal.addEventListener("abort", () => left[name] ??= Date.now());
  switch (query.get("case")) {
    case "told":
      return yield JSON.stringify({
        runs: runs[of] ?? 0,
        left: left[of] ?? null,
      });
    case "burst":
      for (let i = 0; i < 5000; i++) yield HOSTILE[i % HOSTILE.length];
      return;
    case "failing":
      await pause(20);
      throw new StreamError("upstream_failed", {
        status: 502,
        title: "The upstream failed",
      });
    case "breaking":
      yield "half";
      await pause(20);
      throw new StreamError("upstream_failed", {
        status: 502,
        title: "The upstream failed",
      });
    case "paced":
      for (let i = 0; i < 20; i++) {
        yield `${Date.now()}`;
        await pause(20);
      }
      return;
    case "silent":
      yield "before";
      await pause(2500);
      return yield "after";
    case "writing":
      for (;;) {
        yield "token";
        await pause(20);
      }
    case "waiting":
      yield "token";
      return await new Promise((resolve) => signal.addEventListener("abort", () => resolve()));
    case "counting":
      for (let i = 0; i < 30; i++) {
        yield `${i} `;
        await pause(40);
      }
  }
}
