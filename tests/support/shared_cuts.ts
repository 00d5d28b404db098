/**
 * Answers that are cut between a client and two processes that share a log: each request goes to either.
 * Separate from the scene of one process, whose server is in the test's own.
 */
import assert from "node:assert/strict";
import { type Child, PATIENCE_MS, startScript, total } from "./child.ts";
import { type Cutter, readThroughCuts, startCutter } from "./cutting_proxy.ts";
import { newFile } from "./replay_file.ts";
import { until } from "./serve.ts";

/** What a process says of itself. */
interface Report {
  starts: [query: string, count: number][];
  active: Parameters<typeof total>[0];
  errors: string[];
}

/** Two processes behind a proxy that cuts their answers. */
export interface SharedCutScene {
  readonly cutter: Cutter;
  /** Reads query after query until there were as many cuts; each answer is exact, and made once. */
  run(read: (query: string) => Promise<string>): Promise<void>;
  close(): Promise<void>;
}

/** Starts both processes, on the runtime that runs the test. */
export async function startSharedCutScene(seed: number, cuts: number): Promise<SharedCutScene> {
  const file = newFile();
  const children = [0, 1].map(() => startScript("tests/support/child/cut_server.ts", file));
  const ports = await Promise.all(children.map(portOf));
  const cutter = await startCutter(ports, seed, { sparesFirst: "event", cuts });
  const reports = () =>
    Promise.all(
      ports.map(async (port): Promise<Report> =>
        await (await fetch(`http://127.0.0.1:${port}/report`)).json()
      ),
    );
  return {
    cutter,
    async run(read) {
      const queries = await readThroughCuts(cutter, cuts, read);
      let told = await reports();
      // A client may know by the text alone that it has all, before the end is made.
      for (let i = 0; i < 20 && told.some(({ active }) => total(active) > 0); i++) {
        await new Promise((go) => setTimeout(go, 100));
        told = await reports();
      }
      for (const { active, errors } of told) assert.deepEqual([total(active), errors], [0, []]);
      const starts = told.flatMap(({ starts }) => starts);
      assert.deepEqual(new Map(starts).size, queries);
      assert(starts.length === queries && starts.every(([, count]) => count === 1));
      assert(told.every(({ starts }) => starts.length > 0), "both processes made answers");
    },
    async close() {
      cutter.close();
      await Promise.all(children.map((child) => child.stop()));
    },
  };
}

async function portOf(child: Child): Promise<number> {
  const said = /^port (\d+)$/m;
  await until(() => said.test(child.output), PATIENCE_MS, `a server: ${child.errors}`);
  return Number(said.exec(child.output)![1]);
}
