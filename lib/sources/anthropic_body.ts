/**
 * Writes a request of Anthropic's messages API: as its client sent it, if that was in this API, else
 * translated from the chat completions API.
 */
import { type ChatMessage, originalOf, textOf } from "../chat.ts";
import { isObject, parseJson, wordOf } from "../values.ts";
import {
  callsOf,
  cannotSend,
  type ChatPart,
  choiceIn,
  dataIn,
  type Fields,
  fieldsIn,
  functionIn,
  isText,
  partsOf,
  schemaOf,
  thoughtsOf,
} from "./chat_parts.ts";
import type { ModelRequest } from "./dialect.ts";

/** The most tokens to generate, where neither the client nor the server says: the API demands it. */
const MAX_TOKENS = 8192;
/** The budgets of the efforts, in tokens. The API takes 1024 and more. */
const BUDGETS: Readonly<Record<string, number>> = {
  low: 2048,
  medium: 8192,
  high: 16_384,
  xhigh: 32_768,
};
const MIN_BUDGET = 1024;
/** How tools are chosen, in the words of this API. */
const CHOICES: Readonly<Record<string, string>> = { auto: "auto", none: "none", required: "any" };

type Turn = { role: "user" | "assistant"; content: Fields[] };

/** The body, but for the model and `stream`. */
export function messagesBody({ messages, fields, fixed }: ModelRequest): object {
  const original = originalOf(messages, "anthropic");
  const exchange = original === undefined
    ? exchangeOf(messages)
    : (original["messages"] as Fields[]).map(withoutForeign);
  const maxTokens = fields.max_completion_tokens ?? fields.max_tokens ?? MAX_TOKENS;
  const body = {
    max_tokens: maxTokens,
    ...pick(fields, ["top_p", "top_k"]),
    ...temperatureOf(fields),
    ...fields.stop === undefined ? {} : { stop_sequences: fields.stop },
    ...toolsOf(fields, original),
    ...outputOf(fields),
    ...thinkingOf(fields, { ...fields, ...fixed }, exchange),
  };
  const system = original === undefined ? systemOf(messages) : original["system"];
  return { ...body, ...fixed, ...system ? { system } : {}, messages: exchange };
}

function pick(fields: Fields, names: readonly string[]): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([name]) => names.includes(name)));
}

/** The temperature, which ends at 1 in this API. */
function temperatureOf({ temperature }: ModelRequest["fields"]): Fields {
  return temperature === undefined ? {} : { temperature: Math.min(temperature, 1) };
}

function systemOf(messages: readonly ChatMessage[]): string {
  return messages.filter(isOfSystem).map(({ content }) => textOf(content)).filter(isText)
    .join("\n\n");
}

function isOfSystem({ role }: ChatMessage): boolean {
  return role === "system" || role === "developer";
}

/** The conversation by turns: what tools have returned is the user's, and stands first there. */
function exchangeOf(messages: readonly ChatMessage[]): Turn[] {
  const exchange: Turn[] = [];
  for (const message of messages) {
    if (isOfSystem(message)) continue;
    const role = message.role === "assistant" ? "assistant" : "user";
    const content = role === "assistant" ? blocksOfAssistant(message) : blocksOfUser(message);
    const last = exchange.at(-1);
    if (last?.role === role) last.content.push(...content);
    else if (content.length > 0) exchange.push({ role, content });
  }
  const isResult = ({ type }: Fields) => type === "tool_result";
  return exchange.map(({ role, content }) => ({
    role,
    content: role === "assistant"
      ? content
      : [...content.filter(isResult), ...content.filter((block) => !isResult(block))],
  }));
}

function blocksOfUser(message: ChatMessage): Fields[] {
  const content = partsOf(message.content).map(blockOf);
  if (message.role !== "tool") return content;
  return [{ type: "tool_result", tool_use_id: idOf(wordOf(message["tool_call_id"])), content }];
}

function blocksOfAssistant(message: ChatMessage): Fields[] {
  return [
    ...thoughtsOf(message).map((thought) =>
      "encrypted" in thought
        ? { type: "redacted_thinking", data: thought.encrypted }
        : { type: "thinking", thinking: thought.text, signature: thought.signature }
    ),
    ...partsOf(message.content).map(blockOf),
    ...partsOf(message["refusal"]).map(blockOf),
    ...callsOf(message).map(({ id, name, input: text, isCustom }) => {
      const value = isCustom ? { input: text } : parseJson(text);
      // Arguments that were cut off are no object, which the API demands.
      const input = isObject(value) && !Array.isArray(value) ? value : { arguments: text };
      return { type: "tool_use", id: idOf(id), name, input: text.trim() === "" ? {} : input };
    }),
  ];
}

/** An id as the API takes it. */
function idOf(id: string): string {
  return id.replaceAll(/[^\w-]/g, "_");
}

