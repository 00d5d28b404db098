/**
 * The schema of the fields that all chat routes have in common, and how these fields reach a source
 * typed. The routes add the fields of their own APIs.
 */
import type { ChatFields } from "../../chat.ts";
import { type Schema, where } from "../schema.ts";

/**
 * Limit of names that a client chooses, in characters: a model's name is written with each token, and
 * a chat's id is kept as long as its stream.
 */
export const MAX_NAME_LENGTH = 1000;

/** The schema of one part of a message's content; only the content of text parts is checked. */
export const PART: Schema = {
  type: "object",
  required: ["type"],
  properties: { type: { type: "string" }, text: { type: "string" } },
  if: where("type", "text"),
  then: { required: ["text"] },
};

/** The schema of a message of the chat completions API. */
const MESSAGE: Schema = {
  type: "object",
  required: ["role"],
  properties: {
    role: { enum: ["developer", "system", "user", "assistant", "tool", "function"] },
    content: { type: ["string", "array", "null"], items: PART },
    tool_calls: { type: ["array", "null"], items: { type: "object" } },
    tool_call_id: { type: "string" },
  },
  if: where("role", "developer", "system", "user", "tool"),
  then: { required: ["content"] },
};

/** The schemas of the properties of {@linkcode ChatFields}, as in the chat completions API. */
export const FIELDS: Readonly<Record<string, Schema>> = {
  messages: { type: "array", minItems: 1, items: MESSAGE },
  model: { type: "string", minLength: 1, maxLength: MAX_NAME_LENGTH },
  temperature: { type: ["number", "null"], minimum: 0, maximum: 2 },
  top_p: { type: ["number", "null"], minimum: 0, maximum: 1 },
  max_tokens: { type: ["integer", "null"], minimum: 1 },
  max_completion_tokens: { type: ["integer", "null"], minimum: 1 },
  stop: { type: ["string", "array", "null"], items: { type: "string" } },
  tools: {
    type: ["array", "null"],
    items: {
      type: "object",
      required: ["type"],
      properties: {
        type: { type: "string" },
        function: {
          type: "object",
          required: ["name"],
          properties: { name: { type: "string", minLength: 1 } },
        },
      },
      if: where("type", "function"),
      then: { required: ["function"] },
    },
  },
  tool_choice: { type: ["string", "object", "null"] },
  parallel_tool_calls: { type: ["boolean", "null"] },
  response_format: {
    type: ["object", "null"],
    required: ["type"],
    properties: { type: { type: "string" } },
  },
  seed: { type: ["integer", "null"] },
  presence_penalty: { type: ["number", "null"], minimum: -2, maximum: 2 },
  frequency_penalty: { type: ["number", "null"], minimum: -2, maximum: 2 },
  reasoning_effort: { type: ["string", "null"] },
};

/**
 * The known fields of a checked body. A `null` counts as absent, a limit of -1 as well (it is LM
 * Studio's word for none), and so does an empty list of tools with what belongs to it, because OpenAI
 * and vLLM reject that. Other fields stay unchanged.
 */
export function fieldsOf(body: object): Omit<ChatFields, "query"> {
  const fields: Omit<ChatFields, "query"> = Object.fromEntries(
    Object.entries(body).filter(([name, value]) => value !== null || !Object.hasOwn(FIELDS, name)),
  );
  if (typeof fields.stop === "string") fields.stop = [fields.stop];
  for (const name of ["max_tokens", "max_completion_tokens"]) {
    if (fields[name] === -1) delete fields[name];
  }
  if (Array.isArray(fields.tools) && fields.tools.length === 0) {
    for (const name of ["tools", "tool_choice", "parallel_tool_calls"]) delete fields[name];
  }
  const maxTokens = fields.max_tokens ?? fields.max_completion_tokens;
  if (maxTokens !== undefined) fields.max_tokens = maxTokens;
  return fields;
}
