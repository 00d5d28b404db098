import OpenAI from "openai";

const client = new OpenAI({ baseURL: "http://127.0.0.1:8000/v1", apiKey: "none" });
const messages = [{ role: "user" as const, content: "Hello?" }];
const answer = await client.chat.completions.create({ model: "spillway", messages, stream: true });
for await (const { choices } of answer) console.log(choices[0]?.delta.content);
