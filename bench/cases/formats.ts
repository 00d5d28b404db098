/** Formats: what does each client's way of writing a token cost? */
import type { Payload } from "../body.ts";
import type { FormatName } from "../producers.ts";
import { pathOf } from "../subjects.ts";
import type { Case } from "./case.ts";

const PAYLOADS: readonly (readonly [FormatName, Payload])[] = [
  ["json", "token"],
  ["openai", "chunk"],
  ["anthropic", "block"],
  ["ui-message", "text-delta"],
  ["responses", "response.output_text.delta"],
  ["ag-ui", "TEXT_MESSAGE_CONTENT"],
];

export const formats: Case = {
  name: "formats",
  question: "1,000-token bursts from a generator, 64 at a time, in each client's format",
  runs: (subjects) =>
    PAYLOADS.flatMap(([format, payload]) =>
      subjects.filter(({ kind }) => kind === "own" || format === "ui-message").map((subject) => ({
        subject,
        variant: `generator ${format} 64`,
        job: {
          mode: "burst",
          path: pathOf(subject, "generator", format),
          payload,
          connections: 64,
          n: 1000,
          warmMs: 700,
          ms: 1000,
        },
      }))
    ),
};
