/**
 * A random answer, written as each family of upstreams writes it and cut anywhere, is the same answer
 * behind every format, or a failure that is named. What fails names its seed.
 */
import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import { anthropicFormat } from "../../lib/formats/anthropic.ts";
import type { Format } from "../../lib/formats/format.ts";
import { openaiFormat } from "../../lib/formats/openai.ts";
import { uiMessageFormat } from "../../lib/formats/ui_message.ts";
import { sse } from "../../lib/http/sse.ts";
import type { StreamReport } from "../../lib/pipeline/generation.ts";
import { openai } from "../../lib/sources/openai.ts";
import { relay } from "../../lib/sources/relay.ts";
import { RUNTIMES } from "../support/child.ts";
import { chunks, pick, random } from "../support/random.ts";
import { runtimeName, until } from "../support/serve.ts";
import { DIALECTS } from "../support/upstream/dialects/all.ts";
import {
  type Answer,
  answerFor,
  isFailure,
  type Kind,
  merged,
  type Part,
} from "../support/upstream/dialects/answer.ts";
import type { BodyEnd } from "../support/upstream/dialects/case.ts";
import {
  assertEnd,
  assertParts,
  type FormatName,
  readBack,
  type Told,
} from "../support/upstream/dialects/readers.ts";
import {
  assertQuiet,
  GAPS_MS,
  type Scripted,
  startScripted,
} from "../support/upstream/dialects/server.ts";
import { tried } from "../support/timing.ts";
import type { Mock } from "../support/upstream/mock.ts";

/** As many on each runtime, and others: what they read is the same. */
const SEEDS = 6;
const firstSeed = 1 + RUNTIMES.indexOf(runtimeName) * SEEDS;
const FORMATS: [FormatName, Format | "json" | "ndjson" | "plain"][] = [
  ["json", "json"],
  ["ndjson", "ndjson"],
  ["plain", "plain"],
  ["openai", openaiFormat],
  ["openai buffered", openaiFormat.with({ buffered: true })],
  ["anthropic", anthropicFormat],
  ["anthropic buffered", anthropicFormat.with({ buffered: true })],
  ["ui-message", uiMessageFormat],
];

const scripts = new Map<string, Scripted>();
let mock: Mock;
before(async () => {
  mock = await startScripted(scripts);
});
after(() => mock.close());

/** The response of an upstream, without a socket. */
function responseOf({ pieces, end }: Scripted): Response {
  let at = 0;
  const body = new ReadableStream({
    pull(controller) {
      if (at < pieces.length) controller.enqueue(pieces[at++]);
      else if (end === "clean") controller.close();
      else controller.error(new Error("reset"));
    },
  }, { highWaterMark: 0 });
  return new Response(body, { headers: { "content-type": "text/event-stream" } });
}

/** The end as a client must be told it, and what the upstream may have said of it. */
function endOf({ parts, end }: Answer): { end: Kind; reason?: string; refused: boolean } {
  const refused = parts.some(({ kind }) => kind === "refusal");
  if (refused && end === "stop") return { end: "content_filter", reason: "stop", refused };
  if (end === "tool_calls") return { end, reason: "stop", refused };
  return end === "length"
    ? { end, reason: "model_length", refused }
    : { end: end as Kind, refused };
}

/** Arguments `{}` wait for the end of the answer, in case others follow. */
const begun = (parts: readonly Part[]) =>
  parts.map((part): Part =>
    part.kind === "call" && part.arguments === "{}" ? { ...part, arguments: "" } : part
  );

function assertTold(
  format: FormatName,
  told: Told,
  { code }: StreamReport,
  answer: Answer,
): void {
  // Members that only one family writes may come along.
  const parts = merged(told.parts.filter(({ kind }) => kind !== "delta"));
  const isBuffered = format.endsWith("buffered");
  const isBroken = isFailure(answer.end);
  if (isBroken && !isBuffered) {
    assertParts(format, { ...told, parts: begun(parts) }, begun(answer.parts));
  } else if (!isBroken) assertParts(format, { ...told, parts }, answer.parts);
  if (isBroken) {
    assert.equal(told.end, "failed", told.body);
    assert.equal(code, answer.end === "broken off" ? "truncated" : "upstream_failed");
    return;
  }
  assertEnd(format, told, endOf(answer));
  const { prompt_tokens, input_tokens } = Object(told.usage);
  const { input } = answer.usage;
  if (format !== "plain" && told.usage) assert.equal(prompt_tokens ?? input_tokens, input);
}

for (const dialect of DIALECTS) {
  test(`${dialect.name}: any answer is the same answer behind each format`, async () => {
    for (let seed = firstSeed; seed < firstSeed + SEEDS; seed++) {
      const chance = random(seed);
      const answer = answerFor(dialect.can, chance);
      const body = new TextEncoder().encode(dialect.write(answer, chance).join(""));
      const broken: BodyEnd[] = ["clean", "clean", "fin", "rst"];
      const end = answer.end === "broken off" ? pick(chance, broken) : "clean";
      for (const [name, format] of FORMATS) {
        const script = { pieces: chunks(chance, body), end };
        const messages = () => [{ role: "user", content: "Hi" }];
        const model = dialect.name;
        // `json` and `ndjson` pass a response's events on as they came.
        const isRelayed = name !== "json" && name !== "ndjson" && chance() < 0.5;
        const where = `seed ${seed}, ${isRelayed ? "relay()" : "openai()"}, ${name}`;
        const check = async (again: number) => {
          scripts.set(dialect.name, { ...script, gapMs: GAPS_MS[again]! });
          const source = isRelayed
            ? relay(responseOf(script))
            : openai({ baseURL: mock.url, model, messages });
          let report: StreamReport | undefined;
          const response = await sse(new Request("http://localhost/"), source, {
            format,
            commitAfterMs: 5000,
            onClose: (given) => void (report = given),
            onError: () => {},
          });
          try {
            const told = await readBack(name, response);
            await until(() => report !== undefined, 5000, "the report");
            assertTold(name, told, report!, answer);
          } catch (cause) {
            throw new Error(`${where}: ${(cause as Error).message}`, { cause });
          }
        };
        // A break may overtake what went ahead of it.
        await (end === "clean" ? check(0) : tried(where, check));
      }
    }
    await assertQuiet(mock);
  });
}
