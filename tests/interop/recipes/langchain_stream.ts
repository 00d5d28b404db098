import { ChatOpenAI } from "@langchain/openai";
import { sse, StreamError } from "spillway";

const model = new ChatOpenAI({ model: "gpt-5.1" }); // OPENAI_BASE_URL, OPENAI_API_KEY

async function* ask(query: string, signal: AbortSignal) {
  let finishReason: unknown;
  for await (const chunk of await model.stream(query, { signal })) {
    yield chunk.text;
    finishReason ??= chunk.response_metadata.finish_reason;
  }
  if (finishReason) return { finishReason: String(finishReason) };
  if (!signal.aborted) throw new StreamError("truncated"); // it would not say so itself
}

export default {
  fetch: async (request: Request) => {
    const query = await request.text();
    return sse(request, ({ signal }) => ask(query, signal));
  },
};
