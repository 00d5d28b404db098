/** `/v1/responses`: what reaches the source, what comes back, and what the log has of it later. */
import assert from "node:assert/strict";
import test from "node:test";
import { createHandler, type Handler } from "../../../lib/handler.ts";
import { MemoryLog, type Source } from "../../../mod.ts";
import {
  ask,
  assertLeaves,
  eventsOf,
  FAILURES,
  keeper,
  nothingLeft,
  post,
  Puppet,
  quiet,
  SMALL,
  UNREADABLE,
} from "../../support/handler_requests.ts";

const PATH = "/v1/responses";
const body = { model: "any", input: "Hi", stream: true };

// deno-lint-ignore no-explicit-any -- what a server sent
type Json = any;

async function objectOf(response: Response, status = 200): Promise<Json> {
  const text = await response.text();
  assert.equal(response.status, status, text);
  assert.equal(response.headers.get("content-type"), "application/json");
  return JSON.parse(text);
}

/** The events of a stream, as numbers and types; the last one is `[DONE]`. */
async function numbersOf(response: Response): Promise<[number, string][]> {
  assert.equal(response.status, 200);
  const events = await eventsOf(response);
  assert.equal(events.pop()!.data, "[DONE]");
  return events.map(({ data }) => {
    const { sequence_number, type } = JSON.parse(data);
    return [sequence_number, type];
  });
}

const retrieve = (handler: Handler, id: string, query = "") =>
  ask(handler, `${PATH}/${id}${query}`);

/** Waits until a response has a status. */
async function becomes(handler: Handler, id: string, status: string): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if ((await objectOf(await retrieve(handler, id))).status === status) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.fail(`It did not become ${status}`);
}

test("a response streams, or is one document, under the name that was asked for", async () => {
  const { handler } = keeper();
  const events = await eventsOf(await post(handler, PATH, body));
  const { response }: Json = JSON.parse(events.at(-2)!.data);
  const document = await objectOf(await post(handler, PATH, { ...body, stream: null }));
  for (const { model, output, usage } of [response, document]) {
    assert.deepEqual([model, output[0].content[0].text], ["any", "Hello 世界"]);
    assert.deepEqual([usage.input_tokens, usage.output_tokens, usage.total_tokens], [3, 2, 5]);
  }
  await nothingLeft();
});

test("a response without a log is not kept, and cannot be in the background", async () => {
  const { handler, inputs } = keeper({ log: false });
  const { id } = await objectOf(await post(handler, PATH, { ...body, stream: false }));
  assert.equal((await objectOf(await retrieve(handler, id), 404)).error.code, "not_found");
  const { error } = await objectOf(await post(handler, PATH, { ...body, background: true }), 400);
  assert.deepEqual([error.param, error.type], ["background", "invalid_request_error"]);
  assert.equal(inputs.length, 1);
  await nothingLeft();
});

test("a response in the background is answered at once, and runs to its end without readers", async () => {
  const puppet = new Puppet();
  const { source } = puppet;
  const handler = createHandler({ source, disconnect: "cancel", commitAfterMs: 0 });
  const asked = { ...body, stream: false, background: true };
  const first = await objectOf(await post(handler, PATH, asked));
  assert.deepEqual([first.status, first.background, first.output], ["queued", true, []]);
  assert.equal((await objectOf(await retrieve(handler, first.id))).status, "queued");
  puppet.say("Hel", "lo");
  await becomes(handler, first.id, "in_progress");
  puppet.end();
  await becomes(handler, first.id, "completed");
  const last = await objectOf(await retrieve(handler, first.id));
  assert.deepEqual([last.id, last.output[0].content[0].text], [first.id, "Hello"]);
  assert.equal(puppet.runs, 1);
  await nothingLeft();
});

