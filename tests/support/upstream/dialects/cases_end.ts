/** How the answer ended: finish reasons, errors, and ends of the body. */
import { call, text } from "./answer.ts";
import { calls, type Case, choices, chunk, finish, say } from "./case.ts";
import { DONE, event, usageOf } from "./wire.ts";

const half = [text("Half an ans")];
const hello = [text("Hello")];
const F = call("c1", "f", '{"a":1}');
const callF = calls([
  { index: 0, id: "c1", type: "function", function: { name: "f", arguments: '{"a":1}' } },
]);
const BEDROCK =
  "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_MessageStopEvent.html";
const CONVERSE =
  "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html";
const GEMINI = "https://ai.google.dev/api/generate-content#FinishReason";

/** The upstream broke, and its reason alone says so. */
const broken: [reason: string, from?: string][] = [
  ["error"],
  ["abort"],
  ["network_error"],
  ["insufficient_system_resource"],
  ["malformed_function_call"],
  ["MALFORMED_FUNCTION_CALL", GEMINI],
  ["unexpected_tool_call", GEMINI],
  ["malformed_model_output", CONVERSE],
  ["malformed_tool_use", CONVERSE],
];
/** The answer was withheld. */
const withheld: [reason: string, from?: string][] = [
  ["content_filter"],
  ["sensitive"],
  ["blocklist"],
  ["safety"],
  ["SAFETY", GEMINI],
  ["prohibited_content", GEMINI],
  ["recitation", GEMINI],
  ["spii", GEMINI],
  ["image_safety", GEMINI],
  ["guardrail_intervened", BEDROCK],
  ["content_filtered", BEDROCK],
];
/** Good ends in the words of others. */
const translated: [reason: string, kind: "stop" | "length", from: string][] = [
  ["eos", "stop", "https://github.com/openai/openai-dotnet/pull/267"],
  ["eos_token", "stop", "https://github.com/spring-projects/spring-ai/pull/4900"],
  ["COMPLETE", "stop", "https://docs.cohere.com/reference/chat"],
  ["MAX_TOKENS", "length", "https://docs.cohere.com/reference/chat"],
  ["STOP", "stop", GEMINI],
  ["end_turn", "stop", BEDROCK],
  ["max_tokens", "length", BEDROCK],
  ["model_length", "length", "https://docs.mistral.ai/api/endpoint/chat"],
];

