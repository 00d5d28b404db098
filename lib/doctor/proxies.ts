/** The proxies that a response names, and the line of each that lets a stream through. */
import type { Spacing } from "./spacing.ts";

/** What can be wrong with a proxy. */
export type Trouble = "compression" | "buffering" | "idle_cut" | "connections";

/** A proxy, with the line to change for each trouble. */
export interface Proxy {
  readonly name: string;
  readonly lines: Readonly<Record<Trouble, string>>;
}

/** Where a proxy is recognised by what its response headers say of it. */
const NAMED: readonly (Proxy & { readonly pattern: RegExp })[] = [
  {
    name: "Cloudflare",
    pattern: /cloudflare/i,
    lines: {
      compression: "Response header: Cache-Control: no-cache, no-transform",
      buffering: "Cloudflare: switch response buffering off for this path",
      idle_cut: "Cloudflare cuts after 100 s: heartbeatMs (HEARTBEAT_MS) below that",
      connections: "Cloudflare: look for a rate limiting rule on this path",
    },
  },
  {
    name: "nginx",
    pattern: /nginx|openresty/i,
    lines: {
      compression: "nginx, in this location: gzip off;",
      buffering:
        "nginx, in this location: proxy_buffering off; (and no proxy_ignore_headers X-Accel-Buffering)",
      idle_cut: "nginx, in this location: proxy_read_timeout 60s;",
      connections: "nginx: raise limit_conn for this location",
    },
  },
  {
    name: "Caddy",
    pattern: /caddy/i,
    lines: {
      compression: "Caddy: leave the path out: @rest not path /streaming*, then encode @rest gzip",
      buffering: "Caddy, in reverse_proxy: flush_interval -1 (and no response_buffers)",
      idle_cut: "Caddy, in reverse_proxy: transport http { read_timeout 60s }",
      connections: "Caddy, in transport http: raise max_conns_per_host",
    },
  },
  {
    name: "HAProxy",
    pattern: /haproxy/i,
    lines: {
      compression: "HAProxy: leave text/event-stream out of compression type",
      buffering: "HAProxy, in the backend: option http-no-delay",
      idle_cut: "HAProxy, in the backend: timeout server 60s",
      connections: "HAProxy, in the server line: raise maxconn",
    },
  },
  {
    name: "Apache",
    pattern: /apache/i,
    lines: {
      compression: 'Apache: SetEnvIf Request_URI "^/streaming" no-gzip',
      buffering: "Apache, in ProxyPass: flushpackets=on",
      idle_cut: "Apache: ProxyTimeout 60",
      connections: "Apache, in ProxyPass: raise max",
    },
  },
];

/** The proxy that the response headers name. */
export function proxyOf(headers: Readonly<Record<string, string>>): Proxy | undefined {
  const { server = "", via = "" } = headers;
  const names = `${server} ${via}${"cf-ray" in headers ? " cloudflare" : ""}`;
  return NAMED.find(({ pattern }) => pattern.test(names));
}

/** HAProxy names itself nowhere. Without `http-no-delay` it gathers what comes within 200 ms; a model's pauses say nothing. */
export function proxyByPace({ shape, pauseMs, heldMs }: Spacing): Proxy | undefined {
  const isHaproxy = heldMs !== undefined && shape === "lumps" && pauseMs >= 180 && pauseMs <= 260;
  return isHaproxy ? NAMED.find(({ name }) => name === "HAProxy") : undefined;
}
