import { createHandler } from "spillway";
import * as z from "zod";

const input = z.object({
  question: z.string().min(1),
  temperature: z.number().min(0).max(2).default(1),
});

export default createHandler({
  input, // of POST /streaming
  inputFrom: ({ query }) => ({ question: query, temperature: 1 }), // on the chat routes
  source: ({ input }) => `${input.question} at ${input.temperature}`, // your model
});
