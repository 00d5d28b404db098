/** Gateway: how much later is a model's answer through a gateway, and how many short answers pass through one core? */
import process from "node:process";
import { APART_MS, DELTAS, KILOBYTE_DELTAS } from "../deltas.ts";
import { UPSTREAM_ITSELF } from "../subjects.ts";
import type { Case, Run } from "./case.ts";

/** The upstream's base URL, for the programs of the gateways. */
export const upstreamURL = (): string => `http://127.0.0.1:${process.env["PACER"]}/v1`;

/** Bun's `fetch` has 256 connections at most unless it is told otherwise: further requests wait for one of them. */
const BUN_CONNECTIONS = { BUN_CONFIG_MAX_HTTP_REQUESTS: "4096" };
/** Beside 512 streams, as few as leave every gateway time: there, the delay is its own. */
const VARIANTS = [
  { variant: "512 streams", connections: 512, n: DELTAS },
  { variant: "64 streams", connections: 64, n: DELTAS },
  { variant: "answers of 1 KB, 64 at a time", connections: 64, n: KILOBYTE_DELTAS },
];

export const gateway: Case = {
  name: "gateway",
  question:
    `chat completions through a gateway: ${DELTAS} deltas ${APART_MS} ms apart, and answers of 1 KB`,
  runs: (subjects) =>
    VARIANTS.flatMap(({ variant, connections, n }) =>
      subjects.map((subject): Run => ({
        subject,
        variant,
        env: BUN_CONNECTIONS,
        job: {
          mode: "gateway",
          path: "/v1/chat/completions",
          payload: subject.payload,
          connections,
          n,
          warmMs: 700,
          ms: 3500,
          headers: subject.headers ?? {},
          asksUpstream: subject.name === UPSTREAM_ITSELF,
        },
      }))
    ),
};