test("a response in the background does not wait for the log to be read", async () => {
  const log = new MemoryLog({ maxStreamBytes: 128 * 1024 });
  const source: Source<Json> = async function* () {
    for (let i = 0; i < 3000; i++) {
      yield "0123456789";
      if (i % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 0));
    }
  };
  const handler = createHandler({ source: source as never, log });
  const { id } = await objectOf(
    await post(handler, PATH, { model: "m", input: "x", background: true }),
  );
  await becomes(handler, id, "completed");
  const { output } = await objectOf(await retrieve(handler, id));
  assert.equal(output[0].content[0].text.length, 30_000);
  assert.equal(
    (await objectOf(await retrieve(handler, id, "?stream=true"), 410)).error.code,
    "gone",
  );
  await nothingLeft();
});

test("GET has the events after a number, the same for every reader", async () => {
  const { handler } = keeper();
  const response = await post(handler, PATH, body);
  const id = `resp_${response.headers.get("x-stream-id")}`;
  const all = await numbersOf(response);
  assert.deepEqual(all.map(([number]) => number), [...all.keys()]);
  assert.deepEqual(await numbersOf(await retrieve(handler, id, "?stream=true")), all);
  for (const number of all.keys()) {
    const rest = await retrieve(handler, id, `?stream=true&starting_after=${number}`);
    assert.deepEqual(await numbersOf(rest), all.slice(number + 1));
  }
  // What lies beyond the end is the end alone.
  assert.deepEqual(
    await numbersOf(await retrieve(handler, id, "?stream=true&starting_after=999")),
    [],
  );
  for (const wrong of ["-1", "x", "1.5"]) {
    const { error } = await objectOf(
      await retrieve(handler, id, `?stream=true&starting_after=${wrong}`),
      400,
    );
    assert.equal(error.code, "bad_request");
  }
  await nothingLeft();
});

test("POST cancel stops a response, and one that has ended stays as it is", async () => {
  const puppet = new Puppet();
  const handler = createHandler({ source: puppet.source, commitAfterMs: 0 });
  const streamed = await post(handler, PATH, body);
  const id = `resp_${streamed.headers.get("x-stream-id")}`;
  puppet.say("half");
  for (let i = 0; i < 2; i++) {
    const response = await objectOf(await ask(handler, `${PATH}/${id}/cancel`, { method: "POST" }));
    assert.deepEqual([response.id, response.status], [id, "cancelled"]);
    assert.equal(response.output[0].content[0].text, "half");
  }
  assert.equal(puppet.reason, "stopped");
  assert.equal((await numbersOf(streamed)).at(-1)![1], "response.incomplete");
  const { handler: other } = keeper();
  const ended = await post(other, PATH, body);
  await ended.text();
  const path = `${PATH}/resp_${ended.headers.get("x-stream-id")}/cancel`;
  assert.equal((await objectOf(await ask(other, path, { method: "POST" }))).status, "completed");
  await nothingLeft();
});

test("DELETE stops a response and drops it", async () => {
  const puppet = new Puppet();
  const log = new MemoryLog();
  const handler = createHandler({ source: puppet.source, commitAfterMs: 0, log });
  const { id } = await objectOf(
    await post(handler, PATH, { model: "m", input: "x", background: true }),
  );
  const path = `${PATH}/${id}`;
  assert.deepEqual(await objectOf(await ask(handler, path, { method: "DELETE" })), {
    id,
    object: "response",
    deleted: true,
  });
  assert.equal(puppet.reason, "stopped");
  assert.equal(log.size, 0);
  for (const method of ["DELETE", "GET"]) {
    assert.equal(
      (await objectOf(await ask(handler, path, { method }), 404)).error.code,
      "not_found",
    );
  }
  await nothingLeft();
});

test("a failed response is had again with its error", async () => {
  const handler = createHandler({ source: FAILURES.late, ...quiet });
  const response = await post(handler, PATH, body);
  assert.deepEqual((await numbersOf(response)).slice(-2).map(([, type]) => type), [
    "error",
    "response.failed",
  ]);
  const found = await objectOf(
    await retrieve(handler, `resp_${response.headers.get("x-stream-id")}`),
  );
  assert.deepEqual([found.status, found.error.code], ["failed", "truncated"]);
  await nothingLeft();
});

