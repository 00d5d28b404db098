/** Tokens that break a careless encoder. */
export const HOSTILE = [
  "",
  "a\nb",
  "\r",
  "\n\n",
  ": x",
  "data: y",
  "日本",
  "🌊",
  "\u0000",
  " end ",
];
