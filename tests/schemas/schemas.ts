/** One input, told to each schema library: a question, how warm the answer is, and some tags. */
import { toStandardJsonSchema } from "@valibot/to-json-schema";
import { type } from "arktype";
import * as v from "valibot";
import * as z from "zod";

/** What each of them makes of a body. */
export interface Asked {
  question: string;
  warmth?: number | undefined;
  tags: string[];
}

export const zodInput = z.object({
  question: z.string().min(2),
  warmth: z.number().min(0).max(2).optional(),
  tags: z.array(z.string()).default([]),
});

export const valibotInput = v.object({
  question: v.pipe(v.string(), v.minLength(2)),
  warmth: v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(2))),
  tags: v.optional(v.array(v.string()), []),
});

/** Valibot itself offers no JSON Schema; its converter adds it. */
export const valibotJsonInput = toStandardJsonSchema(valibotInput);

export const arktypeInput = type({
  question: "string >= 2",
  "warmth?": "0 <= number <= 2",
  tags: type("string[]").default(() => []),
});
