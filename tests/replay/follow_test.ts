/** A log that cannot follow a stream leaves no reader behind. */
import assert from "node:assert/strict";
import test from "node:test";
import { createHandler } from "../../lib/handler.ts";
import { MemoryLog } from "../../lib/replay/memory.ts";
import type { LoggedStream, Recorder } from "../../lib/replay/event_log.ts";
import { ask, assertNothingLeft, post, ROUTES } from "../support/handler_requests.ts";

/** A log whose streams cannot be followed while `isBroken`. */
class BrokenLog extends MemoryLog {
  isBroken = false;

  override record(...args: Parameters<MemoryLog["record"]>): ReturnType<MemoryLog["record"]> {
    return this.#spoiled(super.record(...args));
  }

  override async find(streamId: string): Promise<LoggedStream | undefined> {
    const logged = await super.find(streamId);
    return logged && this.#spoiled(logged);
  }

  #spoiled<Stream extends LoggedStream | Recorder>(stream: Stream): Stream {
    const follow = stream.follow.bind(stream);
    stream.follow = (...args) => {
      if (this.isBroken) throw new Error("The log cannot follow");
      return follow(...args);
    };
    return stream;
  }
}

const { path, body } = ROUTES[0]!;

function scene() {
  const log = new BrokenLog();
  const errors: unknown[] = [];
  const ran: string[] = [];
  const handler = createHandler({
    log,
    source: async function* () {
      ran.push("ran");
      yield "a";
    },
    onError: (error) => errors.push(error),
  });
  return { log, errors, ran, handler };
}

test("resume() of a stream that cannot be followed is an error, and drain() waits for nobody", async () => {
  const { log, errors, handler } = scene();
  const first = await post(handler, path, body);
  await first.text();
  log.isBroken = true;
  const again = await ask(handler, `${path}/${first.headers.get("x-stream-id")}`, {});
  assert.equal(again.status, 500);
  assert.match(String(errors), /The log cannot follow/);
  await again.text();
  await handler.drain({ timeoutMs: 20 });
  await assertNothingLeft();
});

test("a new stream that cannot be followed is an error, never runs its source, and is forgotten", async () => {
  const { log, errors, ran, handler } = scene();
  log.isBroken = true;
  const response = await post(handler, path, body);
  assert.equal(response.status, 500);
  assert.match(String(errors), /The log cannot follow/);
  await response.text();
  assert.deepEqual([ran, log.size], [[], 0]);
  await handler.drain({ timeoutMs: 20 });
  await assertNothingLeft();
});
