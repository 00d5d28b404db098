/** `RedisLog` with a real Redis: the rules of every log, one machine recording and another one reading. */
import test, { after } from "node:test";
import { contract, type Limits, type Made } from "../contract.ts";
import { redisMachine, removeSharedRedis, sharedRedis } from "../../support/redis_machines.ts";
import { noRedis } from "../../support/redis_server.ts";

let prefixes = 0;

async function make(limits: Limits): Promise<Made> {
  const redis = await sharedRedis();
  const prefix = `log${prefixes++}:`;
  const [one, other] = [0, 1].map(() => redisMachine({ ...limits, url: redis.url, prefix }));
  await redis.listeners(prefix, 2);
  return {
    log: one!.log,
    elsewhere: other!.log,
    close: async () => {
      await one!.close();
      await other!.close();
    },
  };
}

after(removeSharedRedis);
if (noRedis) test("RedisLog", { skip: noRedis }, () => {});
else contract("RedisLog", make, { limitedInAll: false, outlastsExpiry: false });
