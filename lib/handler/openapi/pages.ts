/** The pages for people: the chat and the reference. */
import type { Operation, ResponseObject } from "./operation.ts";

function page(description: string): Operation["responses"] {
  const html: ResponseObject = {
    description,
    content: { "text/html": { schema: { type: "string" } } },
  };
  return { 200: html, 304: { description: "It is as `If-None-Match` has it." } };
}

/** `GET /`. */
export const chatPageOperation: Operation = {
  operationId: "chatPage",
  summary: "A page to chat with the source",
  tags: ["pages"],
  responses: page("The page."),
  problems: [],
  anonymous: true,
};

/** `GET /docs`. */
export const docsPageOperation: Operation = {
  operationId: "docsPage",
  summary: "The reference, where every route can be tried",
  tags: ["pages"],
  responses: page("The page."),
  problems: [],
  anonymous: true,
};
