/**
 * How a route that streams describes itself: what it reads, and what it writes. Separate from the
 * streams that the handler makes of it, because each client API has one of its own.
 */
import type { Format } from "../../formats/format.ts";
import type { Schema } from "../schema.ts";

/** One route that streams. `Body` is the type of a body that fits its schema. */
export interface StreamRoute<Body> {
  /** The schema of the body. Without it the body is the input, and the handler's schema checks it. */
  readonly schema?: Schema;
  /** The status of the response to a body that does not fit the schema. */
  readonly invalidStatus: 400 | 422;
  /** Whether the body's `model` selects the source. */
  readonly picksModel?: boolean;
  /** Makes the source's input from the body; it still has to fit the handler's schema. */
  input(body: Body): unknown;
  /** The format of the response. Without it the request selects one. */
  format?(body: Body): Format;
  /** The name of that format, against which a resumed stream is checked. */
  readonly formatName?: string;
  /** The id of the chat, if the request has one. */
  chatId?(body: Body): string | undefined;
}
