/** Paced: what does a token cost, and how late is it, when many streams trickle 50 tokens a second as models do? */
import { pathOf } from "../subjects.ts";
import type { Case } from "./case.ts";

const COMPARED: readonly string[] = ["bare", "hono"];

/** 250 streams leave even a small machine idle most of the time: there, lateness is the stream's own. */
export const paced: Case = {
  name: "paced",
  question:
    "streams at 50 tokens a second: processor time per delivered token, lateness at the client",
  runs: (subjects) =>
    [250, 1000, 5000].flatMap((connections) =>
      // Low load and overload are measured only for those that Spillway is compared with.
      subjects.filter(({ kind, name }) =>
        connections === 1000 || kind !== "peer" || COMPARED.includes(name)
      ).map((subject) => ({
        subject,
        variant: `${connections} streams`,
        job: {
          mode: "paced",
          path: pathOf(subject, "paced"),
          payload: subject.payload,
          connections,
          n: 0,
          warmMs: 2000,
          ms: 2500,
        },
      }))
    ),
};
