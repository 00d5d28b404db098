/** Replay: what do ids and a log cost a burst, what does a second client cost, and how fast is a reload? */
import type { Subject } from "../subjects.ts";
import type { Case, Run } from "./case.ts";

const READERS = 1000;
const FAN_TOKENS = 4_000;

function run(subject: Subject, variant: string, path: string, connections: number, n: number): Run {
  const job = { mode: "burst" as const, payload: "token" as const, warmMs: 3000, ms: 2000 };
  return { subject, variant, job: { ...job, path, connections, n } };
}

export const replay: Case = {
  name: "replay",
  question: "resumable bursts against plain ones, one generation for 1,000 clients, and a reload",
  runs: (subjects) =>
    subjects.flatMap((subject) => {
      const burst = "/?shape=generator&format=json";
      const runs = [
        run(subject, "generator json 64", burst, 64, 1000),
        run(subject, "1,000 streams of their own", burst, READERS, FAN_TOKENS),
      ];
      if (subject.name === "spillway") return runs;
      // What a handler does for each stream, with a log as by default: it counts, too.
      if (subject.name === "spillway handler") return runs.slice(0, 1);
      return [
        runs[0]!,
        run(subject, "1,000 readers of one", `/fan?readers=${READERS}`, READERS, FAN_TOKENS),
        run(subject, "10,000 events again", "/again?format=json&shape=generator", 8, 10_000),
      ];
    }),
};
