/** `connect()` over real sockets: what web-platform-tests have of `EventSource`. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { connect } from "../../lib/client.ts";
import { serve } from "../support/serve.ts";
import { faultsOf, readAll, WptServer, type WptVectors } from "../support/wpt.ts";

test("connect() passes the vectors and the scenarios of web-platform-tests", async () => {
  const path = new URL("../vectors/wpt_eventsource.json", import.meta.url);
  const file = JSON.parse(readFileSync(path, "utf8")) as WptVectors;
  assert(file.vectors.length > 20 && file.scenarios.length > 20);
  const wpt = new WptServer(file);
  const server = serve((request) => wpt.respond(request) ?? new Response(null, { status: 404 }));
  try {
    const outcomes = await readAll(connect, server.url, file);
    assert.deepEqual(faultsOf(file, outcomes, wpt), []);
  } finally {
    await server.close();
  }
});
