import { createServer } from "node:http";
import { createHandler } from "spillway";
import { toNodeListener } from "spillway/node";

const handler = createHandler({
  source: async function* ({ input }) {
    for (const word of input.query.split(" ")) yield `${word} `;
  },
});
createServer(toNodeListener(handler)).listen(8000, "127.0.0.1");
