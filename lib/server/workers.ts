/** How many processes serve. Separate from the settings because the machine and the runtime say so as well. */
import { availableParallelism } from "node:os";
import { runtimeName } from "./listen.ts";
import type { Settings } from "./settings.ts";

/**
 * How many processes serve.
 *
 * @throws {RangeError} If that cannot be.
 */
export function workersOf({ workers, maxStreams }: Settings): number {
  const count = workers === "auto" ? availableParallelism() : workers;
  if (count === 1) return 1;
  if (runtimeName === "deno") {
    throw new RangeError("WORKERS is for Bun and Node; Deno has deno serve --parallel");
  }
  if (maxStreams >= count) return count;
  throw new RangeError(`MAX_STREAMS is ${maxStreams}, less than one for each of ${count} workers`);
}
