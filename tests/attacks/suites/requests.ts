/** The table of requests against a server: its status, never 5xx, never an unwanted stream, nothing left. */
import { type Attack, ATTACKS, type Want } from "../requests.ts";
import type { Context } from "../support/context.ts";
import { send } from "../support/raw.ts";
import { type Runtime, startVictim } from "../support/victim.ts";

const AT_ONCE = 16;

/** Sends each of the requests. */
export async function requests({ runtime, progress }: Context): Promise<string> {
  const victim = await startVictim(runtime);
  const faults: string[] = [];
  let next = 0;
  let done = 0;
  async function work(): Promise<void> {
    for (let attack = ATTACKS[next++]; attack !== undefined; attack = ATTACKS[next++]) {
      const fault = await check(attack, runtime, victim.port);
      if (fault !== undefined) faults.push(fault);
      if (++done % 50 === 0) progress(`${done} of ${ATTACKS.length} requests`);
    }
  }
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    await victim.settled().catch((error) => faults.push(error.message));
  } finally {
    await victim.child.stop();
  }
  if (faults.length > 0) throw new Error(faults.join("\n"));
  return `${ATTACKS.length} requests`;
}

/** Bytes that the buffers of a connection do not hold for sure. */
const UNREAD_BYTES = 128 * 1024;

/**
 * Whether a request is refused before all of it was read: the reset of the connection may take the response
 * away before its client has it (RFC 9112, section 9.6).
 */
function isUnread({ bytes }: Attack, wanted: readonly number[]): boolean {
  return bytes.length > UNREAD_BYTES && wanted.every((status) => status >= 400);
}

/** What is wrong with the response to a request; `undefined` if nothing is. */
async function check(attack: Attack, runtime: Runtime, port: number): Promise<string | undefined> {
  const { name, bytes, want, rest, end, streams } = attack;
  const reply = await send(port, bytes, { rest: rest ?? [], end: end ?? false });
  const wanted = statusesOf(want, runtime);
  const [status] = reply.statuses;
  const isWanted = wanted.includes(status!) || (status === 0 && isUnread(attack, wanted));
  // 505 is a runtime's own word for a request line that it cannot read.
  const isBroken = reply.statuses.some((found) => found >= 500 && found !== 505);
  const isUnwantedStream = reply.isStream && !streams;
  const leaks = /node_modules|\.ts:\d+|at \w+ \(|key-of-/.test(reply.text.slice(0, 5000));
  if (isWanted && !isBroken && !isUnwantedStream && !leaks) return undefined;
  const why = isUnwantedStream ? "a stream" : leaks ? "a leak" : `${reply.statuses}`;
  return `${name}: ${why} in place of ${wanted}${leaks ? `: ${reply.text.slice(0, 300)}` : ""}`;
}

function statusesOf(want: Want, runtime: Runtime): readonly number[] {
  const statuses = typeof want === "object" && runtime in want
    ? (want as Exclude<Want, number | readonly number[]>)[runtime]
    : want as number | readonly number[];
  return [statuses].flat();
}
