import { ChatOpenAI } from "@langchain/openai";
import { langChainCallbacks, sse } from "spillway";

const model = new ChatOpenAI({ model: "gpt-5.1" }); // OPENAI_BASE_URL, OPENAI_API_KEY

export default {
  fetch: async (request: Request) => {
    const query = await request.text();
    return sse(request, async ({ queue, signal }) => {
      await model.invoke(query, { signal, callbacks: [langChainCallbacks(queue)] });
    });
  },
};
