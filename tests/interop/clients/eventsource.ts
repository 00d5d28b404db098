/**
 * `EventSource` as four makers have it: the `eventsource` package on GET and, with its custom fetch, on
 * POST; undici's; and the runtime's own, where there is one (Deno). All of them read the `json` format.
 */
import assert from "node:assert/strict";
import { EventSource as PackageEventSource } from "eventsource";
// On Bun the bare name is Bun's own stand-in, whose EventSource never connects; this is the package.
import { EventSource as UndiciEventSource } from "undici/index.js";
import { runtimeName } from "../../support/serve.ts";
import type { Client } from "../client.ts";

/** What happened, in the one place where an `EventSource` tells it. */
class ErrorEventSeen extends Error {
  readonly event: Event & { code?: number; message?: string };
  /** 2 if it will not come again. */
  readonly readyState: number;

  constructor(event: Event, readyState: number) {
    super("An EventSource had an error event");
    this.event = event;
    this.readyState = readyState;
  }
}

/** What our own `failed` event says. */
class Failed extends Error {}

/** As much of an `EventSource` as all of them have. */
export interface AnyEventSource {
  readonly readyState: number;
  addEventListener(type: string, listener: (event: MessageEvent) => void): void;
  close(): void;
}

function listen(
  source: AnyEventSource,
  onText: (text: string) => void,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (settle: () => void) => () => {
      source.close();
      settle();
    };
    source.addEventListener(
      "message",
      ({ data }) => onText(JSON.parse(data).token),
    );
    source.addEventListener("done", end(resolve));
    source.addEventListener("failed", ({ data }) => {
      const { title, detail = title } = JSON.parse(data);
      end(() => reject(new Failed(detail)))();
    });
    source.addEventListener("error", (event) => {
      const { readyState } = source;
      end(() => reject(new ErrorEventSeen(event, readyState)))();
    });
    signal.addEventListener("abort", end(resolve));
  });
}

/** An `EventSource` has one error event, and closes for good on any status but 200. */
function refused(error: unknown): void {
  assert(error instanceof ErrorEventSeen, String(error));
  assert.equal(error.readyState, 2);
}

/** The package adds the status, and no body. */
function refusedWithStatus(error: unknown, status: number): void {
  refused(error);
  assert.equal((error as ErrorEventSeen).event.code, status);
}

function broken(error: unknown, message: string): void {
  assert(error instanceof Failed, String(error));
  assert.equal(error.message, message);
}

const urlOf = (url: string, scene: string) => `${url}/sse?q=${encodeURIComponent(scene)}`;
type Maker = new (url: string) => AnyEventSource;
const { EventSource: Own } = globalThis as { EventSource?: Maker };

/** Those that come back by themselves when a connection breaks. */
export const MAKERS: Record<string, Maker> = {
  eventsource: PackageEventSource as Maker,
  // There it does not see that a connection has ended before its answer has, and waits for ever.
  ...runtimeName === "deno" ? {} : { undici: UndiciEventSource as Maker },
  ...Own ? { "the runtime's own": Own } : {},
};

export const clients: Client[] = [
  {
    name: "eventsource on GET",
    ask: (url, scene, onText, signal) =>
      listen(new PackageEventSource(urlOf(url, scene)), onText, signal),
    refused: refusedWithStatus,
    broken,
  },
  {
    name: "eventsource on POST",
    ask: (url, query, onText, signal) => {
      const source = new PackageEventSource(`${url}/streaming`, {
        fetch: (url, init) =>
          fetch(url, {
            ...init,
            method: "POST",
            headers: { ...init.headers, "content-type": "application/json" },
            body: JSON.stringify({ query }),
          }),
      });
      return listen(source, onText, signal);
    },
    refused: refusedWithStatus,
    broken,
  },
  {
    name: "undici EventSource",
    ask: (url, scene, onText, signal) =>
      listen(
        new UndiciEventSource(urlOf(url, scene)) as AnyEventSource,
        onText,
        signal,
      ),
    refused,
    broken,
  },
  ...Own === undefined ? [] : [
    {
      name: "the runtime's EventSource",
      ask: (url, scene, onText, signal) => listen(new Own(urlOf(url, scene)), onText, signal),
      refused,
      broken,
    } satisfies Client,
  ],
];
