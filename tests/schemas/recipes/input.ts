import { createHandler } from "spillway";
import * as z from "zod";

const input = z.object({
  question: z.string().min(1),
  temperature: z.number().min(0).max(2).default(1),
});

export default createHandler({
  input,
  source: ({ input }) => `${input.question} at ${input.temperature}`, // your model
});
