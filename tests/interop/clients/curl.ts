/** `curl -N`, in a process of its own: the event stream, and the bare text. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { EventDecoder } from "../../../mod.ts";
import type { Client } from "../client.ts";

/** How a `curl` ended badly. */
class CurlError extends Error {
  readonly code: number | null;
  readonly body: string;

  constructor(code: number | null, stderr: string, body: string) {
    super(stderr.trim());
    this.code = code;
    this.body = body;
  }
}

/** The last event that was printed, where it was not `done`. */
class Failed extends Error {}

const ARGUMENTS = [
  "-sS",
  "-N",
  "-X",
  "POST",
  "-H",
  "content-type: application/json",
];

const EVENTS = ["--fail-with-body", "-H", "accept: text/event-stream"];
const PLAIN = ["--fail", "-H", "accept: text/plain"];

/** Runs `curl`, hands on what it prints, and rejects if it fails. */
function curl(
  url: string,
  query: string,
  args: string[],
  onBytes: (bytes: Uint8Array) => void,
  signal: AbortSignal,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const body = JSON.stringify({ query });
    const child = spawn("curl", [
      ...ARGUMENTS,
      ...args,
      "-d",
      body,
      `${url}/streaming`,
    ]);
    let printed = "";
    let stderr = "";
    child.stdout.on("data", (bytes: Uint8Array) => {
      printed += new TextDecoder().decode(bytes);
      onBytes(bytes);
    });
    child.stderr.setEncoding("utf8").on("data", (text) => stderr += text);
    child.on("error", reject);
    child.on("close", (code) => {
      if (code === 0) resolve(printed);
      else reject(new CurlError(code, stderr, printed));
    });
    signal.addEventListener("abort", () => child.kill("SIGKILL"));
  });
}

/** 22 is `curl`'s own code for a status from 400. */
function refused(error: unknown, status: number): string {
  assert(error instanceof CurlError, String(error));
  assert.equal(error.code, 22);
  assert(error.message.endsWith(` ${status}`), error.message);
  return error.body;
}

const installed = spawnSync("curl", ["--version"]).status === 0;
if (!installed) console.warn("curl is not installed: its tests are left out");

export const clients: Client[] = installed
  ? [
    {
      name: "curl -N",
      ask: async (url, query, onText, signal) => {
        const decoder = new EventDecoder();
        let last = { event: "", data: "" };
        await curl(url, query, EVENTS, (bytes) => {
          for (last of decoder.feed(bytes)) {
            if (last.event === "message") onText(JSON.parse(last.data).token);
          }
        }, signal);
        if (last.event !== "done") throw new Failed(last.data);
      },
      refused: (error, status, message) => {
        assert(refused(error, status).includes(message));
      },
      // It prints what it is sent, and has no opinion of it.
      broken: (error, message) => {
        assert(error instanceof Failed, String(error));
        assert.equal(JSON.parse(error.message).title, message);
      },
    },
    {
      name: "curl -N, plain",
      ask: async (url, query, onText, signal) => {
        const decoder = new TextDecoder("utf-8", {
          fatal: true,
          ignoreBOM: true,
        });
        await curl(url, query, PLAIN, (bytes) => {
          onText(decoder.decode(bytes, { stream: true }));
        }, signal);
        onText(decoder.decode());
      },
      refused,
      // 18: the transfer was cut short; 56: the connection was reset.
      broken: (error) => {
        assert(error instanceof CurlError, String(error));
        assert(
          [18, 56].includes(error.code!),
          `${error.code} ${error.message}`,
        );
      },
    },
  ]
  : [];
