/** What the compiler must say of formats and events: checked by `tsc` and never run. */
import {
  anthropicFormat,
  decodeEvents,
  encodeEvent,
  type Format,
  openaiFormat,
  type ServerSentEvent,
  sse,
  uiMessageFormat,
} from "spillway";
import { agUiFormat, type End, eventFrame, eventStreamFormat, type Framer } from "spillway/formats";
import { holds, type Same } from "./same.ts";

declare const request: Request;
declare const body: ReadableStream<Uint8Array<ArrayBuffer>>;

for (const format of ["json", "text", "plain", "ndjson"] as const) sse(request, "a", { format });
for (const format of [openaiFormat, anthropicFormat, uiMessageFormat, agUiFormat]) {
  sse(request, "a", { format });
}
holds<Same<ReturnType<typeof openaiFormat.with>, Format>>();
sse(request, "a", { format: openaiFormat.with({ model: "m", includeUsage: true }) });
sse(request, "a", { format: anthropicFormat.with({ model: "m", buffered: true }) });
sse(request, "a", { format: uiMessageFormat.with({ messageId: "m" }) });
sse(request, "a", { format: agUiFormat.with({ threadId: "t", runId: "r" }) });

// A format of one's own gets each item as it is.
const own: Format = {
  ...eventStreamFormat,
  name: "own",
  open: ({ streamId }) => ({
    frame: eventFrame("say", '{"text":', "}"),
    token(out, text) {
      holds<Same<typeof text, string>>();
      out.event({ event: "say", data: text, id: streamId });
    },
    structured(_out, event, json, data) {
      holds<Same<typeof event, string | undefined>>();
      holds<Same<typeof json, string>>();
      holds<Same<typeof data, unknown>>();
    },
    end(out, end) {
      holds<Same<typeof end, End>>();
      holds<Same<typeof end.reason, "completed" | "cancelled">>();
      out.data(`${end.tokens} ${end.finishReason}`);
    },
    fail: (out, { code, status }, { lastEvent }) => out.comment(`${code} ${status} ${lastEvent}`),
  }),
};
sse(request, "a", { format: own });

// Events, both ways.
holds<Same<ReturnType<typeof encodeEvent>, string>>();
encodeEvent({ event: "note", data: "a", id: "1", retry: 1000, comment: "b" });
async function read(): Promise<void> {
  for await (const event of decodeEvents(body)) {
    holds<Same<typeof event, ServerSentEvent>>();
    holds<Same<typeof event.data, string>>();
  }
}
void read;

// @ts-expect-error there is no such format
sse(request, "a", { format: "jsonl" });
// @ts-expect-error the factory's method makes the variant
sse(request, "a", { format: openaiFormat({ model: "m" }) });
// @ts-expect-error an option of another format
openaiFormat.with({ messageId: "m" });
// @ts-expect-error a format has a name
const nameless: Format = { contentType: "text/plain", open: own.open };
// @ts-expect-error a framer writes the end
const endless: Framer = { token: () => {} };
// @ts-expect-error a frame is made by eventFrame
const frame: Framer = { token: () => {}, end: () => {}, frame: "data: " };
void [nameless, endless, frame];
// @ts-expect-error data is text
encodeEvent({ data: { token: "a" } });
// @ts-expect-error retry is a number of milliseconds
encodeEvent({ retry: "1000" });
