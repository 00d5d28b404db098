import { ChatOpenAI } from "@langchain/openai";

const configuration = { baseURL: "http://127.0.0.1:8000/v1" };
const model = new ChatOpenAI({ model: "spillway", apiKey: "none", configuration });
for await (const chunk of await model.stream("Hello?")) console.log(chunk.text);
