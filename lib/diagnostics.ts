/**
 * Events for programs that observe their process, through `node:diagnostics_channel` where the
 * runtime has it. Separate from the totals because an event has what a count has not: the request,
 * the report, the error.
 */

/** What is published, by the name of its channel. Docs: `docs/metrics.md`. */
export type ChannelName =
  | "spillway:stream:end"
  | "spillway:request:reject"
  | "spillway:resume"
  | "spillway:upstream:error"
  | "spillway:store:outage"
  | "spillway:store:recovery";

interface Channel {
  readonly hasSubscribers: boolean;
  publish(message: object): void;
}

interface Runtime {
  process?: {
    getBuiltinModule?(name: string): { channel(name: string): Channel } | undefined;
  };
}

const channels = /* @__PURE__ */ new Map<ChannelName, Channel | undefined>();

/**
 * The channel of that name. Asked for at run time and never imported, so that a bundle for a browser
 * or a worker holds no module of Node's.
 */
function channelOf(name: ChannelName): Channel | undefined {
  let found = channels.get(name);
  if (found !== undefined || channels.has(name)) return found;
  try {
    const { process } = globalThis as Runtime;
    found = process?.getBuiltinModule?.("node:diagnostics_channel")?.channel(name);
  } catch {
    // A runtime that has the function and not the module: nobody can subscribe.
  }
  channels.set(name, found);
  return found;
}

/**
 * Publishes an event, if anybody has subscribed to its channel. Never throws.
 *
 * @param messageOf Makes the event; called only for subscribers.
 */
export function publish(name: ChannelName, messageOf: () => object): void {
  const channel = channelOf(name);
  if (!channel?.hasSubscribers) return;
  try {
    channel.publish(messageOf());
  } catch {
    // A subscriber's error is not the stream's; the runtimes report it as an uncaught exception.
  }
}
