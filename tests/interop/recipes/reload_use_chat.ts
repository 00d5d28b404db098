import { DefaultChatTransport, readUIMessageStream } from "ai";

const transport = new DefaultChatTransport({ api: "http://127.0.0.1:8000/api/chat" });
const stream = await transport.reconnectToStream({ chatId: "1" });
if (stream !== null) { // else nothing is going on
  for await (const { parts } of readUIMessageStream({ stream })) console.log(parts);
}
