import OpenAI from "openai";
import { sse, StreamError } from "spillway";

const client = new OpenAI(); // OPENAI_BASE_URL, OPENAI_API_KEY

async function* ask(content: string, signal: AbortSignal) {
  const messages = [{ role: "user" as const, content }];
  const body = { model: "gpt-5.1", stream: true as const, messages };
  let finishReason: string | undefined;
  for await (const { choices } of await client.chat.completions.create(body, { signal })) {
    yield choices[0]?.delta.content;
    finishReason ??= choices[0]?.finish_reason ?? undefined;
  }
  if (finishReason) return { finishReason };
  if (!signal.aborted) throw new StreamError("truncated"); // it would not say so itself
}

export default {
  fetch: async (request: Request) => {
    const query = await request.text();
    return sse(request, ({ signal }) => ask(query, signal));
  },
};
