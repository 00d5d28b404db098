/** Spillway itself, the subject of the benchmark, on Bun and on Deno with the same file, with every feature at its default. */
import { anthropicFormat, type Format, openaiFormat, sse, uiMessageFormat } from "../../mod.ts";
import { agUiFormat, responsesFormat } from "../../lib/formats.ts";
import {
  corpus,
  feed,
  type FormatName,
  generate,
  iterate,
  iterates,
  query,
  serve,
} from "../producers.ts";

const FORMATS: Readonly<Record<FormatName, "text" | "json" | Format>> = {
  text: "text",
  json: "json",
  openai: openaiFormat,
  anthropic: anthropicFormat,
  "ui-message": uiMessageFormat,
  responses: responsesFormat,
  "ag-ui": agUiFormat,
};

/** As the README writes it. */
async function* model(n: number, signal: AbortSignal): AsyncGenerator<string, void> {
  for (let i = 0; i < n; i++) {
    if (signal.aborted) return; // the client disconnected: stop paying
    yield corpus.token(i);
  }
}

serve((request) => {
  const asked = query(request.url);
  const { n, shape } = asked;
  const format = FORMATS[asked.format];
  if (shape === "generator") return sse(request, ({ signal }) => model(n, signal), { format });
  if (iterates(shape)) return sse(request, () => generate(asked), { format });
  if (shape === "sync") return sse(request, iterate(n), { format });
  return sse(request, ({ queue }) => feed(asked, (token) => queue.send(token)), { format });
});
