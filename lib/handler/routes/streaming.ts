/** `POST /streaming`: a query in, tokens out, in whichever format the request asks for. */
import type { ChatFields } from "../../chat.ts";
import { FIELDS, fieldsOf } from "./chat_fields.ts";
import { type StandardSchema, standardSchema } from "../input.ts";
import type { StreamRoute } from "./stream_route.ts";

/** The body of `POST /streaming`. Fields of {@linkcode ChatFields} are checked, others pass as they are. */
export interface QueryInput {
  query: string;
}

/** What a source is given under `POST /streaming`: the body. */
export interface StreamingInput extends ChatFields {
  api?: undefined;
  body?: undefined;
}

/** What `createHandler` takes as input by default. */
export const queryInput: StandardSchema<QueryInput, StreamingInput> = standardSchema(
  {
    type: "object",
    required: ["query"],
    properties: { query: { type: "string", description: "The prompt." }, ...FIELDS },
  },
  ({ query, ...body }: QueryInput): StreamingInput => {
    // These two are ours to give.
    const { api: _api, body: _body, ...fields } = fieldsOf(body);
    return { ...fields, query };
  },
);

/** The route. */
export const streaming: StreamRoute<unknown> = { invalidStatus: 422, input: (body) => body };
