import OpenAI from "openai";

const client = new OpenAI({ baseURL: "http://127.0.0.1:8000/v1", apiKey: "none" });
const asked = { model: "spillway", input: "Hello?", stream: true } as const;
for await (const event of await client.responses.create(asked)) {
  if (event.type === "response.output_text.delta") console.log(event.delta);
}
