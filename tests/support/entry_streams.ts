/** Streams of a server entry that many processes serve, as its clients see them. */
import assert from "node:assert/strict";

/** A connection for each request: any process may get it. */
export const HEADERS = { "content-type": "application/json", "connection": "close" };

/** Starts a stream. */
export function post(url: string, query: string): Promise<Response> {
  const body = JSON.stringify({ query });
  return fetch(`${url}/streaming`, { method: "POST", headers: HEADERS, body });
}

/** The id of a stream, in its text. */
export function idIn(text: string): string {
  return /(?<=^id: ).*(?=\.\d+$)/m.exec(text)![0];
}

/** How many tokens a text has. */
export function tokensIn(text: string): number {
  return text.match(/"token"/g)?.length ?? 0;
}

/** The numbered events of a text, without what else a response has. */
export function eventsIn(text: string): string {
  return text.replaceAll(/^:.*\n/gm, "").split("\n\n").filter((block) => /^id: /.test(block))
    .join("\n\n");
}

/** Asks for a stream from its start. */
export async function join(url: string, id: string): Promise<string> {
  return await (await fetch(`${url}/streaming/${id}`, { headers: HEADERS })).text();
}

/**
 * Asks for a stream that has just begun. Its id goes to the store at once, but on a busy machine a client may
 * be sooner with another process: it is asked again for a while.
 */
async function asked(url: string, init: RequestInit): Promise<Response> {
  for (let tries = 1;; tries++) {
    const response = await fetch(url, init);
    if (response.status !== 404 || tries === 50) return response;
    await response.body?.cancel();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Resumes a stream of 40 tokens from its third, while its first client reads on. */
export async function resume(url: string): Promise<void> {
  const response = await post(url, "r".repeat(40));
  const [own, copy] = response.body!.pipeThrough(new TextDecoderStream()).tee();
  const whole = new Response(copy.pipeThrough(new TextEncoderStream())).text();
  const reader = own.getReader();
  let text = "";
  while (!/^id: .*\.3$/m.test(text)) text += (await reader.read()).value ?? "";
  void reader.cancel();
  const id = idIn(text);
  const headers = { ...HEADERS, "last-event-id": `${id}.3` };
  const rest = await (await asked(`${url}/streaming/${id}`, { headers })).text();
  const all = await whole;
  assert.equal(tokensIn(all), 40);
  const [, after] = /^id: .*\.3\n(?:.+\n)*\n([^]*)$/m.exec(all)!;
  assert.equal(eventsIn(rest), eventsIn(after!));
}

/** Stops a new stream, with a request of its own. Returns how many ms the stream still took. */
export async function stop(url: string): Promise<number> {
  const response = await post(url, "x".repeat(1000));
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (!/^id: .*\.\d+$/m.test(text)) text += (await reader.read()).value ?? "";
  const sinceMs = performance.now();
  const init = { method: "DELETE", headers: HEADERS };
  const stopped = await asked(`${url}/streaming/${idIn(text)}`, init);
  assert.equal(stopped.status, 204);
  for (let read; !(read = await reader.read()).done;) text += read.value;
  assert.match(text, /event: done\ndata: \{"reason":"cancelled"/);
  return performance.now() - sinceMs;
}
