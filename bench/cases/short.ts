/** Short streams: what does a stream cost that has hardly any tokens? */
import { pathOf } from "../subjects.ts";
import type { Case } from "./case.ts";

export const short: Case = {
  name: "short",
  question: "streams of 1 and of 100 tokens from a generator, 64 at a time: processor time of each",
  runs: (subjects) =>
    [1, 100].flatMap((n) =>
      subjects.map((subject) => ({
        subject,
        variant: `${n} token${n === 1 ? "" : "s"}`,
        job: {
          mode: "burst",
          path: pathOf(subject, "generator"),
          payload: subject.payload,
          connections: 64,
          n,
          warmMs: 1400,
          ms: 900,
        },
      }))
    ),
};
