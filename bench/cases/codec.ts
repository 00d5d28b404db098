/** Codec: what do the encoder and the decoder cost by themselves, and against the field's parser? */
import type { Case } from "./case.ts";

export const codec: Case = {
  name: "codec",
  question: "encoder and decoder alone: ns per event and MB/s, by size of the chunks",
  runs: (subjects) =>
    ["decode token", "decode completion", "encode token"].flatMap((variant) =>
      subjects
        .filter((subject) => !variant.startsWith("encode") || subject.kind === "own")
        .map((subject) => ({ subject, variant, args: variant.split(" ") }))
    ),
};
