/**
 * The `createHandler()` of the module's main entry: that of `handler.ts`, by default with both pages
 * and the document. Separate from it so that a bundle of `spillway/handler` holds only what it asks
 * for.
 */
import { createHandler as createBareHandler, type Handler } from "./handler.ts";
import type { OutputOf, StandardSchema } from "./handler/input.ts";
import type { ApiInfo } from "./handler/openapi/document.ts";
import { openApi } from "./handler/openapi/open_api.ts";
import {
  ACTION,
  type ChatInput,
  HANDLER_OPTION_NAMES,
  type HandlerOptions,
  type InputFrom,
  type SourceInput,
} from "./handler/options.ts";
import { chatPage } from "./handler/pages/chat.ts";
import { referencePage } from "./handler/pages/docs.ts";
import { checkOptionNames } from "./option_names.ts";

/** Options of {@linkcode createHandler}. */
export interface FullHandlerOptions<
  Schema extends StandardSchema = StandardSchema<unknown, ChatInput>,
  Input = SourceInput<Schema>,
> extends HandlerOptions<Schema, Input> {
  /** What `/openapi.json` says of your API. */
  info?: ApiInfo;
  /** Whether `GET /` is a page to chat with the source. @default {true} */
  chat?: boolean;
  /**
   * Whether `GET /docs` is a page about `/openapi.json` where every route can be tried.
   * @default {true}
   */
  docs?: boolean;
  /** The pages in place of those two. @default {as `chat` and `docs` say} */
  pages?: NonNullable<HandlerOptions["pages"]>;
  /** The description of the API. @default {`openApi(info)`} */
  document?: NonNullable<HandlerOptions["document"]>;
}

/** The options that only this handler has. */
const OWN_OPTIONS: Record<Exclude<keyof FullHandlerOptions, keyof HandlerOptions>, true> = {
  info: true,
  chat: true,
  docs: true,
};

/**
 * The server as a `fetch` function, for `Bun.serve`, `Deno.serve` and every runtime that has one.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { createHandler } from "spillway";
 *
 * const handler = createHandler({
 *   source: async function* ({ input }) {
 *     yield* input.query.split(" ");
 *   },
 * });
 * const response = await handler.fetch(new Request("http://localhost/health"));
 * assert(response.status === 200);
 * ```
 *
 * @throws {RangeError} If an option is out of its bounds.
 * @throws {TypeError} If an option is unknown or of the wrong type.
 */
export function createHandler<Schema extends StandardSchema = StandardSchema<unknown, ChatInput>>(
  options: FullHandlerOptions<Schema, OutputOf<Schema>> & {
    inputFrom: InputFrom<OutputOf<Schema>>;
  },
): Handler;
/**
 * The server as a `fetch` function. Its sources take what the schema makes and, because there is no
 * `inputFrom`, what the chat routes have read.
 *
 * @throws {RangeError} If an option is out of its bounds.
 * @throws {TypeError} If an option is unknown or of the wrong type.
 */
export function createHandler<Schema extends StandardSchema = StandardSchema<unknown, ChatInput>>(
  options: FullHandlerOptions<Schema>,
): Handler;
export function createHandler<Schema extends StandardSchema, Input>(
  options: FullHandlerOptions<Schema, Input>,
): Handler {
  checkOptionNames(ACTION, options, [...HANDLER_OPTION_NAMES, ...Object.keys(OWN_OPTIONS)]);
  const { info, chat, docs, ...bare } = options;
  for (const [name, value] of Object.entries({ chat, docs })) {
    if (value === undefined) continue;
    if (typeof value !== "boolean") {
      throw new TypeError(`${ACTION}: ${name} is neither true nor false`);
    }
    if (bare.pages !== undefined) {
      throw new TypeError(`${ACTION}: ${name} is about the default pages, and pages replaces them`);
    }
  }
  if (info !== undefined && bare.document !== undefined) {
    throw new TypeError(`${ACTION}: info is about the default document, and document replaces it`);
  }
  return createBareHandler({
    ...bare as HandlerOptions,
    pages: bare.pages ??
      [...chat === false ? [] : [chatPage()], ...docs === false ? [] : [referencePage()]],
    document: bare.document ?? openApi(info),
  });
}
