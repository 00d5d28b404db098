/**
 * The laboratory of the hot path: what a token and a stream cost the server's processor, in Spillway, in checkouts of
 * it, in the prototype and in the floor. All servers stay up and are measured by turns in short windows, so that a
 * ratio is of one moment; by processor time, so that it holds on a machine that others use.
 */
import process from "node:process";
import { parseArgs } from "node:util";
import type { Job } from "./job.ts";
import { Connection } from "./connection.ts";
import { percentile, processorNs, spread } from "./measure.ts";
import { type Shape, TOKENS, type Tokens } from "./producers.ts";
import { PROGRAMS, ROOT, withServer } from "./server.ts";
import { pathOf, type Runtime, type Subject, SUBJECTS } from "./subjects.ts";

const HELP = `bun bench/lab.ts [options]
  --on RUNTIMES   bun, deno, node; comma-separated ("bun,deno")
  --subjects LIST subjects by name, or NAME=CHECKOUT for Spillway of another checkout ("floor,prototype,spillway")
  --shapes LIST   shapes of the source ("generator,micro")
  --n LIST        tokens a stream ("1000")
  --tokens LIST   fresh, interned ("fresh,interned")
  --format NAME   text or json ("text")
  --connections N streams at a time ("64")
  --rounds N      windows of each row ("9")
  --ms N          length of a window ("300")`;

const { values } = parseArgs({
  options: {
    on: { type: "string", default: "bun,deno" },
    subjects: { type: "string", default: "floor,prototype,spillway" },
    shapes: { type: "string", default: "generator,micro" },
    n: { type: "string", default: "1000" },
    tokens: { type: "string", default: "fresh,interned" },
    format: { type: "string", default: "text" },
    connections: { type: "string", default: "64" },
    rounds: { type: "string", default: "9" },
    ms: { type: "string", default: "300" },
    help: { type: "boolean", default: false },
  },
});

const list = (text: string) => text.split(",").map((each) => each.trim()).filter(Boolean);
const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const WARM_MS = 1500;

/** One server that is up. */
type Bench = { name: string; subject: Subject; where: Pick<Job, "port" | "pid"> };

/** Keeps a server busy until `stop`, which resolves when its last response has ended. */
class Load {
  readonly #connections: Connection[] = [];
  readonly #path: string;
  #running = true;
  #busy = 0;
  #ended = () => {};

  private constructor(path: string) {
    this.#path = path;
  }

  static async start(port: number, path: string, connections: number): Promise<Load> {
    const load = new Load(path);
    for (let i = 0; i < connections; i++) {
      load.#connections.push(
        await Connection.open(port, {
          end(connection) {
            if (load.#running) connection.send(path);
            else if (--load.#busy === 0) load.#ended();
          },
        }),
      );
    }
    load.#busy = connections;
    for (const connection of load.#connections) connection.send(path);
    return load;
  }

  /** Responses so far; the part of one that is under way counts for its bytes. */
  responses(): number {
    let [complete, bytes, all] = [0, 0, 0];
    for (const connection of this.#connections) {
      if (connection.failure !== undefined) throw new Error(`${connection.failure}: ${this.#path}`);
      complete += connection.responses;
      bytes += connection.completeBytes;
      all += connection.bytes;
    }
    return complete === 0 ? 0 : all / (bytes / complete);
  }

  async stop(): Promise<void> {
    const ended = new Promise<void>((resolve) => this.#ended = resolve);
    this.#running = false;
    await Promise.race([ended, sleep(5000)]);
    for (const connection of this.#connections) connection.close();
  }
}

/** Processor ns of one stream, in a window of `ms`. */
async function measure(bench: Bench, path: string, warmMs: number, ms: number): Promise<number> {
  const { port, pid } = bench.where;
  const load = await Load.start(port, path, Number(values.connections));
  await sleep(warmMs);
  const before = [load.responses(), processorNs(pid)] as const;
  await sleep(ms);
  const after = [load.responses(), processorNs(pid)] as const;
  await load.stop();
  return (after[1] - before[1]) / (after[0] - before[0]);
}

/** Measures every variant of the servers by turns, and prints a table. */
async function compare(benches: Bench[], title: string): Promise<void> {
  console.log(`\n${title}`);
  for (const shape of list(values.shapes) as Shape[]) {
    for (const n of list(values.n).map(Number)) {
      const path = (bench: Bench) =>
        `${pathOf(bench.subject, shape, values.format === "json" ? "json" : "text")}&n=${n}`;
      for (const bench of benches) await measure(bench, path(bench), WARM_MS, 0);
      const rounds: number[][] = [];
      for (let round = 0; round < Number(values.rounds); round++) {
        const row: number[] = benches.map(() => 0);
        for (let i = 0; i < benches.length; i++) {
          const at = round % 2 === 0 ? i : benches.length - 1 - i;
          row[at] = await measure(benches[at]!, path(benches[at]!), 120, Number(values.ms));
        }
        rounds.push(row);
      }
      for (const [i, { name }] of benches.entries()) {
        // What a quarter of the rounds stay below: other processes can only add to it.
        const least = percentile(rounds.map((row) => row[i]!), 0.25);
        const ratios = rounds.map((row) => row[0]! / row[i]!);
        const { median, min, max } = spread(ratios);
        console.log(
          `  ${shape} ${n} ${name.padEnd(12)} ${(least / n).toFixed(1).padStart(8)} ns/token ` +
            `${(least / 1000).toFixed(1).padStart(7)} µs/stream  ` +
            `${benches[0]!.name}/this ${median.toFixed(2)} (${min.toFixed(2)} to ${
              max.toFixed(2)
            })`,
        );
      }
    }
  }
}

/** Starts the servers one inside the other, so that each is ended whatever happens. */
async function withAll(
  names: string[],
  runtime: Runtime,
  tokens: Tokens,
  started: Bench[],
): Promise<void> {
  const [asked, ...others] = names;
  if (asked === undefined) return await compare(started, `${runtime}, ${tokens} tokens`);
  const [name, checkout] = asked.includes("=") ? asked.split("=") : [asked, undefined];
  const subject = SUBJECTS.find((each) =>
    each.name === (checkout === undefined ? name : "spillway") && each.runtime === runtime
  );
  if (subject === undefined) throw new RangeError(`No such subject: ${asked}/${runtime}`);
  await withServer(
    subject,
    (where) => withAll(others, runtime, tokens, [...started, { name: name!, subject, where }]),
    checkout ?? ROOT,
    { [TOKENS]: tokens },
  );
}

if (values.help) console.log(HELP);
else {
  for (const runtime of list(values.on) as Runtime[]) {
    if (PROGRAMS[runtime] === undefined) throw new RangeError(`No such runtime: ${runtime}`);
    for (const tokens of list(values.tokens) as Tokens[]) {
      await withAll(list(values.subjects), runtime, tokens, []);
    }
  }
  process.exit(0);
}
