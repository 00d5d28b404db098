/**
 * A user of the client that is generated from the document. It is compiled and run by
 * `openapi.interop.ts`, which generates what is imported here.
 */
import { client } from "./.run/client/client.gen.ts";
import { health, stream } from "./.run/client/sdk.gen.ts";
import type { Done, Input, Problem, Token } from "./.run/client/types.gen.ts";

/** What a stream was for its reader. */
export interface Heard {
  text: string;
  /** When each token came, in ms from the request. */
  atMs: number[];
  done: Done | undefined;
  failed: Problem | undefined;
  errors: unknown[];
}

/** Asks the server at `baseUrl`, once. */
export async function ask(baseUrl: string, body: Input): Promise<Heard> {
  // As an option of each call it would end up in the request's own, where Deno means another client.
  client.setConfig({ baseUrl });
  const heard: Heard = {
    text: "",
    atMs: [],
    done: undefined,
    failed: undefined,
    errors: [],
  };
  const fromMs = performance.now();
  const events = await stream({
    body,
    query: { format: "json" },
    sseMaxRetryAttempts: 1,
    onSseError: (error) => heard.errors.push(error),
    onSseEvent: ({ event, data }) => {
      if (event === "done") heard.done = data as Done;
      else if (event === "failed") heard.failed = data as Problem;
      else if (data !== undefined) {
        heard.text += (data as Token).token;
        heard.atMs.push(performance.now() - fromMs);
      }
    },
  });
  for await (const _ of events.stream);
  return heard;
}

/** A plain answer of the same client. */
export async function isHealthy(baseUrl: string): Promise<boolean> {
  client.setConfig({ baseUrl });
  const { data } = await health();
  return data?.status === "ok";
}

/** What the compiler must refuse. */
export function never(baseUrl: string): void {
  // @ts-expect-error the query is required
  void ask(baseUrl, {});
  // @ts-expect-error there is no such format
  void stream({ body: { query: "" }, query: { format: "xml" } });
}
