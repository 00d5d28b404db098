/**
 * Answers of the Responses API and of AG-UI that are cut at any byte, resumed in either of two processes
 * that share a log: the text is exact, and made once.
 */
import assert from "node:assert/strict";
import process from "node:process";
import test from "node:test";
import { decodeEvents } from "../../mod.ts";
import { GIVES_UP_MS } from "../support/cutting_proxy.ts";
import { startSharedCutScene } from "../support/shared_cuts.ts";

const cuts = Number(process.env.CUTS ?? 20);
const timeout = 60_000 + cuts * 300;
const post = { method: "POST", headers: { "content-type": "application/json" } };

/** Asks until an answer has come to its end. A process may not have heard yet of what the other has begun. */
async function readOn(ask: () => Promise<Response>, take: (data: string, id: string) => boolean) {
  const fromMs = performance.now();
  for (let unknown = 0; performance.now() - fromMs < GIVES_UP_MS;) {
    try {
      const response = await ask();
      if (response.status !== 200) {
        await response.body?.cancel();
        assert(response.status === 404 && ++unknown < 200, `status ${response.status}`);
      } else {
        for await (const { data, lastEventId } of decodeEvents(response.body!)) {
          if (take(data, lastEventId)) return;
        }
      }
    } catch (error) {
      if (error instanceof assert.AssertionError) throw error;
      // It was cut.
    }
    await new Promise((go) => setTimeout(go, 10));
  }
  throw new Error("It gives up");
}

async function readResponse(url: string, query: string): Promise<string> {
  const body = JSON.stringify({ model: "m", input: query, stream: true });
  let id: string | undefined;
  let last = -1;
  let text = "";
  const ask = () =>
    id === undefined
      ? fetch(`${url}/v1/responses`, { ...post, body })
      : fetch(`${url}/v1/responses/${id}?stream=true&starting_after=${last}`);
  await readOn(ask, (data) => {
    const { type, sequence_number: number, response, delta } = JSON.parse(data);
    // A heartbeat has the last number once more.
    if (number === last) return false;
    assert.equal(number, last + 1, data);
    last = number;
    id ??= response?.id;
    assert(!/failed|incomplete/.test(type), data);
    if (type === "response.output_text.delta") text += delta;
    if (type === "response.completed") assert(response.output[0].content[0].text === text);
    return type === "response.completed";
  });
  return text;
}

let runs = 0;

async function readRun(url: string, query: string): Promise<string> {
  const runId = `run-${process.pid}-${String(++runs).padStart(20, "0")}`;
  const messages = [{ id: "m", role: "user", content: query }];
  const body = JSON.stringify({ threadId: "t", runId, messages });
  let last = "";
  let text = "";
  const ask = () => {
    const headers = { ...post.headers, "x-run-id": runId, ...last && { "last-event-id": last } };
    return fetch(`${url}/ag-ui`, { ...post, headers, body });
  };
  await readOn(ask, (data, id) => {
    const { type, delta } = JSON.parse(data);
    const [number, before] = [id, last].map((of) => Number(of.split(".").at(-1)));
    assert.equal(number, before! + 1, data);
    last = id;
    assert.notEqual(type, "RUN_ERROR", data);
    if (type === "TEXT_MESSAGE_CONTENT") text += delta;
    return type === "RUN_FINISHED";
  });
  return text;
}

const READERS = { "POST /v1/responses": readResponse, "POST /ag-ui": readRun };

for (const [route, read] of Object.entries(READERS)) {
  test(`${cuts} cuts of ${route}, resumed in either of two processes: exact, and made once`, {
    timeout,
  }, async () => {
    const scene = await startSharedCutScene(31, cuts);
    try {
      await scene.run((query) => read(scene.cutter.url, query));
    } finally {
      await scene.close();
    }
  });
}
