/**
 * Writes a request of OpenAI's Responses API: with the input as its client sent it, if that was in this
 * API, else translated from the chat completions API.
 */
import { type ChatMessage, originalOf, textOf } from "../chat.ts";
import { REDACTED } from "../formats/responses_items.ts";
import { isObject } from "../values.ts";
import {
  callsOf,
  type ChatPart,
  choiceIn,
  type Fields,
  fieldsIn,
  functionIn,
  isText,
  partsOf,
  schemaOf,
  thoughtsOf,
} from "./chat_parts.ts";
import type { ModelRequest } from "./dialect.ts";

/** Fields that both APIs have. */
const SAME = [
  "temperature",
  "top_p",
  "parallel_tool_calls",
  "include",
];

/** The body, but for the model and `stream`. Nothing is stored: the conversation is sent each time. */
export function responsesBody({ messages, fields, fixed }: ModelRequest): object {
  const original = originalOf(messages, "responses");
  const maxTokens = fields.max_completion_tokens ?? fields.max_tokens;
  const given = toolsIn(original);
  const tools = fields.tools?.flatMap((tool) => given.get(nameOf(tool)) ?? toolOf(tool)) ?? [];
  return {
    store: false,
    ...Object.fromEntries(Object.entries(fields).filter(([name]) => SAME.includes(name))),
    ...maxTokens === undefined ? {} : { max_output_tokens: maxTokens },
    ...tools.length === 0 ? { parallel_tool_calls: undefined } : { tools, ...choiceOf(fields) },
    ...textFieldOf(fields),
    ...reasoningOf(fields),
    ...isText(original?.["instructions"]) ? { instructions: original["instructions"] } : {},
    ...fixed,
    input: original === undefined ? itemsOf(messages) : ownItems(original["input"]),
  };
}

/** The functions and custom tools of a client's request by their names, as it has sent them. */
function toolsIn(original: Fields | undefined): Map<unknown, Fields> {
  const tools = Array.isArray(original?.["tools"]) ? original["tools"].map(fieldsIn) : [];
  const own = tools.filter(({ type }) => type === "function" || type === "custom");
  return new Map(own.map((tool) => [tool["name"], tool]));
}

function nameOf(tool: NonNullable<ModelRequest["fields"]["tools"]>[number]): unknown {
  return functionIn(tool)?.name ?? fieldsIn(tool["custom"])["name"];
}

/**
 * A client's input without what only a server that has stored it could find: ids, references to items,
 * and reasoning that is not encrypted, or by another API.
 */
function ownItems(input: unknown): unknown {
  if (!Array.isArray(input)) return input;
  return input.filter((item) => {
    const { type, encrypted_content } = fieldsIn(item);
    const isOwn = isText(encrypted_content) && !encrypted_content.startsWith(REDACTED);
    return type !== "item_reference" && (type !== "reasoning" || isOwn);
  }).map((item) => {
    const { id, status: _status, ...rest } = fieldsIn(item);
    // What the API's own servers have made is nothing without its id.
    const isTheirs = id !== undefined && !OURS.test(String(rest["type"] ?? "message"));
    return isTheirs ? { id, ...rest } : rest;
  });
}

/** The kinds of items that are known by what they hold. */
const OURS = /^(?:message|reasoning|(?:function|custom_tool)_call(?:_output)?)$/;

function itemsOf(messages: readonly ChatMessage[]): Fields[] {
  const custom = new Set<unknown>();
  return messages.flatMap((message): Fields[] => {
    const { role, content } = message;
    if (role === "assistant") return itemsOfAssistant(message, custom);
    if (role === "tool") {
      const id = message["tool_call_id"];
      const type = custom.has(id) ? "custom_tool_call_output" : "function_call_output";
      return [{ type, call_id: id, output: contentOf(content) }];
    }
    if (role === "system" || role === "developer") return [{ role, content: textOf(content) }];
    return [{ role: "user", content: contentOf(content) }];
  });
}

/** A content: text alone is a string. */
function contentOf(content: unknown): string | Fields[] {
  const parts = partsOf(content);
  const [first, second] = parts;
  if (first === undefined) return "";
  return second === undefined && first.kind === "text" ? first.text : parts.map(inputOf);
}

function inputOf(part: ChatPart): Fields {
  if (part.kind === "text") return { type: "input_text", text: part.text };
  if (part.kind === "image") return { type: "input_image", image_url: part.url, detail: "auto" };
  const { url = "", id, name } = part;
  const held = id !== undefined
    ? { file_id: id }
    : /^https?:/i.test(url)
    ? { file_url: url }
    : { filename: name ?? "document", file_data: url };
  return { type: "input_file", ...held };
}

function itemsOfAssistant(message: ChatMessage, custom: Set<unknown>): Fields[] {
  const said = [...partsOf(message.content), ...partsOf(message["refusal"])];
  const text = said.map((part) => part.kind === "text" ? part.text : "").join("");
  return [
    ...thoughtsOf(message).map((thought) => ({
      type: "reasoning",
      summary: "text" in thought && thought.text !== ""
        ? [{ type: "summary_text", text: thought.text }]
        : [],
      encrypted_content: "text" in thought ? thought.signature : thought.encrypted,
    })),
    ...text === "" ? [] : [{ role: "assistant", content: text }],
    ...callsOf(message).map(({ id, name, input, isCustom }) => {
      if (isCustom) custom.add(id);
      return isCustom
        ? { type: "custom_tool_call", call_id: id, name, input }
        : { type: "function_call", call_id: id, name, arguments: input };
    }),
  ];
}

/** A tool; none for one that only another API knows. */
function toolOf(tool: NonNullable<ModelRequest["fields"]["tools"]>[number]): Fields[] {
  const named = functionIn(tool);
  if (named !== undefined) {
    const { name, description, parameters, strict } = named;
    return [{
      type: "function",
      name,
      ...description === undefined ? {} : { description },
      parameters: schemaOf(parameters),
      // Here a schema is strict unless it says otherwise.
      strict: strict === true,
    }];
  }
  const { name, description, format } = fieldsIn(tool["custom"]);
  if (tool.type !== "custom" || !isText(name)) return [];
  const { type, grammar } = fieldsIn(format);
  return [{
    type: "custom",
    name,
    ...description === undefined ? {} : { description },
    ...type === undefined ? {} : { format: { type, ...fieldsIn(grammar) } },
  }];
}

function choiceOf({ tool_choice }: ModelRequest["fields"]): Fields {
  const choice = choiceIn(tool_choice);
  if (choice === undefined) return {};
  if ("word" in choice) return { tool_choice: choice.word };
  const { type } = fieldsIn(tool_choice);
  return { tool_choice: { type, name: choice.name } };
}

/** The shape of the text, as the client says in the words of either API. */
function textFieldOf({ response_format, text }: ModelRequest["fields"]): Fields {
  if (isObject(text)) return { text };
  const { type, json_schema } = fieldsIn(response_format);
  if (!isText(type)) return {};
  return { text: { format: { type, ...fieldsIn(json_schema) } } };
}

function reasoningOf({ reasoning_effort: effort, reasoning }: ModelRequest["fields"]): Fields {
  if (isObject(reasoning)) return { reasoning };
  return isText(effort) ? { reasoning: { effort } } : {};
}
