import { RedisClient } from "bun";
import { createHandler } from "spillway";
import { bunRedis, RedisLog } from "spillway/redis";

const log = new RedisLog(bunRedis(new RedisClient("redis://127.0.0.1:6379")));
export default createHandler({ source: ({ input }) => [...input.query], log });
