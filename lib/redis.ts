/**
 * `spillway/redis`: streams that many machines share, on a Redis that you have.
 *
 * @module
 */
export {
  bunRedis,
  type BunRedisClient,
  ioRedis,
  type IoRedisClient,
  nodeRedis,
  type NodeRedisClient,
  type NodeRedisCluster,
  type RedisConnection,
} from "./replay/redis/clients.ts";
export { RedisLog, type RedisLogOptions } from "./replay/redis/redis_log.ts";
