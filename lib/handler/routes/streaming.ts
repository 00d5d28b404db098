/** `POST /streaming`: a query in, tokens out, in the format that the request asks for. */
import type { ChatFields } from "../../chat.ts";
import { FIELDS, fieldsOf } from "./chat_fields.ts";
import { type StandardSchema, standardSchema } from "../input.ts";
import type { StreamRoute } from "./stream_route.ts";

/**
 * The body of `POST /streaming`. Fields of {@linkcode ChatFields} are checked; others are passed on
 * unchanged.
 */
export interface QueryInput {
  query: string;
}

/** What a source gets as `input` under `POST /streaming`: the body. */
export interface StreamingInput extends ChatFields {
  api?: undefined;
  body?: undefined;
}

/** The default input schema of `createHandler`. */
export const queryInput: StandardSchema<QueryInput, StreamingInput> = standardSchema(
  {
    type: "object",
    required: ["query"],
    properties: { query: { type: "string", description: "The prompt." }, ...FIELDS },
  },
  ({ query, ...body }: QueryInput): StreamingInput => {
    // The handler sets these two itself.
    const { api: _api, body: _body, ...fields } = fieldsOf(body);
    return { ...fields, query };
  },
);

/** The route `POST /streaming`. */
export const streaming: StreamRoute<unknown> = { invalidStatus: 422, input: (body) => body };
