/** The check of option names: what it lets through, what it rejects, and what it suggests. */
import assert from "node:assert/strict";
import test from "node:test";
import { checkOptionNames } from "../lib/option_names.ts";
import { collect, script } from "../lib/testing.ts";
import {
  anthropicFormat,
  createHandler,
  echo,
  EventDecoder,
  MemoryLog,
  openai,
  openaiFormat,
  relay,
  resume,
  sse,
  stop,
  uiMessageFormat,
} from "../mod.ts";

const KNOWN = ["heartbeatMs", "stallMs", "baseURL", "cors", "log"];

/** The message with which options are rejected. */
function messageOf(options: unknown): string {
  try {
    checkOptionNames("Cannot stream", options as object, KNOWN);
  } catch (error) {
    assert(error instanceof TypeError);
    return error.message;
  }
  return "";
}

test("checkOptionNames() lets known names through, whatever their values", () => {
  assert.equal(messageOf({}), "");
  assert.equal(messageOf({ heartbeatMs: undefined, log: null, cors: "x" }), "");
});

test("checkOptionNames() names what is unknown, and the nearest known name", () => {
  const nearest: Record<string, string> = {
    hearbeatMs: "heartbeatMs",
    heartbeatms: "heartbeatMs",
    heartBeatTime: "heartbeatMs",
    stalMs: "stallMs",
    baseurl: "baseURL",
    cor: "cors",
    cros: "cors",
    logs: "log",
  };
  for (const [name, known] of Object.entries(nearest)) {
    const expected = `Cannot stream: unknown option ${name}; did you mean ${known}?`;
    assert.equal(messageOf({ stallMs: 1, [name]: undefined }), expected);
  }
});

test("checkOptionNames() suggests nothing where nothing is near", () => {
  for (const name of ["", "x", "foo", "temperature", "constructor", "__proto__", "toString"]) {
    const options = Object.fromEntries([[name, 1]]);
    assert.equal(messageOf(options), `Cannot stream: unknown option ${name}`);
  }
});

test("checkOptionNames() rejects what is no object", () => {
  assert.equal(messageOf(null), "Cannot stream: null is no object of options");
  assert.equal(messageOf(5), "Cannot stream: 5 is no object of options");
});

test("every function that takes options names an unknown one", async () => {
  const wrong = { nonsense: 1 } as never;
  const request = new Request("http://localhost/");
  const made: Record<string, () => unknown> = {
    relay: () => relay(new Response(), wrong),
    echo: () => echo(wrong),
    openai: () => openai(wrong),
    openaiFormat: () => openaiFormat.with(wrong),
    anthropicFormat: () => anthropicFormat.with(wrong),
    uiMessageFormat: () => uiMessageFormat.with(wrong),
    MemoryLog: () => new MemoryLog(wrong),
    EventDecoder: () => new EventDecoder(wrong),
    script: () => script([], wrong),
    collect: () => collect(new Response(), wrong),
    createHandler: () => createHandler(wrong),
    drain: () => createHandler({ source: "a" }).drain(wrong),
    sse: () => sse(request, "a", wrong),
    resume: () => resume(request, wrong),
    stop: () => stop(wrong),
  };
  for (const [name, call] of Object.entries(made)) {
    await assert.rejects(
      // What throws at once rejects as well.
      (async () => await call())(),
      { name: "TypeError", message: /^Cannot .*: unknown option nonsense/ },
      name,
    );
  }
});