test("a response is its owner's, and no other stream is a response", async () => {
  const { handler } = keeper({
    authorize: (request) => request.headers.get("x-owner") ?? "nobody",
  });
  const response = await post(handler, PATH, body, { "x-owner": "a" });
  await response.text();
  const id = `resp_${response.headers.get("x-stream-id")}`;
  const as = (owner: string, path: string, method = "GET") =>
    ask(handler, `${PATH}/${path}`, { method, headers: { "x-owner": owner } });
  assert.equal((await as("a", id)).status, 200);
  for (
    const [path, method] of [[id], [`${id}?stream=true`], [`${id}/cancel`, "POST"], [id, "DELETE"]]
  ) assert.equal((await as("b", path!, method)).status, 404, `${method} ${path}`);
  const other = await post(handler, "/streaming", { query: "x" }, { "x-owner": "a" });
  await other.text();
  const stream = `resp_${other.headers.get("x-stream-id")}`;
  for (const path of [stream, "resp_", "x", `${id}/input_items`]) {
    assert.equal((await as("a", path)).status, 404, path);
  }
  await nothingLeft();
});

test("every kind of item reaches the source in the words of the chat completions API", async () => {
  const { handler, inputs } = keeper();
  const input = [
    { role: "developer", content: "Be brief." },
    {
      type: "message",
      role: "user",
      content: [
        { type: "input_text", text: "Look" },
        { type: "input_image", image_url: "https://a.example/x.png", detail: "low" },
        { type: "input_file", filename: "a.pdf", file_data: "data:application/pdf;base64,AA==" },
        { type: "input_file", file_id: "file-1" },
        { type: "input_audio", input_audio: { data: "AA==", format: "wav" } },
      ],
    },
    { type: "reasoning", id: "rs_1", summary: [{ type: "summary_text", text: "hm" }] },
    { type: "message", role: "assistant", content: [{ type: "output_text", text: "I ask." }] },
    {
      type: "function_call",
      id: "fc_1",
      call_id: "c1",
      name: "f",
      arguments: '{"a":1}',
      status: "completed",
    },
    { type: "custom_tool_call", call_id: "c2", name: "g", input: "raw" },
    { type: "function_call_output", call_id: "c1", output: "sunny" },
    {
      type: "custom_tool_call_output",
      call_id: "c2",
      output: [
        { type: "input_text", text: "see" },
        { type: "input_image", image_url: "data:image/png;base64,AA==" },
      ],
    },
    { type: "web_search_call", id: "ws_1", status: "completed", action: { query: "q" } },
    { role: "user", content: "So?" },
  ];
  const tools = [
    { type: "function", name: "f", description: "d", parameters: { type: "object" }, strict: true },
    { type: "custom", name: "g", format: { type: "grammar", syntax: "lark", definition: "x" } },
    { type: "web_search" },
    { type: "namespace", name: "n", tools: [] },
  ];
  const further = {
    instructions: "Instructed.",
    max_output_tokens: 9,
    reasoning: { effort: "low" },
    text: { format: { type: "json_schema", name: "s", schema: {}, strict: true } },
    tool_choice: { type: "function", name: "f" },
    previous_response_id: "resp_x",
  };
  await (await post(handler, PATH, { ...body, input, tools, ...further })).text();
  const seen = inputs[0] as Json;
  const image = (url: string, more = {}) => ({ type: "image_url", image_url: { url, ...more } });
  assert.deepEqual(seen.messages, [
    { role: "system", content: "Instructed.\n\nBe brief." },
    {
      role: "user",
      content: [
        { type: "text", text: "Look" },
        image("https://a.example/x.png", { detail: "low" }),
        {
          type: "file",
          file: { filename: "a.pdf", file_data: "data:application/pdf;base64,AA==" },
        },
        { type: "file", file: { file_id: "file-1" } },
        { type: "input_audio", input_audio: { data: "AA==", format: "wav" } },
      ],
    },
    {
      role: "assistant",
      content: "I ask.",
      reasoning_content: "hm",
      tool_calls: [
        { id: "c1", type: "function", function: { name: "f", arguments: '{"a":1}' } },
        { id: "c2", type: "custom", custom: { name: "g", input: "raw" } },
      ],
    },
    { role: "tool", tool_call_id: "c1", content: "sunny" },
    {
      role: "tool",
      tool_call_id: "c2",
      content: "see\n(The rest of the result is in the user's next message.)",
    },
    {
      role: "user",
      content: [
        { type: "text", text: "What the tool call c2 returned:" },
        image("data:image/png;base64,AA=="),
      ],
    },
    { role: "assistant", content: JSON.stringify(input[8]) },
    { role: "user", content: "So?" },
  ]);
  assert.deepEqual(seen.tools, [
    {
      type: "function",
      function: { name: "f", description: "d", parameters: { type: "object" }, strict: true },
    },
    {
      type: "custom",
      custom: {
        name: "g",
        format: { type: "grammar", grammar: { syntax: "lark", definition: "x" } },
      },
    },
  ]);
  const { query, max_tokens, reasoning_effort, response_format, tool_choice, api } = seen;
  assert.deepEqual([query, max_tokens, reasoning_effort, api], ["So?", 9, "low", "responses"]);
  assert.deepEqual(response_format, {
    type: "json_schema",
    json_schema: { name: "s", schema: {}, strict: true },
  });
  assert.deepEqual(tool_choice, { type: "function", function: { name: "f" } });
  assert.deepEqual([seen.previous_response_id, seen.body.input], ["resp_x", input]);
  await nothingLeft();
});

