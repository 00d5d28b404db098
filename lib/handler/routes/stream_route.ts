/**
 * How a route that streams describes itself: what it reads, and what it writes. Separate from the
 * streams that the handler makes of it, because each client API has one of its own.
 */
import type { Format } from "../../formats/format.ts";
import type { Schema } from "../schema.ts";

/** What a route reads. `Body` is the type of a body that fits its schema. */
export interface BodyRoute<Body> {
  /**
   * The schema of the body of a chat route. Without it the body is the input, and the handler's schema
   * checks it.
   */
  readonly schema?: Schema;
  /** The status of the response to a body that does not fit the schema. */
  readonly invalidStatus: 400 | 422;
  /** Whether the body's `model` selects the source. */
  readonly picksModel?: boolean;
  /**
   * Makes the source's input from the body.
   *
   * @throws {StreamError} If the source could not be told what the body says.
   */
  input(body: Body, settings: InputSettings): unknown | Promise<unknown>;
}

/** What the handler's options say of the input of every route. */
export interface InputSettings {
  /** What becomes of a tool that only Anthropic's servers can run. */
  readonly builtInTools: "reject" | "drop";
}

/** One route that streams. */
export interface StreamRoute<Body> extends BodyRoute<Body> {
  /** The format of the response. Without it the request selects one. */
  format?(body: Body): Format;
  /** The name of that format, against which a resumed stream is checked. */
  readonly formatName?: string;
  /** Whether the generation runs to its end without readers, for which there has to be a log. */
  isBackground?(body: Body): boolean;
  /**
   * Whether its clients send `X-Run-Id` with every request, for servers that keep streams. Without a
   * log it means nothing then, in place of an error.
   */
  readonly isAlwaysNamed?: boolean;
  /** The id of the chat, if the request has one. */
  chatId?(body: Body): string | undefined;
}
