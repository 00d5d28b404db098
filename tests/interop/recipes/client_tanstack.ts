import { ChatClient, fetchServerSentEvents } from "@tanstack/ai-client";

const chat = new ChatClient({
  connection: fetchServerSentEvents("http://127.0.0.1:8000/ag-ui"),
  onChunk: (chunk) => chunk.type === "TEXT_MESSAGE_CONTENT" && console.log(chunk.delta),
});
await chat.sendMessage("Hello?");
