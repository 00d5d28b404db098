/** What the compiler must say of the libraries' own schemas: checked by `tsc` and never run. */
import type { StandardJSONSchemaV1, StandardSchemaV1 } from "@standard-schema/spec";
import * as z from "zod";
import { createHandler } from "spillway";
import { type OutputOf, type StandardSchema } from "spillway/handler";
import { queryInput } from "../../lib/handler/routes/streaming.ts";
import {
  arktypeInput,
  type Asked,
  valibotInput,
  valibotJsonInput,
  zodInput,
} from "../schemas/schemas.ts";

const inputFrom = ({ query }: { query: string }) => ({ question: query, tags: [] });

createHandler({
  input: zodInput,
  inputFrom,
  source: ({ input }) => input.question + input.tags.length,
});
createHandler({
  input: valibotInput,
  inputFrom,
  source: ({ input }) => input.question + input.tags.length,
});
createHandler({
  input: valibotJsonInput,
  inputFrom,
  source: ({ input }) => input.question,
});
createHandler({
  input: arktypeInput,
  inputFrom,
  source: ({ input }) => input.question + input.tags.length,
});

// The output is what counts, and it is exact.
const asked: Asked[] = [
  {} as OutputOf<typeof zodInput>,
  {} as OutputOf<typeof valibotInput>,
  {} as OutputOf<typeof valibotJsonInput>,
  {} as OutputOf<typeof arktypeInput>,
];
void asked;
const dated = z.object({
  since: z.string().transform((text) => new Date(text)),
});
const now = () => ({ since: new Date() });
createHandler({
  input: dated,
  inputFrom: now,
  source: ({ input }) => input.since.toISOString(),
});

// @ts-expect-error the transform has made a Date of it
createHandler({ input: dated, inputFrom: now, source: ({ input }) => input.since.trim() });
// @ts-expect-error this schema has no query
createHandler({ input: zodInput, inputFrom, source: ({ input }) => input.query });
// @ts-expect-error this schema has no query
createHandler({ input: valibotInput, inputFrom, source: ({ input }) => input.query });
// @ts-expect-error this schema has no query
createHandler({ input: arktypeInput, inputFrom, source: ({ input }) => input.query });
createHandler({
  input: zodInput,
  inputFrom,
  // @ts-expect-error it may be missing
  source: ({ input }) => input.warmth.toFixed(),
});

// Our types and the specification's own are one shape.
const theirs: StandardSchemaV1 = queryInput;
declare const both: StandardSchemaV1 & StandardJSONSchemaV1;
const ours: StandardSchema[] = [{} as StandardSchemaV1, both];
void [theirs, ours];
