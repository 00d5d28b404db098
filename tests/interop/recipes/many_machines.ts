import { RedisClient } from "bun";
import { bunRedis, createHandler, RedisLog } from "spillway";

const log = new RedisLog(bunRedis(new RedisClient("redis://127.0.0.1:6379")));
export default createHandler({ source: ({ input }) => [...input.query], log });
