/** Capacity: how many streams of 50 tokens a second can one core hold, before their tokens are late? */
import { pathOf } from "../subjects.ts";
import type { Case } from "./case.ts";

export const capacity: Case = {
  name: "capacity",
  question:
    "the most streams at 50 tokens a second that one core holds, 99 of 100 tokens at their client within 50 ms",
  runs: (subjects) =>
    subjects.map((subject) => ({
      subject,
      variant: "most streams",
      ladder: {
        mode: "rung",
        path: pathOf(subject, "paced"),
        payload: subject.payload,
        n: 0,
        warmMs: 2500,
        ms: 3500,
      },
    })),
};
