/** First token: when many clients ask at one moment, when does each of them see a byte, and a token? */
import { pathOf } from "../subjects.ts";
import type { Case } from "./case.ts";

export const firstToken: Case = {
  name: "first",
  question:
    "1,000-token streams asked for at one moment: time to the first byte and to the first token",
  runs: (subjects) =>
    [64, 1].flatMap((connections) =>
      subjects.map((subject) => ({
        subject,
        variant: `${connections} at once`,
        job: {
          mode: "first",
          path: pathOf(subject, subject.shapes[0]!),
          payload: subject.payload,
          connections,
          n: 1000,
          warmMs: 700,
          ms: 1000,
        },
      }))
    ),
};
