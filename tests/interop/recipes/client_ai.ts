import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { streamText } from "ai";

const spillway = createOpenAICompatible({ name: "spillway", baseURL: "http://127.0.0.1:8000/v1" });
const { textStream } = streamText({ model: spillway("spillway"), prompt: "Hello?" });
for await (const token of textStream) console.log(token);
