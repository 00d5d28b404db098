/** A runtime's own server, as a bare control: Bun's or Deno's, with nothing of Spillway around it. */

type Fetch = (request: Request) => Response | Promise<Response>;
interface Runtime {
  Bun?: { serve(options: unknown): { port: number } };
  Deno?: { serve(options: unknown, fetch: Fetch): { addr: { port: number } } };
}

/** Serves on any free port of the loopback address, and returns the port. */
export function serveBare(fetch: Fetch): number {
  const { Bun, Deno } = globalThis as Runtime;
  const address = { hostname: "127.0.0.1", port: 0 };
  if (Bun) return Bun.serve({ ...address, idleTimeout: 0, development: false, fetch }).port;
  return Deno!.serve({ ...address, onListen() {} }, fetch).addr.port;
}
