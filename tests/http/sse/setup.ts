/** What the tests of `sse()` share: requests, options that keep what they are told, and checks. */
import assert from "node:assert/strict";
import type { Source, SseOptions, StreamReport } from "../../../mod.ts";
import { active } from "../../../lib/counters.ts";

export const URL_ = "http://localhost/streaming";
export const SSE = "text/event-stream; charset=utf-8";
export const NDJSON = "application/x-ndjson; charset=utf-8";
export const PLAIN = "text/plain; charset=utf-8";

export const tick = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));
export const get = (headers: Record<string, string> = {}, query = ""): Request =>
  new Request(URL_ + query, { headers });
export const post = (): Request => new Request(URL_, { method: "POST" });

/** What was opened since now and is still open: a test that broke before must not break the next. */
export function counting(): () => Partial<typeof active> {
  const before = { ...active };
  return () => {
    const changed = Object.entries(active).map(([name, count]) =>
      [name, count - before[name as keyof typeof active]] as const
    );
    return Object.fromEntries(changed.filter(([, count]) => count !== 0));
  };
}

/** Fails where something would wait for ever. */
export function soon<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`Not within 10 s: ${what}`)), 10_000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Options that keep what they are told. */
export function recorded(options: SseOptions = {}): {
  options: SseOptions;
  errors: unknown[];
  reports: StreamReport[];
} {
  const errors: unknown[] = [];
  const reports: StreamReport[] = [];
  return {
    errors,
    reports,
    options: {
      ...options,
      onError: (error) => errors.push(error),
      onClose: (report) => reports.push(report),
    },
  };
}

/** A source that must not be asked. */
export function forbidden(): { source: Source<undefined>; calls: () => number } {
  let calls = 0;
  return {
    calls: () => calls,
    source: () => {
      calls++;
      return "a";
    },
  };
}

export async function assertProblem(
  response: Response,
  status: number,
  code: string,
  title?: string,
): Promise<Record<string, unknown>> {
  assert.equal(response.status, status);
  assert.equal(response.headers.get("content-type"), "application/problem+json");
  assert.equal(response.headers.get("cache-control"), "no-store");
  assert.equal(response.headers.get("x-content-type-options"), "nosniff");
  const problem = await response.json();
  assert.equal(problem.type, "about:blank");
  assert.equal(problem.status, status);
  assert.equal(problem.code, code);
  assert.equal(typeof problem.title, "string");
  if (title !== undefined) assert.equal(problem.title, title);
  return problem;
}
