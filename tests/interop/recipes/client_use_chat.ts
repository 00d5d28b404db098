import { DefaultChatTransport, readUIMessageStream } from "ai";

const transport = new DefaultChatTransport({ api: "http://127.0.0.1:8000/api/chat" });
const parts = [{ type: "text" as const, text: "Hello?" }];
const messages = [{ id: "1", role: "user" as const, parts }];
const ask = { chatId: "1", messageId: undefined, messages, abortSignal: undefined };
const stream = await transport.sendMessages({ ...ask, trigger: "submit-message" });
for await (const { parts } of readUIMessageStream({ stream })) console.log(parts);
