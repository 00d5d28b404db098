/**
 * What `RedisLog` requires of a Redis client, and the adapters for three of them. Separate from the
 * store because only this file distinguishes clients. It imports none of them and requires only
 * their shapes.
 */

/** A Redis client: one connection for commands, and a second one for what is published. */
export interface RedisConnection {
  /** Sends a command. It may take any time: callers wait for at most 2 s. */
  send(command: string, args: string[]): Promise<unknown>;
  /**
   * Subscribes to a channel. If it is called again with the same listener, after the previous call
   * has settled or has taken 5 s, it MUST subscribe anew where the subscription was lost, and MUST
   * call the listener once per message.
   */
  subscribe(channel: string, listener: (message: string) => void): Promise<unknown>;
  /**
   * Makes a new connection in place of that for commands. Called at most once a second, while the
   * server says that it takes no writes: after a failover, another one may have its name.
   */
  reconnect?(): unknown;
  /** Closes what the connection has opened itself; a client that was passed in stays open. */
  close?(): unknown;
}

/** The part of Bun's built-in `RedisClient` that is used. */
export interface BunRedisClient {
  /** Whether the connection is open. */
  readonly connected: boolean;
  /** Opens the connection, or opens it again after the client has given up. */
  connect(): Promise<unknown>;
  /** Sends a command, and connects first if need be. */
  send(command: string, args: string[]): Promise<unknown>;
  /** Makes a second client with the same settings, for the subscription. */
  duplicate(): Promise<BunRedisClient>;
  /** Calls the listener for each message of the channel. */
  subscribe(channel: string, listener: (message: string) => void): Promise<unknown>;
  /** Removes all listeners of the channel. */
  unsubscribe(channel: string): Promise<unknown>;
  /** Closes the connection. */
  close(): void;
}

/**
 * An adapter for Bun's built-in client, for `RedisLog`.
 *
 * @param client `new RedisClient(url)` of the package `bun`; it connects when it is needed.
 */
export function bunRedis(client: BunRedisClient): RedisConnection {
  let subscriber: Promise<BunRedisClient> | undefined;
  let connecting: Promise<unknown> | undefined;
  let subscribes = 0;
  return {
    async send(command, args) {
      try {
        return await client.send(command, args);
      } catch (error) {
        // After ten attempts, half a minute, Bun 1.4 gives up for good unless it is told to connect
        // again.
        if (!client.connected) {
          connecting ??= client.connect().catch(() => {}).finally(() => connecting = undefined);
        }
        throw error;
      }
    },
    async subscribe(channel, listener) {
      const call = ++subscribes;
      const own = await (subscriber ??= client.duplicate());
      if (!own.connected) await own.connect();
      // A later call has waited for the same connection: its listener would be the second one.
      if (call < subscribes) return;
      // Bun 1.4 forgets a subscription with its connection, and adds a listener to those it has.
      try {
        await own.unsubscribe(channel);
      } catch {
        // Unsubscribing throws where there is no subscription.
      }
      await own.subscribe(channel, listener);
    },
    async reconnect() {
      client.close();
      await client.connect();
    },
    close: async () => (await subscriber)?.close(),
  };
}

/** The part of a client of the package `redis`, also known as node-redis, that is used. */
export interface NodeRedisClient {
  /** Whether the client was connected, and connects again by itself. */
  readonly isOpen: boolean;
  /** Opens the connection. */
  connect(): Promise<unknown>;
  /** Sends a command, which is the first of `args`. */
  sendCommand(args: string[]): Promise<unknown>;
  /** Makes a second client with the same settings, for the subscription. */
  duplicate(): NodeRedisClient;
  /** Listens to the errors of the connection. */
  on(event: "error", listener: (error: unknown) => void): unknown;
  /** Calls the listener for each message of the channel. */
  subscribe(channel: string, listener: (message: string) => void): Promise<unknown>;
  /** Closes the connection at once. */
  destroy(): void;
}

