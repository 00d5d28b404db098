/** What the server says of itself at an address. Separate from how that is printed. */
import type { OpenAIUpstream } from "../sources/openai.ts";
import type { Address } from "./listen.ts";
import type { Start } from "./stream_log.ts";

/** The names of the loopback address, as `Host` and URLs have them. */
const LOOPBACK = ["localhost", "127.0.0.1", "[::1]"];

/** What is known of the server before it listens. */
export interface Served {
  /** Bound to loopback, the server allows its own names alone, and they are added here. */
  readonly allowedHosts: string[];
  readonly upstreams: readonly OpenAIUpstream[];
  readonly workers: number;
  readonly wantsKey: boolean;
  readonly limit?: string;
  readonly connections?: string;
  /** The file that keeps the streams; empty for none. */
  readonly replay: string;
}

/** What the server says of itself when it listens. */
export function startOf({ hostname, port }: Address, served: Served): Start {
  const { allowedHosts, upstreams, workers, wantsKey, limit, connections, replay } = served;
  const host = hostname.includes(":") ? `[${hostname}]` : hostname;
  const isLocal = LOOPBACK.includes(host) || hostname.startsWith("127.");
  // Bound to loopback, only its own names are served: a page elsewhere may point its name here.
  if (isLocal && allowedHosts.length === 0) allowedHosts.push(...new Set([...LOOPBACK, host]));
  const everywhere = hostname === "0.0.0.0" || hostname === "::";
  const name = everywhere ? "127.0.0.1" : host;
  return {
    url: `http://${name}:${port}`,
    everywhere,
    source: upstreams.length === 0
      ? "echo"
      : `relay to ${
        upstreams.map(({ baseURL, model }) => `${new URL(baseURL).host}, model ${model}`)
          .join("; if that fails, to ")
      }`,
    ...workers > 1 ? { workers } : {},
    wantsKey,
    isOpen: !isLocal && !wantsKey,
    ...replay === "" ? {} : { replay },
    ...limit === undefined ? {} : { limit },
    ...connections === undefined ? {} : { connections },
    ...allowedHosts.length > 0 && !allowedHosts.includes(name) ? { host: allowedHosts[0]! } : {},
  };
}
