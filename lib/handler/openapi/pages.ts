/** The OpenAPI operations of the HTML pages: the chat and the reference. */
import type { Operation, ResponseObject } from "./operation.ts";

function page(description: string): Operation["responses"] {
  const html: ResponseObject = {
    description,
    content: { "text/html": { schema: { type: "string" } } },
  };
  return { 200: html, 304: { description: "Not modified since the `If-None-Match` version." } };
}

/** The operation of `GET /`. */
export const chatPageOperation: Operation = {
  operationId: "chatPage",
  summary: "The chat page",
  tags: ["pages"],
  responses: page("The page."),
  problems: [],
  anonymous: true,
};

/** The operation of `GET /docs`. */
export const docsPageOperation: Operation = {
  operationId: "docsPage",
  summary: "The API reference, with a live try-it for every route",
  tags: ["pages"],
  responses: page("The page."),
  problems: [],
  anonymous: true,
};
