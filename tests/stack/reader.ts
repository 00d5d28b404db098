/** A reader that never gives up: it asks, and comes back where it was cut off until it has the end. */
import { decodeEvents } from "../../mod.ts";

/** What a reader has come to. */
export interface Reading {
  text: string;
  streamId: string | undefined;
  /** `done`, or the code of the failure that ended the generation. */
  end: string;
  /** How often it had to come back. */
  resumes: number;
}

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/**
 * Asks `url` and reads to the end.
 *
 * @param cut After how many events it breaks off by itself, and comes back.
 * @param resumeUrl Where it comes back, if not where it was.
 * @param runId A name by which its first request may be sent again.
 */
export async function readThrough(
  url: string,
  query: string,
  cut: () => number = () => Infinity,
  resumeUrl: string = url,
  runId?: string,
): Promise<Reading> {
  const named: Record<string, string> = runId === undefined ? {} : { "x-run-id": runId };
  const reading: Reading = { text: "", streamId: undefined, end: "", resumes: -1 };
  let last: string | undefined;
  for (const until = Date.now() + 90_000; reading.end === "";) {
    if (Date.now() > until) throw new Error(`no end after ${reading.text.length} characters`);
    reading.resumes++;
    let response: Response;
    try {
      response = last === undefined
        ? await fetch(`${url}/streaming`, {
          method: "POST",
          headers: { "content-type": "application/json", accept: "text/event-stream", ...named },
          body: JSON.stringify({ query }),
        })
        : await fetch(`${resumeUrl}/streaming/${reading.streamId}`, {
          headers: { "last-event-id": last, accept: "text/event-stream" },
        });
    } catch {
      await sleep(100);
      continue;
    }
    if (response.status === 502 || response.status === 503) {
      await response.body?.cancel();
      await sleep(100);
      continue;
    }
    if (response.status !== 200) {
      reading.end = String(response.status);
      await response.body?.cancel();
      break;
    }
    reading.streamId ??= response.headers.get("x-stream-id") ?? undefined;
    let left = cut();
    try {
      for await (const { event, data, lastEventId } of decodeEvents(response.body!)) {
        if (event === "message") reading.text += JSON.parse(data).token;
        else if (event === "done") reading.end = "done";
        else if (event === "failed") {
          const problem = JSON.parse(data);
          if (!problem.resume) reading.end = problem.code;
        }
        if (lastEventId !== "") last = lastEventId;
        if (--left <= 0) break;
      }
    } catch {
      // The connection broke: the next turn comes back.
    }
    if (reading.end === "" && last === undefined) reading.text = "";
  }
  return reading;
}
