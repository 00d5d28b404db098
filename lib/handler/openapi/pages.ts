/** The OpenAPI operations of the HTML pages: the chat and the reference. */
import type { Operation, Operations, ResponseObject } from "./operation.ts";

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

/** The operation of `GET /docs`. */
const docsPageOperation: Operation = {
  operationId: "docsPage",
  summary: "The API reference, with a live try-it for every route",
  tags: ["pages"],
  responses: page("The page."),
  problems: [],
};

/** The operations of the pages. */
export const pageOperations: Operations = {
  "GET /": chatPageOperation,
  "GET /docs": docsPageOperation,
};
