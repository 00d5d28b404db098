/**
 * `/v1/responses`, the routes of OpenAI's Responses API: a response is made, read again, resumed,
 * cancelled, deleted. Its id is `resp_` and the id of its stream in the log.
 */
import { StreamError } from "../../error.ts";
import { responsesFormat } from "../../formats/responses.ts";
import { jsonResponse } from "../../http/response.ts";
import { queryParameter } from "../../http/url.ts";
import { InvalidInput } from "../schema.ts";
import { lastIn, responseIn } from "./responses_log.ts";
import { withoutReferences } from "./responses_references.ts";
import { createResponse, inputOf, type ResponsesRequest } from "./responses_request.ts";
import type { Api, Call, RouteContext } from "./route.ts";

/** The Responses API, as far as Spillway implements it. */
export const responsesApi: Api = {
  routes: [
    { method: "POST", path: "/v1/responses", answer: create },
    // Before the next path, which is that of everything under a response.
    { method: "POST", path: "/v1/responses/{id}/cancel", answer: cancel },
    { method: "GET", path: "/v1/responses/{id}", answer: retrieve },
    {
      method: "DELETE",
      path: "/v1/responses/{id}",
      async answer(call, context) {
        await context.forget(call, streamIdOf(call));
        return jsonResponse({ id: call.name, object: "response", deleted: true });
      },
    },
  ],
  errors: { under: "/v1/responses", format: responsesFormat },
  formats: [responsesFormat],
};

/** Begins a response. One in the background that is not streamed is answered with how it begins. */
async function create(call: Call, context: RouteContext): Promise<Response> {
  let isPolled = false;
  const response = await context.stream<ResponsesRequest>(call, {
    ...createResponse,
    async input(body) {
      if (body.background === true && !context.resumable) throw noBackground();
      isPolled = body.background === true && body.stream !== true;
      return inputOf(body, await withoutReferences(call, context, body.input));
    },
  });
  return isPolled && response.ok ? jsonResponse(await lastIn(response, "first")) : response;
}

function noBackground(): InvalidInput {
  const faults = [{ pointer: "/background", detail: "This server keeps no responses" }];
  return new InvalidInput(faults, "invalid_input", { status: 400 });
}

/** The response as it is now, or its events after a number. */
async function retrieve(call: Call, context: RouteContext): Promise<Response> {
  const { request } = call;
  if (queryParameter(request, "stream") !== "true") return await answerNow(call, context, "first");
  const streamId = streamIdOf(call);
  const text = queryParameter(request, "starting_after");
  if (text !== null && !/^\d{1,15}$/.test(text)) {
    throw new StreamError("bad_request", {
      detail: "starting_after is not an integer of 0 or more",
    });
  }
  // The number of an event in the log is one more than its `sequence_number`.
  const after = text === null ? undefined : Number(text) + 1;
  return await context.resumeAfter(call, { streamId, format: responsesFormat.name, after });
}

/** Stops a response, and answers with how it has ended. */
async function cancel(call: Call, context: RouteContext): Promise<Response> {
  await context.stop(call, streamIdOf(call));
  return await answerNow(call, context, "last");
}

async function answerNow(
  call: Call,
  context: RouteContext,
  which: "first" | "last",
): Promise<Response> {
  return jsonResponse(await responseIn(call, context, streamIdOf(call), which));
}

/** The stream of a response. */
function streamIdOf({ name }: Call): string {
  const [, streamId] = /^resp_([\w-]{1,128})$/.exec(name) ?? [];
  if (streamId === undefined) throw new StreamError("not_found");
  return streamId;
}
