import { createHandler } from "spillway";
import { SqliteLog } from "spillway/sqlite";

const log = new SqliteLog("/var/lib/chat/replay.db");
export default createHandler({ source: ({ input }) => [...input.query], log });
