/** Paced: what does a token cost, and how late is it, when many streams trickle 50 tokens a second as models do? */
import { pathOf } from "../subjects.ts";
import type { Case } from "./case.ts";

/** 250 streams leave even a small machine idle most of the time: there, lateness is the stream's own. */
export const paced: Case = {
  name: "paced",
  question:
    "streams at 50 tokens a second: processor time per delivered token, lateness at the reader",
  runs: (subjects) =>
    [250, 1000, 5000].flatMap((connections) =>
      subjects.map((subject) => ({
        subject,
        variant: `${connections} streams`,
        job: {
          mode: "paced",
          path: pathOf(subject, "paced"),
          payload: subject.payload,
          connections,
          n: 0,
          warmMs: 3000,
          ms: 3000,
        },
      }))
    ),
};
