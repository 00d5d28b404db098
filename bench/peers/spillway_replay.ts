/**
 * Spillway with a replay log at its defaults: plain bursts whose events have ids (`/`), one generation for
 * `readers` at a time (`/fan`), and a finished stream read again from its start (`/again`).
 */
import { MemoryLog, resume, sse } from "../../mod.ts";
import { corpus, generate, query, serve } from "../producers.ts";

const log = new MemoryLog();
/** A finished stream would be forgotten after five minutes. */
const finished = new MemoryLog({ keepMs: 3_600_000 });

async function* burst(n: number): AsyncGenerator<string, void> {
  for (let i = 0; i < n; i++) yield corpus.token(i);
}

/** The round that gathers its readers. */
let round = { streamId: "round-0", readers: 0, all: () => {} };
let rounds = 0;

function fan(request: Request, readers: number, n: number): Promise<Response> {
  const { streamId } = round;
  let answer: Promise<Response>;
  if (round.readers++ === 0) {
    const complete = new Promise<void>((resolve) => round.all = resolve);
    const source = async function* () {
      await complete;
      yield* burst(n);
    };
    answer = sse(request, source, { format: "json", log, streamId });
  } else answer = resume(request, { log, streamId });
  if (round.readers === readers) {
    round.all();
    round = { streamId: `round-${++rounds}`, readers: 0, all: () => {} };
  }
  return answer;
}

let recorded: Promise<string> | undefined;

async function record(n: number): Promise<string> {
  const streamId = "finished";
  const options = { format: "json", log: finished, streamId } as const;
  await (await sse(new Request("http://localhost/"), burst(n), options)).text();
  return streamId;
}

async function again(request: Request, n: number): Promise<Response> {
  return resume(request, { log: finished, streamId: await (recorded ??= record(n)) });
}

/** The same source as in `spillway.ts`, to the letter: engines are particular about generators. */
async function* model(n: number, signal: AbortSignal): AsyncGenerator<string, void> {
  for (let i = 0; i < n; i++) {
    if (signal.aborted) return; // the client disconnected: stop paying
    yield corpus.token(i);
  }
}

serve((request) => {
  const { url } = request;
  const asked = query(url);
  const { n, shape } = asked;
  const options = { format: asked.format as "json", log };
  if (url.includes("/fan")) {
    return fan(request, Number(new URL(url).searchParams.get("readers")), n);
  }
  if (url.includes("/again")) return again(request, n);
  if (shape !== "generator") return sse(request, () => generate(asked), options);
  return sse(request, ({ signal }) => model(n, signal), options);
});