export const CASES: readonly Case[] = [
  {
    name: "an empty finish reason in every chunk, and no other",
    body: chunk({ content: "Hel" }, "") + chunk({ content: "lo" }, "") + DONE,
    parts: hello,
    end: "truncated",
  },
  {
    name: "the finish reason null as a word in every chunk",
    body: chunk({ content: "Hel" }, "null") + chunk({ content: "lo" }, "null") + DONE,
    parts: hello,
    end: "truncated",
  },
  {
    name: "an empty finish reason in every chunk, and stop in the last",
    body: chunk({ content: "Hel" }, "") + chunk({ content: "lo" }, "") + chunk({}, "stop") + DONE,
    parts: hello,
    end: "stop",
  },
  {
    name: "length, and then an empty finish reason",
    body: say("Hel", "lo") + chunk({}, "length") + chunk({}, "") + DONE,
    parts: hello,
    end: "length",
  },
  {
    name: "length, and then stop",
    body: say("Hel", "lo") + chunk({}, "length") + chunk({}, "stop") + DONE,
    parts: hello,
    end: "length",
  },
  ...broken.map(([reason, from]): Case => ({
    name: `the finish reason ${reason}: the upstream broke`,
    ...from === undefined ? {} : { from },
    body: say("Half an ans") + finish(reason),
    parts: half,
    end: "upstream_failed",
  })),
  ...withheld.map(([reason, from]): Case => ({
    name: `the finish reason ${reason}: the answer was withheld`,
    ...from === undefined ? {} : { from },
    body: say("Half an ans") + finish(reason),
    parts: half,
    end: "content_filter",
    reason,
  })),
  ...translated.map(([reason, end, from]): Case => ({
    name: `the finish reason ${reason} is ${end}`,
    from,
    body: say("Hello") + finish(reason),
    parts: hello,
    end,
    reason,
  })),
  {
    name: "a broken answer before its first token",
    body: finish("error"),
    parts: [],
    end: "upstream_failed",
  },
  {
    name: "a complete call, and then stop",
    body: callF + finish("stop"),
    parts: [F],
    end: "tool_calls",
    reason: "stop",
  },
  {
    name: "a complete call, and then a stop of another name",
    from: "https://github.com/openai/openai-dotnet/pull/267",
    body: callF + finish("eos"),
    parts: [F],
    end: "tool_calls",
    reason: "eos",
  },
  {
    name: "a complete call, and then tool_use",
    from: BEDROCK,
    body: callF + finish("tool_use"),
    parts: [F],
    end: "tool_calls",
    reason: "tool_use",
  },
  {
    name: "a complete call, and then length",
    body: callF + finish("length"),
    parts: [F],
    end: "length",
  },
  {
    name: "tool_calls, and no call came",
    body: say("Hello") + finish("tool_calls"),
    parts: hello,
    end: "stop",
    reason: "tool_calls",
  },
  {
    name: "a call of the older API",
    body: chunk({ role: "assistant", content: null, function_call: { name: "f", arguments: "" } }) +
      chunk({ function_call: { arguments: '{"a"' } }) +
      chunk({ function_call: { arguments: ":1}" } }) +
      finish("function_call"),
    parts: [call(undefined, "f", '{"a":1}')],
    end: "tool_calls",
    reason: "function_call",
  },
  {
    name: "function_call, and no call came",
    body: say("Hello") + finish("function_call"),
    parts: hello,
    end: "stop",
    reason: "function_call",
  },
  {
    name: "a finish reason that nobody knows",
    body: say("Hello") + finish("because"),
    parts: hello,
    end: "other",
    reason: "because",
  },
  {
    name: "a model that was only loaded",
    from: "https://github.com/can1357/oh-my-pi/issues/7465",
    body: chunk({ role: "assistant", content: "" }, "load") + DONE,
    parts: [],
    end: "other",
    reason: "load",
  },
  {
    name: "an error in a choice",
    body: say("Half an ans") +
      choices([{
        index: 0,
        delta: { content: "" },
        error: { code: 502, message: "x" },
        finish_reason: "error",
      }]) +
      DONE,
    parts: half,
    end: "upstream_failed",
  },
  {
    name: "an error in a choice without a finish reason",
    body: say("Half an ans") + choices([{ index: 0, error: { code: 502, message: "x" } }]) + DONE,
    parts: half,
    end: "upstream_failed",
  },
  {
    name: "an error beside choices",
    from: "https://openrouter.ai/docs/api/reference/streaming",
    body: say("Half an ans") +
      choices([{
        index: 0,
        delta: { content: "" },
        finish_reason: "error",
        native_finish_reason: "x",
      }], {
        error: { code: "server_error", message: "Provider disconnected" },
      }),
    parts: half,
    end: "upstream_failed",
  },
  {
    name: "an error that is a string",
    from: "https://github.com/bigduu/Bamboo-agent/pull/98",
    body: say("Half an ans") + event({ error: "quota exceeded" }) + DONE,
    parts: half,
    end: "upstream_failed",
  },
  {
    name: "an event of the name error whose error is a string",
    from: "https://github.com/octos-org/octos/issues/13",
    body: say("Half an ans") + 'event: error\ndata: {"error":"Stream error: reset"}\n\n',
    parts: half,
    end: "upstream_failed",
  },
  {
    name: "an error, and then a clean end",
    from: "https://github.com/apache/rocketmq-dashboard/issues/2178",
    body: event({ error: { message: "quota exceeded" } }) + DONE,
    parts: [],
    end: "upstream_failed",
  },
  {
    name: "an error behind the finish reason",
    body: say("Hello") + chunk({}, "stop") + event({ error: { message: "x", code: 500 } }) + DONE,
    parts: hello,
    end: "upstream_failed",
  },
  {
    name: "a failure in words of the upstream's own, with choices that are null",
    from: "https://github.com/RooCodeInc/Roo-Code/pull/9105",
    body: say("Half an ans") +
      choices(null, { base_resp: { status_code: 1008, status_msg: "insufficient balance" } }) +
      DONE,
    parts: half,
    end: "upstream_failed",
  },
  {
    name: "error: null in every chunk",
    body: chunk({ content: "Hello" }, null, { error: null }) + chunk({}, "stop", { error: null }) +
      DONE,
    parts: hello,
    end: "stop",
  },
  {
    name: "the finish reason beside the last text",
    from: "https://github.com/GaiZhenbiao/ChuanhuChatGPT/pull/1198",
    body: say("Hel") + chunk({ content: "lo" }, "stop") + DONE,
    parts: hello,
    end: "stop",
  },
  {
    name: "stop in every chunk",
    from: "https://github.com/su-kaka/gcli2api/issues/403",
    body: chunk({ reasoning_content: "hm" }, "stop") + chunk({ content: "Hel" }, "stop") +
      chunk({ content: "lo" }, "stop") + DONE,
    parts: [{ kind: "reasoning", text: "hm" }, text("Hello")],
    end: "stop",
  },
  {
    name: "the finish reason under the name finishReason",
    from: "https://github.com/jakobdylanc/llmcord/issues/84",
    body: say("Hello") +
      choices([{ index: 0, delta: {}, finish_reason: null, finishReason: "stop" }]) + DONE,
    parts: hello,
    end: "stop",
  },
  {
    name: "usage behind the finish reason",
    body: say("Hello") + chunk({}, "stop") +
      choices([], { usage: usageOf({ parts: [], end: "stop", usage: { input: 1, output: 2 } }) }) +
      DONE,
    parts: hello,
    end: "stop",
  },
  {
    name: "a finish reason, and a clean end without DONE",
    from: "https://github.com/milind-soni/OpenMausBot/pull/1200",
    body: say("Hello") + chunk({}, "stop"),
    parts: hello,
    end: "stop",
  },
  {
    name: "no finish reason, and a clean end without DONE",
    body: say("Hello"),
    parts: hello,
    end: "truncated",
  },
  {
    name: "no finish reason, and DONE",
    body: say("Hello") + DONE,
    parts: hello,
    end: "truncated",
  },
  ...(["fin", "rst", "short"] as const).map((bodyEnd): Case => ({
    name: `a finish reason, and then a body that breaks off: ${bodyEnd}`,
    body: say("Hello") + chunk({}, "stop"),
    bodyEnd,
    parts: hello,
    end: "truncated",
  })),
  {
    name: "the body ends right behind DONE",
    body: say("Hello") + chunk({}, "stop") + "data: [DONE]",
    parts: hello,
    end: "stop",
  },
  {
    name: "the body ends one line end behind DONE",
    body: say("Hello") + chunk({}, "stop") + "data: [DONE]\n",
    parts: hello,
    end: "stop",
  },
  {
    name: "DONE without its end, and no finish reason",
    body: say("Hello") + "data: [DONE]",
    parts: hello,
    end: "truncated",
  },
  {
    name: "DONE without its space",
    from: "https://github.com/lidge-jun/opencodex/issues/1170",
    body: (say("Hello") + finish("stop")).replaceAll("data: ", "data:"),
    parts: hello,
    end: "stop",
  },
  {
    name: "DONE between spaces",
    body: say("Hello") + chunk({}, "stop") + "data:  [DONE] \n\n",
    parts: hello,
    end: "stop",
  },
  {
    name: "a second answer behind DONE",
    body: say("Hello") + finish("stop") + say("lost") + finish("length"),
    parts: hello,
    end: "stop",
  },
  {
    name: "an unfinished event at the end is discarded",
    body: say("Hello") + chunk({}, "stop") + chunk({ content: "lost" }).trimEnd(),
    parts: hello,
    end: "stop",
  },
  {
    name: "an unfinished event with the finish reason is discarded",
    body: say("Hello") + chunk({}, "stop").trimEnd(),
    parts: hello,
    end: "truncated",
  },
  {
    name: "the first event is an error with the code 429",
    body: event({ error: { code: 429, message: "Rate limit exceeded" } }) + DONE,
    parts: [],
    end: "rate_limited",
    onlyOpenAI: true,
  },
  {
    name: "the first event is an error with the code 429 as a string",
    from: "https://docs.litellm.ai/docs/proxy/error_diagnosis",
    body: event({ error: { code: "429", type: "throttling_error", message: "Slow down" } }),
    parts: [],
    end: "rate_limited",
    onlyOpenAI: true,
  },
  {
    name: "an error with the code 429 behind the first token",
    body: say("Half an ans") + event({ error: { code: 429, message: "Rate limit exceeded" } }) +
      DONE,
    parts: half,
    end: "upstream_failed",
    onlyOpenAI: true,
  },
  {
    name: "a failure in MiniMax's own words, without choices",
    from: "https://platform.minimax.io/docs/api-reference/errorcode",
    body: event({ id: "x", base_resp: { status_code: 1004, status_msg: "not authorized" } }) +
      DONE,
    parts: [],
    end: "upstream_failed",
  },
  {
    name: "a chunk that nests too deep to be written",
    body: say("Half an ans") +
      chunk({ x: 0 }).replace('"x":0', `"x":${"[".repeat(1e5)}${"]".repeat(1e5)}`) +
      finish("stop"),
    parts: half,
    end: "upstream_failed",
  },
  {
    name: "content that nests too deep to be read",
    body: say("Half an ans") +
      chunk({ x: 0 }).replace(
        '"x":0',
        `"content":${'[{"type":"thinking","thinking":'.repeat(2e4)}"x"${"}]".repeat(2e4)}`,
      ) + finish("stop"),
    parts: half,
    end: "upstream_failed",
  },
  {
    name: "an error whose code has no text of its own",
    body: say("Half an ans") + event({ error: { code: { toString: 1, valueOf: 1 } } }),
    parts: half,
    end: "upstream_failed",
  },
  {
    name: "such a code in the first event",
    body: event({ error: { code: { toString: 1, valueOf: 1 }, status: { valueOf: 1 } } }),
    parts: [],
    end: "upstream_failed",
  },
  {
    name: "a choice whose index has no text of its own",
    body: choices([{ index: { toString: 1, valueOf: 1 }, delta: { content: "x" } }]) +
      say("Hello") + finish("stop"),
    parts: hello,
    end: "stop",
  },
];
