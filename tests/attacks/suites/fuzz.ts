/** Seeded fuzzers: `fuzz.ts` on each runtime, and bytes that are no request against its server. */
import { DENO_RUN, startChild } from "../../support/child.ts";
import { int, pick, random } from "../../support/random.ts";
import { until } from "../../support/serve.ts";
import { ATTACKS } from "../requests.ts";
import type { Context } from "../support/context.ts";
import { send } from "../support/raw.ts";
import { startVictim } from "../support/victim.ts";

/** Decoder, encoder and handler, each in a process of the runtime. */
export async function fuzz({ runtime, quick }: Context): Promise<string> {
  const args = ["tests/attacks/fuzz.ts", "1", quick ? "150" : "5000"];
  const child = startChild(runtime, runtime === "deno" ? [...DENO_RUN, ...args] : args);
  await until(() => child.exit !== undefined, 300_000, "the fuzzers have ended");
  if (child.exit !== 0) throw new Error(`${child.output}${child.errors}`.slice(0, 5000));
  return child.output.trim();
}

/** Breaks the bytes of a request where a parser looks. */
function mutate(bytes: string, chance: () => number): string {
  let text = bytes;
  for (let times = 1 + int(chance, 3); times > 0; times--) {
    const lines = text.split("\r\n");
    const at = int(chance, lines.length);
    const line = lines[at]!;
    const middle = int(chance, line.length + 1);
    const edits: (() => void)[] = [
      () => void lines.splice(at, 1),
      () => void lines.splice(at, 0, line),
      () => void lines.splice(at, 0, pick(chance, pick(chance, ATTACKS).bytes.split("\r\n"))),
      () => void (lines[at] = line.slice(0, middle)),
      () => void (lines[at] = `${line.slice(0, middle)}\n${line.slice(middle)}`),
      () =>
        void (lines[at] = `${line.slice(0, middle)}${String.fromCharCode(int(chance, 256))}${
          line.slice(middle + 1)
        }`),
      () =>
        void (lines[at] = line.replace(
          /\d+/,
          () => pick(chance, ["0", "-1", "99999999999", "0x1", ""]),
        )),
      () => void (lines[at] = line + line),
    ];
    pick(chance, edits)();
    text = lines.join("\r\n");
  }
  return text;
}

/** Broken requests over sockets: the server lives, is silent, and never says 5xx. */
export async function bytesOfRequests({ runtime, quick, progress }: Context): Promise<string> {
  const victim = await startVictim(runtime, { bodyTimeoutMs: 200 });
  const count = quick ? 200 : 5000;
  const short = ATTACKS.filter(({ bytes }) => bytes.length < 2000);
  const faults: string[] = [];
  let next = 0;
  async function work(): Promise<void> {
    for (let seed = next++; seed < count; seed = next++) {
      const chance = random(seed);
      const bytes = mutate(pick(chance, short).bytes, chance);
      const { statuses, text } = await send(victim.port, bytes, { timeoutMs: 800, end: true });
      const isBad = statuses.some((status) => status >= 500 && status !== 505 && status !== 501);
      if (isBad) faults.push(`seed ${seed}: ${JSON.stringify(bytes)}: ${text.slice(0, 200)}`);
      if (seed % 1000 === 999) progress(`${seed + 1} of ${count}`);
    }
  }
  try {
    await Promise.all(Array.from({ length: 32 }, work));
    await victim.settled().catch((error) => faults.push(error.message));
  } finally {
    await victim.child.stop();
  }
  if (faults.length > 0) throw new Error(faults.slice(0, 10).join("\n"));
  return `${count} broken requests`;
}
