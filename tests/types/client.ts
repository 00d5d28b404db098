/** What the compiler must say of `connect`: checked by `tsc` and never run. */
import {
  type ChatCompletionChunk,
  connect,
  type Connection,
  type ServerSentEvent,
  type StreamItem,
  type UIMessagePart,
} from "spillway/client";
import { connect as fromMain } from "spillway";
import { holds, type Same } from "./same.ts";

const json = connect("/streaming");
const chat = connect("/v1/chat/completions", { format: "openai", method: "POST", body: "{}" });
const parts = fromMain(new URL("http://localhost/"), { format: "ui-message" });

/** What a loop over it gives. */
type Of<Iterable> = Iterable extends AsyncIterable<infer Item> ? Item : never;

holds<Same<typeof json, Connection<"json">>>();
holds<Same<Of<typeof json>, ServerSentEvent>>();
holds<Same<Of<ReturnType<typeof json.items>>, StreamItem>>();
holds<Same<Of<ReturnType<typeof json.tokens>>, string>>();
holds<Same<Of<ReturnType<typeof chat.items>>, ChatCompletionChunk>>();
holds<Same<Of<ReturnType<typeof parts.items>>, UIMessagePart>>();

for await (const part of parts.items()) {
  if (part.type === "text-delta") holds<Same<typeof part.delta, string>>();
}

connect("/", { headers: async () => await Promise.resolve({ authorization: "" }) });
connect("/", { headers: [["a", "b"]], credentials: "include", signal: AbortSignal.timeout(1) });
connect(new Request("http://localhost/"), { streamId: undefined });

// @ts-expect-error: no such format
connect("/", { format: "yaml" });
// @ts-expect-error: no such option
connect("/", { maxRetry: 1 });
// @ts-expect-error: a number of ms
connect("/", { stallMs: "1" });
