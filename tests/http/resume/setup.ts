/** What the tests of resuming share: a handler whose source does what the test says, and clients. */
import assert from "node:assert/strict";
import type { StreamReport } from "../../../lib/pipeline/generation.ts";
import { createHandler, type Handler, type HandlerOptions } from "../../../lib/handler.ts";
import { type Block, Reading } from "../../support/event_reader.ts";
import { ask, post, Puppet, ROUTES, type StreamingRoute } from "../../support/handler_requests.ts";

export const JSON_ROUTE: StreamingRoute = ROUTES[0]!;
export const OPENAI: StreamingRoute = ROUTES[2]!;
export const EVENT_STREAM = "text/event-stream; charset=utf-8";

/** A handler, the source behind it, and what was told of its streams. */
export interface Stage {
  readonly puppet: Puppet;
  readonly handler: Handler;
  readonly reports: StreamReport[];
}

/** A stream that was read to its end. */
export interface Finished extends Stage {
  readonly reading: Reading;
  readonly id: string;
  readonly path: string;
}

/** A handler over a puppet. */
export function stage(options: Partial<HandlerOptions> = {}): Stage {
  const puppet = new Puppet();
  const reports: StreamReport[] = [];
  const handler = createHandler({
    source: puppet.source,
    commitAfterMs: 0,
    onClose: (report) => reports.push(report),
    ...options,
  });
  return { puppet, handler, reports };
}

/** Starts a stream and reads the first `count` events of it. */
export async function started(
  { puppet, handler }: { puppet: Puppet; handler: Handler },
  tokens: string[] = ["one ", "two ", "three"],
  { path, body }: StreamingRoute = JSON_ROUTE,
): Promise<Reading> {
  const reading = new Reading(await post(handler, path, body));
  assert.equal(reading.status, 200);
  puppet.say(...tokens);
  if (tokens.length > 0) await reading.until(() => reading.body.includes(tokens.at(-1)!));
  return reading;
}

/** A stream of three tokens that has ended, read to its end: events 1 to 4. */
export async function finished(options: Partial<HandlerOptions> = {}): Promise<Finished> {
  const set = stage(options);
  const reading = await started(set);
  set.puppet.end();
  await reading.rest();
  return { ...set, reading, id: reading.streamId, path: `/streaming/${reading.streamId}` };
}

export const get = async (
  handler: Handler,
  path: string,
  headers: Record<string, string> = {},
  method?: string,
): Promise<Reading> => new Reading(await ask(handler, path, { method: method ?? "GET", headers }));
export const from = (id: string, event: number | string): Record<string, string> => ({
  "last-event-id": `${id}.${event}`,
});
export const texts = (blocks: readonly Block[]): string => blocks.map(({ text }) => text).join("");
