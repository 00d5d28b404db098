/** What the text is in: content of any shape, reasoning under any name, refusals, pictures, and the rest. */
import { type Part, reasoning, refusal, text } from "./answer.ts";
import { type Case, choices, chunk, finish, say } from "./case.ts";
import { DONE, event } from "./wire.ts";

const hello = [text("Hello")];
const thought = [reasoning("hm"), text("Hello")];
const picture: Part = { kind: "file", mediaType: "image/png", base64: "iVBORw0KGgo=" };
const image = { type: "image_url", image_url: { url: "data:image/png;base64,iVBORw0KGgo=" } };
const source = (url: string) => ({
  type: "url_citation",
  url_citation: { url, title: "T", start_index: 0, end_index: 5 },
});
const OPENROUTER = "https://openrouter.ai/docs/guides/best-practices/reasoning-tokens";

export const CASES: readonly Case[] = [
  {
    name: "content as a list of parts",
    body: chunk({
      content: [
        { type: "thinking", thinking: [{ type: "text", text: "hm" }] },
        { type: "text", text: "Hel" },
      ],
    }) + say("lo") + finish("stop"),
    parts: thought,
    end: "stop",
  },
  {
    name: "content as a list of parts, one of them unknown",
    from: "https://github.com/miquido/draive/pull/263",
    body: chunk({
      content: [{ type: "text", text: "Hello" }, { type: "reference", reference_ids: [31415] }],
    }) + finish("stop"),
    parts: hello,
    end: "stop",
    mentions: ["31415"],
  },
  {
    name: "an empty list of parts",
    body: chunk({ content: [] }) + say("Hello") + finish("stop"),
    parts: hello,
    end: "stop",
  },
  {
    name: "a refusal",
    body: chunk({ role: "assistant", content: "", refusal: null }) +
      chunk({ refusal: "I cannot " }) +
      chunk({ refusal: "help." }) + finish("stop"),
    parts: [refusal("I cannot help.")],
    end: "content_filter",
    reason: "stop",
  },
  {
    name: "a refusal beside content that is null",
    body: chunk({ content: null, refusal: "No." }) + finish("content_filter"),
    parts: [refusal("No.")],
    end: "content_filter",
  },
  {
    name: "reasoning under two names, one of them empty",
    body: chunk({ reasoning_content: "", reasoning: "hm" }) + say("Hello") + finish("stop"),
    parts: thought,
    end: "stop",
  },
  {
    name: "reasoning under two names, both of them full",
    body: chunk({ reasoning_content: "hm", reasoning: "hm" }) + say("Hello") + finish("stop"),
    parts: thought,
    end: "stop",
  },
  {
    name: "reasoning in details alone",
    body: chunk({ reasoning_details: [{ type: "reasoning.text", text: "hm" }] }) + say("Hello") +
      finish("stop"),
    parts: thought,
    end: "stop",
  },
  {
    name: "reasoning as text and in details",
    from: "https://github.com/AnswerDotAI/fastllm/issues/61",
    body: chunk({
      content: "",
      role: "assistant",
      reasoning: "hm",
      reasoning_details: [{ type: "reasoning.text", text: "hm", format: "unknown", index: 0 }],
    }) + say("Hello") + finish("stop"),
    parts: thought,
    end: "stop",
  },
  {
    name: "reasoning as a summary in details",
    from: OPENROUTER,
    body: chunk({ reasoning_details: [{ type: "reasoning.summary", summary: "hm" }] }) +
      say("Hello") + finish("stop"),
    parts: thought,
    end: "stop",
  },
  {
    name: "reasoning that is encrypted",
    from: "https://github.com/theopenco/llmgateway/pull/3042",
    body: chunk({ reasoning_details: [{ type: "reasoning.encrypted", data: "Z0FBQUFB" }] }) +
      say("Hello") + finish("stop"),
    parts: hello,
    end: "stop",
    mentions: ["Z0FBQUFB"],
  },
  {
    name: "reasoning beside content that is null",
    from: "https://github.com/can1357/oh-my-pi/issues/2996",
    body: chunk({ content: null, reasoning_content: "hm" }) +
      chunk({ content: "Hello", reasoning_content: null }) + finish("stop"),
    parts: thought,
    end: "stop",
  },
  {
    name: "reasoning as reasoning_text with its signature",
    from: "https://github.com/BerriAI/litellm/issues/35021",
    body: chunk({ role: "assistant", content: null, reasoning_text: "hm" }) +
      chunk({ reasoning_opaque: "c2lnbmF0dXJl" }) + say("Hello") + finish("stop"),
    parts: thought,
    end: "stop",
    mentions: ["c2lnbmF0dXJl"],
  },
  {
    name: "a thought that is told by a member beside it",
    from: "https://ai.google.dev/gemini-api/docs/openai",
    body: chunk({ content: "Hello", extra_content: { google: { thought_signature: "EjQKMg" } } }) +
      finish("stop"),
    parts: hello,
    end: "stop",
    mentions: ["EjQKMg"],
  },
  {
    name: "a picture",
    body: chunk({ role: "assistant", content: "", images: [image] }) + say("Hello") +
      finish("stop"),
    parts: [picture, text("Hello")],
    end: "stop",
  },
  {
    name: "a picture and nothing else",
    from: "https://github.com/decolua/9router/pull/3521",
    body: chunk({ role: "assistant" }) + chunk({ images: [{ ...image, index: 0 }] }) +
      finish("stop"),
    parts: [picture],
    end: "stop",
  },
  {
    name: "a picture by its address",
    body: chunk({
      images: [{ type: "image_url", image_url: { url: "https://example.com/a.png" } }],
    }) + finish("stop"),
    parts: [{ kind: "file", mediaType: "image/png", url: "https://example.com/a.png" }],
    end: "stop",
  },
  {
    name: "audio",
    body: chunk({ audio: { id: "audio_1", data: "AAEC" } }) +
      chunk({ audio: { transcript: "Hel" } }) +
      finish("stop"),
    parts: [
      { kind: "audio", data: { id: "audio_1", data: "AAEC" } },
      { kind: "audio", data: { transcript: "Hel" } },
    ],
    end: "stop",
  },
  {
    name: "citations",
    body: say("Hello") +
      chunk({ annotations: [source("https://a.example/"), source("https://b.example/")] }) +
      finish("stop"),
    parts: [
      text("Hello"),
      { kind: "citation", data: source("https://a.example/") },
      { kind: "citation", data: source("https://b.example/") },
    ],
    end: "stop",
  },
  {
    name: "citations beside the choices, in every chunk",
    from: "https://github.com/BerriAI/litellm/issues/13777",
    body: chunk({ content: "Hel" }, null, { citations: ["https://a.example/cited"] }) +
      chunk({ content: "lo" }, "stop", { citations: ["https://a.example/cited"] }) + DONE,
    parts: [
      text("Hel"),
      {
        kind: "citation",
        data: { type: "url_citation", url_citation: { url: "https://a.example/cited" } },
      },
      text("lo"),
    ],
    end: "stop",
  },
  {
    name: "message where delta is wanted",
    body: choices([
      { index: 0, message: { role: "assistant", content: "Hello" }, finish_reason: "stop" },
    ]) + DONE,
    parts: hello,
    end: "stop",
  },
  {
    name: "a message that refuses",
    body: choices([
      {
        index: 0,
        message: { role: "assistant", content: null, refusal: "No." },
        finish_reason: "stop",
      },
    ]) + DONE,
    parts: [refusal("No.")],
    end: "content_filter",
    reason: "stop",
  },
  {
    name: "choices in the order 1, 0",
    body: choices([
      { index: 1, delta: { content: "another" }, finish_reason: null },
      { index: 0, delta: { content: "Hello" }, finish_reason: null },
    ]) + choices([
      { index: 1, delta: {}, finish_reason: "length" },
      { index: 0, delta: {}, finish_reason: "stop" },
    ]) + DONE,
    parts: hello,
    end: "stop",
  },
  {
    name: "a choice without its index",
    body: choices([{ delta: { content: "Hello" } }]) +
      choices([{ delta: {}, finish_reason: "stop" }]) +
      DONE,
    parts: hello,
    end: "stop",
  },
  {
    name: "a member of the delta that nobody knows",
    body: chunk({ content: "Hello", weather: { degrees: 3 }, nothing: null, empty: "" }) +
      finish("stop"),
    parts: [text("Hello"), { kind: "delta", data: { weather: { degrees: 3 } } }],
    end: "stop",
  },
  {
    name: "choices that are null in a chunk of their own",
    from: "https://github.com/RooCodeInc/Roo-Code/pull/9105",
    body: say("Hel") + choices(null) + say("lo") + finish("stop"),
    parts: hello,
    end: "stop",
  },
  {
    name: "a chunk without choices",
    from: "https://github.com/openai/openai-node/issues/364",
    body: say("Hel") + event({ id: "up-1", object: "chat.completion.chunk" }) + say("lo") +
      finish("stop"),
    parts: hello,
    end: "stop",
  },
  {
    name: "null in place of a chunk",
    from: "https://github.com/Kilo-Org/kilocode/pull/3083",
    body: say("Hel") + event(null) + say("lo") + finish("stop"),
    parts: hello,
    end: "stop",
  },
  {
    name: "a choice without a delta",
    from: "https://github.com/smallmain/vscode-unify-chat-provider/pull/29",
    body: say("Hello") + choices([{ index: 0, finish_reason: "stop" }]) + DONE,
    parts: hello,
    end: "stop",
  },
  {
    name: "an empty role in the chunks behind the first",
    from: "https://github.com/MiniMax-AI/MiniMax-M2.5/issues/2",
    body: chunk({ role: "assistant", content: "Hel" }) +
      chunk({ role: "", content: "lo", reasoning_content: "" }) + finish("stop"),
    parts: hello,
    end: "stop",
  },
  {
    name: "a byte order mark, CRLF and events of the name message",
    from: "https://github.com/mudler/LocalAI/issues/340",
    body: "\ufeff" +
      (say("Hel", "lo") + finish("stop")).replaceAll("data: ", "event: message\ndata:")
        .replaceAll("\n", "\r\n"),
    parts: hello,
    end: "stop",
  },
  {
    name: "reasoning that refers to a document",
    from: "https://docs.mistral.ai/capabilities/reasoning",
    body: chunk({
      content: [{
        type: "thinking",
        thinking: [{ type: "text", text: "hm" }, { type: "reference", reference_ids: [27182] }],
      }],
    }) + say("Hello") + finish("stop"),
    parts: thought,
    end: "stop",
    mentions: ["27182"],
  },
  {
    name: "reasoning and a refusal as objects",
    body: chunk({ reasoning: { text: "hm" } }) + chunk({ refusal: [{ text: "No." }] }) +
      finish("stop"),
    parts: [reasoning("hm"), refusal("No.")],
    end: "content_filter",
    reason: "stop",
  },
  {
    name: "content that is a number",
    body: chunk({ content: 4 }) + chunk({ content: 2 }) + finish("stop"),
    parts: [text("42")],
    end: "stop",
  },
  {
    name: "known members in a shape that nobody knows",
    body: chunk({ thinking: { budget: 16180 }, function_call: "x14142" }) +
      chunk({ tool_calls: ["x31622"], reasoning_details: ["x17320"] }) + say("Hello") +
      finish("stop"),
    parts: hello,
    end: "stop",
    mentions: ["16180", "x14142", "x31622", "x17320"],
  },
];
