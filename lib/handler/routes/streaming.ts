/**
 * `/streaming`: a query in, tokens out, in the format that the request asks for; and the streams
 * under it, to join, resume or stop.
 */
import type { ChatFields } from "../../chat.ts";
import { StreamError } from "../../error.ts";
import { queryParameter } from "../../http/url.ts";
import { FIELDS, fieldsOf } from "./chat_fields.ts";
import { type StandardSchema, standardSchema } from "../input.ts";
import type { Api } from "./route.ts";
import type { StreamRoute } from "./stream_route.ts";

/**
 * The body of `POST /streaming`. Fields of {@linkcode ChatFields} are checked; others are passed on
 * unchanged.
 */
export interface QueryInput {
  /** What the user asks; it may be empty. */
  query: string;
}

/** What a source gets as `input` under `POST /streaming`: the body. */
export interface StreamingInput extends ChatFields {
  /** Absent: the route has no API but its own. */
  api?: undefined;
  /** Absent: the input is the body. */
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

const streaming: StreamRoute<unknown> = { invalidStatus: 422, input: (body) => body };

/** Spillway's own API. */
export const streamingApi: Api = {
  routes: [
    {
      method: "POST",
      path: "/streaming",
      answer: (call, context) => context.stream(call, streaming),
    },
    {
      method: "GET",
      path: "/streaming",
      answer(call, context) {
        const runId = queryParameter(call.request, "runId");
        const detail = "runId is missing; POST begins a stream";
        if (runId === null) throw new StreamError("bad_request", { detail });
        return context.resume(call, { runId });
      },
    },
    {
      method: "GET",
      path: "/streaming/{id}",
      answer: (call, context) => context.resume(call, { streamId: call.name }),
    },
    {
      method: "DELETE",
      path: "/streaming/{id}",
      answer: (call, context) => context.stop(call, call.name),
    },
  ],
};
