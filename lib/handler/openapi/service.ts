/** The OpenAPI operations of the server itself: health, metrics, and this document. */
import { active } from "../../counters.ts";
import { totals } from "../../totals.ts";
import { jsonAnswer, type JsonSchema, type Operation, type Operations, ref } from "./operation.ts";

const COUNT: JsonSchema = { type: "integer", minimum: 0 };

function counts(...names: string[]): JsonSchema {
  return {
    type: "object",
    properties: Object.fromEntries(names.map((name) => [name, COUNT])),
    required: names,
  };
}

/** Counts by names that come with time. */
const COUNTS: JsonSchema = { type: "object", additionalProperties: COUNT };

/** The operation of `GET /health`. */
const healthOperation: Operation = {
  operationId: "health",
  summary: "Health check",
  tags: ["service"],
  responses: {
    200: jsonAnswer("The server takes new streams; `degraded` while its log cannot be reached.", {
      type: "object",
      properties: { status: { enum: ["ok", "degraded"] } },
      required: ["status"],
    }),
    503: jsonAnswer("The server is draining, and takes no new streams.", {
      type: "object",
      properties: { status: { const: "draining" } },
      required: ["status"],
    }),
  },
  problems: [],
};

/** The operation of `GET /metrics`. */
const metricsOperation: Operation = {
  operationId: "metrics",
  summary: "Metrics",
  tags: ["service"],
  responses: {
    200: {
      description: "Prometheus text, or JSON where `Accept` prefers it.",
      content: {
        "text/plain": { schema: { type: "string" } },
        "application/json": { schema: ref("Stats") },
      },
    },
  },
  problems: [],
  schemas: {
    Stats: {
      type: "object",
      properties: {
        active: counts(...Object.keys(active)),
        ended: counts("completed", "failed", "cancelled"),
        tokens: COUNT,
        bytes: COUNT,
        codes: COUNTS,
        responses: COUNTS,
        rejected: COUNTS,
        rejectedBodies: COUNTS,
        log: counts("streams", "events", "bytes"),
        process: {
          type: "object",
          properties: Object.fromEntries(
            Object.entries(totals).map(([name, value]) => [
              name,
              typeof value === "number" ? COUNT : counts(...Object.keys(value)),
            ]),
          ),
          required: Object.keys(totals),
        },
      },
      required: [
        ...["active", "ended", "tokens", "bytes", "codes"],
        ...["responses", "rejected", "rejectedBodies", "process"],
      ],
    },
  },
};

/** The operation of `GET /openapi.json`. */
const openApiOperation: Operation = {
  operationId: "openapi",
  summary: "The OpenAPI document",
  tags: ["service"],
  responses: { 200: jsonAnswer("An OpenAPI 3.2 document.", { type: "object" }) },
  problems: [],
};

/** The operations of the server itself. */
export const serviceOperations: Operations = {
  "GET /health": healthOperation,
  "GET /metrics": metricsOperation,
  "GET /openapi.json": openApiOperation,
};