function blockOf(part: ChatPart): Fields {
  if (part.kind === "text") return { type: "text", text: part.text };
  if (part.kind === "image") return { type: "image", source: sourceOf(part.url) };
  const title = part.name === undefined ? {} : { title: part.name };
  const source = part.url === undefined ? { type: "file", file_id: part.id } : sourceOf(part.url);
  if (source["media_type"] !== "text/plain") return { type: "document", source, ...title };
  const text = { type: "text", media_type: "text/plain", data: decoded(String(source["data"])) };
  return { type: "document", source: text, ...title };
}

function decoded(base64: string): string {
  let chars;
  try {
    chars = atob(base64);
  } catch {
    throw cannotSend("a text that is no base64"); // what the client sent is its own to see
  }
  return new TextDecoder().decode(Uint8Array.from(chars, (char) => char.charCodeAt(0)));
}

function sourceOf(url: string): Fields {
  const data = dataIn(url);
  if (data !== undefined) return { type: "base64", media_type: data.mediaType, data: data.base64 };
  if (!/^https?:/i.test(url)) throw cannotSend("a file that has neither an address nor base64");
  return { type: "url", url };
}

/**
 * A client's message without what another model has thought or cited: this API takes back only what it
 * has signed.
 */
function withoutForeign(message: Fields): Fields {
  const { content } = message;
  if (!Array.isArray(content)) return message;
  return {
    ...message,
    content: content.filter((block) => block?.type !== "thinking" || isText(block.signature))
      .map((block) => {
        if (!Array.isArray(block?.citations)) return block;
        const citations = block.citations.filter((citation: Fields) =>
          citation?.["encrypted_index"] !== ""
        );
        return { ...block, citations };
      }),
  };
}

function toolsOf(
  { tools, tool_choice, parallel_tool_calls }: ModelRequest["fields"],
  original: Fields | undefined,
): Fields {
  const functions = tools?.map(functionIn).filter((tool) => tool !== undefined) ?? [];
  if (functions.length === 0) return {};
  const given = Array.isArray(original?.["tools"]) ? original["tools"] as Fields[] : [];
  const own = new Map(given.map((tool) => [tool["name"], tool]));
  const chosen = choiceIn(tool_choice);
  const type = chosen === undefined ? undefined : "name" in chosen ? "tool" : CHOICES[chosen.word];
  const isSingle = parallel_tool_calls === false && type !== "none";
  const choice = {
    type: type ?? "auto",
    ...chosen && "name" in chosen ? { name: chosen.name } : {},
    ...isSingle ? { disable_parallel_tool_use: true } : {},
  };
  return {
    tools: functions.map((tool) =>
      own.get(tool.name) ?? {
        name: tool.name,
        ...tool.description === undefined ? {} : { description: tool.description },
        input_schema: schemaOf(tool.parameters),
        ...typeof tool["strict"] === "boolean" ? { strict: tool["strict"] } : {},
      }
    ),
    ...type !== undefined || isSingle ? { tool_choice: choice } : {},
  };
}

/** The shape of the text, and the effort where the client says it in the words of this API. */
function outputOf({ response_format, output_config }: ModelRequest["fields"]): Fields {
  const { type, json_schema } = fieldsIn(response_format);
  const { schema } = fieldsIn(json_schema);
  const format = type === "json_schema" && isObject(schema) ? { format: { type, schema } } : {};
  const config = { ...format, ...fieldsIn(output_config) };
  return Object.keys(config).length === 0 ? {} : { output_config: config };
}

/** How the model thinks: as the client says in the words of this API, else a budget for its effort. */
function thinkingOf(
  { thinking, reasoning_effort: effort, output_config, tool_choice }: ModelRequest["fields"],
  { max_tokens }: Fields,
  exchange: readonly Fields[],
): Fields {
  if (isObject(thinking)) return { thinking };
  if (!isText(effort) || isText(fieldsIn(output_config)["effort"])) return {};
  const limit = typeof max_tokens === "number" ? max_tokens : MAX_TOKENS;
  const budget = Math.min(BUDGETS[effort] ?? 0, limit - 1);
  // The API lets a model think only where it may choose its tools.
  const isForced = isObject(tool_choice) || tool_choice === "required";
  if (budget < MIN_BUDGET || isForced || !mayThink(exchange)) return {};
  return { thinking: { type: "enabled", budget_tokens: budget }, temperature: undefined };
}

/** Whether the turn that goes on began with a thought that was signed, or is a new one. */
function mayThink(exchange: readonly Fields[]): boolean {
  const contents = exchange.map(({ content }) =>
    Array.isArray(content) ? content as Fields[] : [{}]
  );
  const begun = contents.findLastIndex((content, at) =>
    exchange[at]!["role"] === "user" && content.some(({ type }) => type !== "tool_result")
  );
  return contents.slice(begun + 1).every((content, at) =>
    exchange[begun + 1 + at]!["role"] === "user" ||
    ["thinking", "redacted_thinking"].includes(wordOf(content[0]?.["type"]))
  );
}