/** The part of a client for clusters of the package `redis` that is used. */
export interface NodeRedisCluster {
  /** The servers that have slots; a client for one server has no such list. */
  readonly masters: readonly unknown[];
  /** Whether the client was connected, and connects again by itself. */
  readonly isOpen: boolean;
  /** Opens the connections. */
  connect(): Promise<unknown>;
  /** Sends a command, which is the first of `args`, to the server that has the key. */
  sendCommand(
    firstKey: string | undefined,
    isReadonly: boolean | undefined,
    args: string[],
  ): Promise<unknown>;
  /** Makes a second client with the same settings, for the subscription. */
  duplicate(): NodeRedisCluster;
  /** Listens to the errors of the connections. */
  on(event: "error", listener: (error: unknown) => void): unknown;
  /** Calls the listener for each message of the channel. */
  subscribe(channel: string, listener: (message: string) => void): Promise<unknown>;
  /** Closes the connections at once. */
  destroy(): void;
}

/**
 * An adapter for a client of the package `redis` (node-redis, 5 or later), for `RedisLog`.
 *
 * @param client `createClient({ url })`, or `createCluster({ rootNodes })` for a cluster, with your own listener for `error`: without one the
 * process ends with the first lost connection. It is connected when it is needed.
 */
export function nodeRedis(client: NodeRedisClient | NodeRedisCluster): RedisConnection {
  const isCluster = "masters" in client;
  let subscriber: NodeRedisClient | NodeRedisCluster | undefined;
  const opened = new Map<unknown, Promise<unknown>>();
  /** Connects if need be. The client retries by itself, and commands wait meanwhile. */
  const open = (one: NodeRedisClient | NodeRedisCluster) => {
    if (!one.isOpen) opened.set(one, one.connect().catch(() => {}));
    // A cluster's client keeps no commands until it is connected.
    return isCluster ? opened.get(one) : undefined;
  };
  return {
    async send(command, args) {
      const isOpened = open(client);
      if (!isCluster) return client.sendCommand([command, ...args]);
      await isOpened;
      const key = command === "EVAL" && args[1] !== "0" ? args[2] : undefined;
      return client.sendCommand(key, undefined, [command, ...args]);
    },
    async subscribe(channel, listener) {
      if (subscriber === undefined) {
        subscriber = client.duplicate();
        // Its errors are those of the other client too, and are reported there.
        subscriber.on("error", () => {});
      }
      await open(subscriber);
      await subscriber.subscribe(channel, listener);
    },
    async reconnect() {
      // A cluster's client follows its servers by itself.
      if (isCluster) return;
      if (client.isOpen) client.destroy();
      await client.connect();
    },
    close: () => subscriber?.isOpen && subscriber.destroy(),
  };
}

/** The part of a client of the package `ioredis` that is used. */
export interface IoRedisClient {
  /** Sends a command. */
  call(command: string, ...args: string[]): Promise<unknown>;
  /** Makes a second client with the same settings, for the subscription. */
  duplicate(): IoRedisClient;
  /** Listens to errors, and to `message`, whose listener gets the channel and the text. */
  // deno-lint-ignore no-explicit-any
  on(event: string, listener: (...args: any[]) => void): unknown;
  /** Subscribes to a channel; its messages are events of the client. */
  subscribe(channel: string): Promise<unknown>;
  /** Closes the connection at once, and opens it again if `reconnect` is true. */
  disconnect(reconnect?: boolean): void;
}

/**
 * An adapter for a client of the package `ioredis` (5 or later), for `RedisLog`.
 *
 * @param client `new Redis(url)`, with your own listener for `error`: without one each failure is
 * printed.
 */
export function ioRedis(client: IoRedisClient): RedisConnection {
  let subscriber: IoRedisClient | undefined;
  const listeners = new Map<string, (message: string) => void>();
  return {
    send: (command, args) => client.call(command, ...args),
    async subscribe(channel, listener) {
      if (subscriber === undefined) {
        subscriber = client.duplicate();
        subscriber.on("error", () => {});
        subscriber.on("message", (from: string, message: string) => listeners.get(from)?.(message));
      }
      listeners.set(channel, listener);
      await subscriber.subscribe(channel);
    },
    reconnect: () => client.disconnect(true),
    close: () => subscriber?.disconnect(),
  };
}
