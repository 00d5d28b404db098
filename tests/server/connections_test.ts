/** What the entry says of the connections to its upstream: on Bun they are few, and a variable allows more. */
import assert from "node:assert/strict";
import test from "node:test";
import { connectionsLimit } from "../../lib/server/connections.ts";
import { listening, startEntry } from "../support/child.ts";

const VARIABLE = "BUN_CONFIG_MAX_HTTP_REQUESTS";
/** Nothing is sent there. */
const UPSTREAM = { OPENAI_BASE_URL: "http://127.0.0.1:9/v1", OPENAI_MODEL: "m" };

test("Bun alone has a limit, and more streams than it allows are told how many to ask for", () => {
  assert.equal(connectionsLimit("bun", 256, undefined), undefined);
  assert.match(connectionsLimit("bun", 257, undefined)!, /^Bun relays 256 .*=257 allows more$/);
  assert.match(connectionsLimit("bun", 1_000_000, undefined)!, /=65336 allows more$/);
  assert.match(connectionsLimit("bun", 257, "")!, /=257 allows more$/);
  assert.equal(connectionsLimit("bun", 257, "300"), undefined);
  assert.equal(connectionsLimit("deno", 10_000, undefined), undefined);
  assert.equal(connectionsLimit("node", 10_000, undefined), undefined);
});

test("bun: the entry says in one line that relayed streams may wait, where they may", async () => {
  const startOf = async (environment: Record<string, string>): Promise<string> => {
    const { child } = await listening(
      startEntry("bun", { MAX_STREAMS: "300", [VARIABLE]: "", ...environment }),
    );
    const { output } = child;
    await child.stop();
    return output;
  };
  const [card, json, echo, set] = await Promise.all([
    startOf(UPSTREAM),
    startOf({ ...UPSTREAM, LOG: "json" }),
    startOf({}),
    startOf({ ...UPSTREAM, [VARIABLE]: "300" }),
  ]) as [string, string, string, string];
  assert.equal(card.match(/^Bun relays 256 streams at a time, .*=300 allows more$/gm)?.length, 1);
  assert.match(JSON.parse(json).connections, /=300 allows more$/);
  for (const text of [echo, set]) assert.doesNotMatch(text, /allows more/);
});
