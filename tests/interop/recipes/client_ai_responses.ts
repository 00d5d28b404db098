import { createOpenAI } from "@ai-sdk/openai";
import { streamText } from "ai";

const { responses } = createOpenAI({ baseURL: "http://127.0.0.1:8000/v1", apiKey: "none" });
const asked = { model: responses("spillway"), prompt: "Hello?" };
const { textStream } = streamText({ ...asked, providerOptions: { openai: { store: false } } });
for await (const token of textStream) console.log(token);
