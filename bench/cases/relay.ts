/** Relay: what does it cost to read a model's response from an upstream and send it on, and how much later is it? */
import process from "node:process";
import type { Case, Run } from "./case.ts";

/** How the upstream sends its response, by the path that asks for it; see `upstream.ts`. */
const PACES = { single: "a chunk a token", packed: "16 KiB chunks", paced: "first token" } as const;

/** The upstream's base URL for a request of the load generator. */
export function baseOf(url: string): string {
  return `${process.env["UPSTREAM"]}/${/[?&](single|packed|paced)/.exec(url)?.[1]}`;
}

export const relay: Case = {
  name: "relay",
  question:
    "an OpenAI-compatible upstream relayed: tokens per second of one core, time to the first token",
  runs(subjects) {
    const runs: Run[] = [];
    for (const [pace, variant] of Object.entries(PACES)) {
      for (const subject of subjects) {
        const { payload } = subject;
        const job = { path: `/?${pace}`, payload, n: 1000, warmMs: 1000, ms: 1000 };
        runs.push(
          pace === "paced"
            // One request after the other: engines need some hundred of them to compile what they run.
            ? { subject, variant, job: { ...job, mode: "first", connections: 1, warmMs: 3000 } }
            : { subject, variant, job: { ...job, mode: "burst", connections: 16 } },
        );
      }
    }
    return runs;
  },
};
