/** The OpenAPI operations of the two pages, the chat and the reference, and of `POST /`, which the chat asks. */
import { pageChat } from "../pages/chat.ts";
import {
  BODY_PROBLEMS,
  jsonBody,
  type Operation,
  type Operations,
  ref,
  type ResponseObject,
  STREAM_PROBLEMS,
} from "./operation.ts";
import { formatParameter, streamResponse, streamSchemas } from "./streaming.ts";

function page(description: string): Operation["responses"] {
  const html: ResponseObject = {
    description,
    content: { "text/html": { schema: { type: "string" } } },
  };
  return { 200: html, 304: { description: "Not modified since the `If-None-Match` version." } };
}

/** The operation of `GET /`. */
const chatPageOperation: Operation = {
  operationId: "chatPage",
  summary: "The chat page",
  tags: ["pages"],
  responses: page("The page."),
  problems: [],
};

/** The operation of `POST /`. */
const pageChatOperation: Operation = {
  operationId: "pageChat",
  summary: "Create a stream, as the chat page does",
  tags: ["pages"],
  parameters: [formatParameter],
  requestBody: jsonBody(ref("ChatPageRequest")),
  responses: { 200: streamResponse },
  problems: [...BODY_PROBLEMS, "model_not_found", "not_acceptable", ...STREAM_PROBLEMS],
  schemas: {
    ...streamSchemas,
    ChatPageRequest: {
      ...pageChat.schema,
      description: "Other fields are passed to the source.",
      examples: [{ messages: [{ role: "user", content: "Hello?" }] }],
    },
  },
  resumable: true,
};

/** The operation of `GET /docs`. */
const docsPageOperation: Operation = {
  operationId: "docsPage",
  summary: "The API reference, with a live try-it for every route",
  tags: ["pages"],
  responses: {
    ...page("The page."),
    308: { description: "The page is at the path without a slash at its end." },
  },
  problems: [],
};

/** The operations of the pages. */
export const pageOperations: Operations = {
  "GET /": chatPageOperation,
  "POST /": pageChatOperation,
  "GET /docs": docsPageOperation,
};
