import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({ baseURL: "http://127.0.0.1:8000", apiKey: "none" });
const messages = [{ role: "user" as const, content: "Hello?" }];
const answer = client.messages.stream({ model: "spillway", max_tokens: 1000, messages });
await answer.on("text", (token) => console.log(token)).done();