test("a reference stands for its item while the log has it, and else is 400 that names it", async () => {
  const { handler, inputs } = keeper();
  const response = await post(handler, PATH, body);
  await response.text();
  const streamId = response.headers.get("x-stream-id");
  const input = [
    { type: "item_reference", id: `rs_${streamId}` },
    { type: "item_reference", id: `msg_${streamId}` },
    { role: "user", content: "More" },
  ];
  await (await post(handler, PATH, { ...body, input })).text();
  assert.deepEqual((inputs[1] as Json).messages, [
    { role: "assistant", content: "Hello 世界" },
    { role: "user", content: "More" },
  ]);
  for (const id of [`msg_${streamId}_9`, `fc_${"x".repeat(22)}`, "other"]) {
    const asked = { ...body, input: [{ type: "item_reference", id }] };
    const { error } = await objectOf(await post(handler, PATH, asked), 400);
    assert.equal(error.param, "input[0].id");
  }
  // A short request might stand for any length.
  const twice = [input[1], input[1]];
  const { error } = await objectOf(await post(handler, PATH, { ...body, input: twice }), 400);
  assert.equal(error.param, "input[1].id");
  const odd = [{ type: "item_reference", id: { toString: 1 } }];
  await objectOf(await post(handler, PATH, { ...body, input: odd }), 400);
  await nothingLeft();
});

test("what is wrong with a request is told in the API's own words", async () => {
  const { handler, inputs } = keeper(SMALL);
  for (const [name, status, asked] of UNREADABLE) {
    const headers = { "content-type": "application/json", ...asked.headers };
    const response = await ask(handler, PATH, { method: "POST", body: "{}", ...asked, headers });
    assert.equal(typeof (await objectOf(response, status)).error.message, "string", name);
  }
  const wrong: [object, string][] = [
    [{ input: "x" }, "model"],
    [{ model: "m" }, "input"],
    [{ model: "m", input: [] }, "input"],
    [{ model: "m", input: [{ type: "message", role: "user" }] }, "input[0].content"],
    [{ model: "m", input: "x", temperature: "hot" }, "temperature"],
    [{ model: "m", input: "x", tools: [{ type: "function" }] }, "tools[0].name"],
  ];
  for (const [asked, param] of wrong) {
    assert.equal((await objectOf(await post(handler, PATH, asked), 400)).error.param, param);
  }
  assert.equal(inputs.length, 0);
  const limited = createHandler({ source: FAILURES.limited, ...quiet });
  const response = await post(limited, PATH, body);
  assert.equal(response.headers.get("retry-after"), "7");
  const { error } = await objectOf(response, 429);
  assert.deepEqual([error.type, error.code, error.param], ["rate_limit_error", "rate_limited", ""]);
});

test("a client that leaves ends its response", () => assertLeaves(PATH, body));
