/** Fairness: while one stream bursts a million tokens, how long does somebody else's request wait? */
import { pathOf } from "../subjects.ts";
import type { Case } from "./case.ts";

const TOKENS = 1_000_000;

export const fairness: Case = {
  name: "fairness",
  question: "another request's worst wait while one stream bursts a million tokens",
  runs: (subjects) =>
    (["generator", "sync"] as const).flatMap((shape) =>
      subjects.filter(({ kind, shapes }) =>
        shapes.includes(shape) && (shape === "generator" || kind !== "peer")
      ).map((subject) => ({
        subject,
        variant: shape,
        job: {
          mode: "fairness",
          path: pathOf(subject, shape),
          payload: subject.payload,
          connections: 1,
          n: TOKENS,
          warmMs: 1000,
          ms: 2500,
        },
      }))
    ),
};
