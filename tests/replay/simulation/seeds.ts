/**
 * `bun seeds.ts 1 300` runs seeds one after another, and prints one line of JSON for each: what a
 * process of `npm run test:simulation` does. `seeds.ts 7` runs one seed, and prints its trace.
 */
import process from "node:process";
import { simulate } from "./run.ts";

/** What is printed of a run: what it came to, or why it failed. */
export interface SeedReport {
  readonly seed: number;
  readonly steps: number;
  readonly digest: string;
  readonly ends: Readonly<Record<string, number>>;
  readonly failure?: string;
}

const [first, last] = process.argv.slice(2).map(Number);
process.on("unhandledRejection", (error) => {
  console.log(JSON.stringify({ seed: first, steps: 0, digest: "", ends: {}, failure: `${error}` }));
  process.exit(1);
});
if (last === undefined) await trace(first!);
else {for (let seed = first!; seed <= last; seed++) {
    console.log(JSON.stringify(await reportOf(seed)));
  }}

async function reportOf(seed: number): Promise<SeedReport> {
  try {
    const { steps, digest, ends } = await simulate(seed);
    return { seed, steps, digest, ends: Object.fromEntries(ends) };
  } catch (error) {
    return { seed, steps: 0, digest: "", ends: {}, failure: (error as Error).message };
  }
}

async function trace(seed: number): Promise<void> {
  try {
    const { steps, digest, ends } = await simulate(seed, (line) => console.log(line));
    const told = [...ends].map(([end, count]) => `${end} ${count}`).join(", ");
    console.log(`seed ${seed} is well: ${steps} steps, digest ${digest}; its clients: ${told}`);
  } catch (error) {
    console.log((error as Error).message);
    process.exitCode = 1;
  }
}
