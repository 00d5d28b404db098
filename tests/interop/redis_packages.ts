/** The Redis clients of the registry, made ready. */
import { Cluster, Redis } from "ioredis";
import { createClient, createCluster } from "redis";
import { ioRedis, nodeRedis, type RedisConnection } from "../../lib/redis.ts";

/** A connection, and how to be rid of it. */
export interface Connected {
  readonly connection: RedisConnection;
  close(): unknown;
}

/** By the name of the package. */
export const packages: Record<"redis" | "ioredis", (url: string) => Connected> = {
  redis(url) {
    const client = createClient({ url });
    client.on("error", () => {});
    return { connection: nodeRedis(client), close: () => client.isOpen && client.destroy() };
  },
  ioredis(url) {
    const client = new Redis(url);
    client.on("error", () => {});
    return { connection: ioRedis(client), close: () => client.disconnect() };
  },
};

/** Their clients for clusters. */
export const clusters: Record<"redis" | "ioredis", (url: string) => Connected> = {
  redis(url) {
    const client = createCluster({ rootNodes: [{ url }] });
    client.on("error", () => {});
    return { connection: nodeRedis(client), close: () => client.isOpen && client.destroy() };
  },
  ioredis(url) {
    const client = new Cluster([url]);
    client.on("error", () => {});
    return { connection: ioRedis(client), close: () => client.disconnect() };
  },
};
