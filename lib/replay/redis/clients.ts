/**
 * What `RedisLog` asks of a Redis client, and the few lines that make three of them answer it. They stand
 * apart because they are all that knows one client from another: they import none, they ask for shapes.
 */

/** A client of Redis: one connection for commands, and a second one for what is published. */
export interface RedisConnection {
  /** Sends a command. May wait for as long as it likes: nobody waits for it longer than 2 s. */
  send(command: string, args: string[]): Promise<unknown>;
  /**
   * Hears what is published on a channel. Called again with the same listener, once the call before has
   * settled, it MUST subscribe anew where that was lost, and call the listener once a message.
   */
  subscribe(channel: string, listener: (message: string) => void): Promise<unknown>;
  /** Closes what it has opened itself; the client that it was given is the giver's. */
  close?(): unknown;
}

/** What is asked of Bun's built-in `RedisClient`. */
export interface BunRedisClient {
  readonly connected: boolean;
  connect(): Promise<unknown>;
  send(command: string, args: string[]): Promise<unknown>;
  duplicate(): Promise<BunRedisClient>;
  subscribe(channel: string, listener: (message: string) => void): Promise<unknown>;
  unsubscribe(channel: string): Promise<unknown>;
  close(): void;
}

/**
 * Bun's built-in client, for `RedisLog`.
 *
 * @param client `new RedisClient(url)` of the package `bun`; it connects when it is needed.
 */
export function bunRedis(client: BunRedisClient): RedisConnection {
  let subscriber: Promise<BunRedisClient> | undefined;
  let connecting: Promise<unknown> | undefined;
  return {
    async send(command, args) {
      try {
        return await client.send(command, args);
      } catch (error) {
        // After ten attempts, half a minute, Bun 1.4 gives up for good: somebody has to say it again.
        if (!client.connected) {
          connecting ??= client.connect().catch(() => {}).finally(() => connecting = undefined);
        }
        throw error;
      }
    },
    async subscribe(channel, listener) {
      const own = await (subscriber ??= client.duplicate());
      if (!own.connected) await own.connect();
      // Bun 1.4 forgets a subscription with its connection, and adds a listener to those it has.
      try {
        await own.unsubscribe(channel);
      } catch {
        // It throws where there is nothing to unsubscribe from.
      }
      await own.subscribe(channel, listener);
    },
    close: async () => (await subscriber)?.close(),
  };
}

/** What is asked of a client of the package `redis`, also known as node-redis. */
export interface NodeRedisClient {
  readonly isOpen: boolean;
  connect(): Promise<unknown>;
  sendCommand(args: string[]): Promise<unknown>;
  duplicate(): NodeRedisClient;
  on(event: "error", listener: (error: unknown) => void): unknown;
  subscribe(channel: string, listener: (message: string) => void): Promise<unknown>;
  destroy(): void;
}

/**
 * A client of the package `redis` (node-redis, 5 or later), for `RedisLog`.
 *
 * @param client `createClient({ url })`, with a listener for `error` of yours, or the process ends with
 * the first lost connection. It is connected when it is needed.
 */
export function nodeRedis(client: NodeRedisClient): RedisConnection {
  let subscriber: NodeRedisClient | undefined;
  /** It goes on trying by itself, and what is sent meanwhile waits. */
  const open = (one: NodeRedisClient) => one.isOpen || one.connect().catch(() => {});
  return {
    send(command, args) {
      open(client);
      return client.sendCommand([command, ...args]);
    },
    async subscribe(channel, listener) {
      if (subscriber === undefined) {
        subscriber = client.duplicate();
        // What goes wrong with it goes wrong with the other one too, and is told there.
        subscriber.on("error", () => {});
      }
      open(subscriber);
      await subscriber.subscribe(channel, listener);
    },
    close: () => subscriber?.isOpen && subscriber.destroy(),
  };
}

/** What is asked of a client of the package `ioredis`. */
export interface IoRedisClient {
  call(command: string, ...args: string[]): Promise<unknown>;
  duplicate(): IoRedisClient;
  // deno-lint-ignore no-explicit-any
  on(event: string, listener: (...args: any[]) => void): unknown;
  subscribe(channel: string): Promise<unknown>;
  disconnect(): void;
}

/**
 * A client of the package `ioredis` (5 or later), for `RedisLog`.
 *
 * @param client `new Redis(url)`, with a listener for `error` of yours, or each failure is printed.
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
    close: () => subscriber?.disconnect(),
  };
}
