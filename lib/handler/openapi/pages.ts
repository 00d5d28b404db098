/** The OpenAPI operations of the HTML pages: the chat and the reference. */
import type { Operation, ResponseObject } from "./operation.ts";

function page(description: string): Operation["responses"] {
  const html: ResponseObject = {
    description,
    content: { "text/html": { schema: { type: "string" } } },
  };
  return { 200: html, 304: { description: "It is as `If-None-Match` has it." } };
}

/** The operation of `GET /`. */
export const chatPageOperation: Operation = {
  operationId: "chatPage",
  summary: "A page to chat with the source",
  tags: ["pages"],
  responses: page("The page."),
  problems: [],
  anonymous: true,
};

/** The operation of `GET /docs`. */
export const docsPageOperation: Operation = {
  operationId: "docsPage",
  summary: "The reference, where every route can be tried",
  tags: ["pages"],
  responses: page("The page."),
  problems: [],
  anonymous: true,
};
