import { HttpAgent } from "@ag-ui/client";

const agent = new HttpAgent({ url: "http://127.0.0.1:8000/ag-ui" });
agent.setMessages([{ id: "1", role: "user", content: "Hello?" }]);
await agent.runAgent({}, {
  onTextMessageContentEvent: ({ event }) => console.log(event.delta),
});
