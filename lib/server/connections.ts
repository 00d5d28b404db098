/**
 * How many streams can be relayed at a time. Separate from the open files because here it is the runtime
 * that sets the limit, and it can be asked for more.
 */
import type { RuntimeName } from "./listen.ts";

/** The variable with the number of connections that Bun's `fetch` opens at a time. */
export const BUN_CONNECTIONS = "BUN_CONFIG_MAX_HTTP_REQUESTS";
/** That number where the variable is not set, and the largest that Bun takes. */
const DEFAULT_CONNECTIONS = 256;
const MAX_CONNECTIONS = 65_336;

/**
 * One line that says how to relay `maxStreams` at a time; `undefined` if nothing has to be done.
 *
 * @param maxStreams The streams of one process.
 * @param set The variable's value. Whoever has set it has chosen.
 */
export function connectionsLimit(
  runtime: RuntimeName,
  maxStreams: number,
  set: string | undefined,
): string | undefined {
  if (runtime !== "bun" || set || maxStreams <= DEFAULT_CONNECTIONS) return undefined;
  return `Bun relays ${DEFAULT_CONNECTIONS} streams at a time, and others wait; ` +
    `${BUN_CONNECTIONS}=${Math.min(maxStreams, MAX_CONNECTIONS)} allows more`;
}
