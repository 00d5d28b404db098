/** Every error code that a client may get, from whichever part of Spillway it is. */
import { CODES, type CodesOf } from "../../error.ts";
import { FORMAT_CODES } from "../../formats/codes.ts";
import { REPLAY_CODES } from "../../replay/codes.ts";
import { UPSTREAM_CODES } from "../../sources/codes.ts";
import { DECODER_CODES } from "../../sse/codes.ts";
import { HANDLER_CODES } from "../codes.ts";

/** The codes, with the status and the title that a client gets. */
export const ALL_CODES: CodesOf<string> = {
  ...CODES,
  ...DECODER_CODES,
  ...FORMAT_CODES,
  ...UPSTREAM_CODES,
  ...REPLAY_CODES,
  ...HANDLER_CODES,
};
