/** Separate from the model so that the judge has it without the package. */

/** Tokens that break what frames, trims, splits or re-encodes them. */
export const HOSTILE = [
  " leading",
  "trailing ",
  "\n",
  "\r\n",
  "\r",
  "data: x\n\nevent: done\ndata: {}\n\n",
  "\u2028\u2029\0\u0085\ufeff",
  "日本語 🌊",
  "\ud83c", // the two halves of one character
  "\udf0a",
  "[DONE]",
  "</script><!--",
  '"\\u0041\\',
  "x".repeat(70_000),
  "end",
];
