/**
 * What OpenResponses (openresponses.org, the specification of 2026-04-24) demands of a server: the shape
 * of a response and of each event, as JSON Schema, and the requests that its compliance test makes. Written
 * after its schemas, and only as far as a server's side goes: no text of theirs is in here.
 */

type Schema = Readonly<Record<string, unknown>>;

const STRING: Schema = { type: "string" };
const INTEGER: Schema = { type: "integer" };
const NUMBER: Schema = { type: "number" };
const BOOLEAN: Schema = { type: "boolean" };
const ANY: Schema = {};
const only = (...values: string[]): Schema => ({ enum: values });
const orNull = (schema: Schema): Schema => ({ anyOf: [schema, { type: "null" }] });
const list = (items: Schema): Schema => ({ type: "array", items });
const oneOf = (...schemas: Schema[]): Schema => ({ oneOf: schemas });
const object = (
  members: Record<string, Schema>,
  optional: Record<string, Schema> = {},
): Schema => ({
  type: "object",
  properties: { ...members, ...optional },
  required: Object.keys(members),
});

const ANNOTATION = object({
  type: only("url_citation"),
  url: STRING,
  title: STRING,
  start_index: INTEGER,
  end_index: INTEGER,
});
const LOGPROBS = list(object({ token: STRING, logprob: NUMBER }));
const OUTPUT_TEXT = object(
  { type: only("output_text"), text: STRING, annotations: list(ANNOTATION) },
  { logprobs: LOGPROBS },
);
const REFUSAL = object({ type: only("refusal"), refusal: STRING });
const SUMMARY = object({ type: only("summary_text"), text: STRING });
const STATUS = only("in_progress", "completed", "incomplete");

const ITEM = oneOf(
  object({
    type: only("message"),
    id: STRING,
    status: STATUS,
    role: only("assistant"),
    content: list(oneOf(OUTPUT_TEXT, REFUSAL)),
  }),
  object({
    type: only("function_call"),
    id: STRING,
    call_id: STRING,
    name: STRING,
    arguments: STRING,
    status: STATUS,
  }),
  object(
    { type: only("reasoning"), id: STRING, summary: list(SUMMARY) },
    { encrypted_content: STRING },
  ),
);

const CHOICE = only("none", "auto", "required");
const FUNCTION_CHOICE = object({ type: only("function") }, { name: STRING });

export const RESPONSE: Schema = object({
  id: STRING,
  object: only("response"),
  created_at: INTEGER,
  completed_at: orNull(INTEGER),
  status: only("queued", "in_progress", "completed", "incomplete", "failed", "cancelled"),
  incomplete_details: orNull(object({ reason: STRING })),
  model: STRING,
  previous_response_id: orNull(STRING),
  instructions: orNull(STRING),
  output: list(ITEM),
  error: orNull(object({ code: STRING, message: STRING })),
  tools: list(object({
    type: only("function"),
    name: STRING,
    description: orNull(STRING),
    parameters: orNull({ type: "object" }),
    strict: orNull(BOOLEAN),
  })),
  tool_choice: oneOf(
    CHOICE,
    FUNCTION_CHOICE,
    object({ type: only("allowed_tools"), tools: list(FUNCTION_CHOICE), mode: CHOICE }),
  ),
  truncation: only("auto", "disabled"),
  parallel_tool_calls: BOOLEAN,
  text: object(
    { format: object({ type: only("text", "json_object", "json_schema") }) },
    { verbosity: only("low", "medium", "high") },
  ),
  top_p: NUMBER,
  presence_penalty: NUMBER,
  frequency_penalty: NUMBER,
  top_logprobs: INTEGER,
  temperature: NUMBER,
  reasoning: orNull(object({
    effort: orNull(only("none", "minimal", "low", "medium", "high", "xhigh")),
    summary: orNull(only("concise", "detailed", "auto")),
  })),
  usage: orNull(object({
    input_tokens: INTEGER,
    output_tokens: INTEGER,
    total_tokens: INTEGER,
    input_tokens_details: object({ cached_tokens: INTEGER }),
    output_tokens_details: object({ reasoning_tokens: INTEGER }),
  })),
  max_output_tokens: orNull(INTEGER),
  max_tool_calls: orNull(INTEGER),
  store: BOOLEAN,
  background: BOOLEAN,
  service_tier: STRING,
  metadata: ANY,
  safety_identifier: orNull(STRING),
  prompt_cache_key: orNull(STRING),
});

const OF_RESPONSE = { response: RESPONSE };
const OF_ITEM = { output_index: INTEGER, item: ITEM };
const IN_ITEM = { item_id: STRING, output_index: INTEGER };
const IN_MESSAGE = { ...IN_ITEM, content_index: INTEGER };
const IN_SUMMARY = { ...IN_ITEM, summary_index: INTEGER };
const ERROR = { type: STRING, code: orNull(STRING), message: STRING, param: orNull(STRING) };

/** The members of each event beside its type and its number. */
const MEMBERS: Readonly<Record<string, Record<string, Schema>>> = {
  "error": { error: object(ERROR) },
  "response.created": OF_RESPONSE,
  "response.queued": OF_RESPONSE,
  "response.in_progress": OF_RESPONSE,
  "response.completed": OF_RESPONSE,
  "response.incomplete": OF_RESPONSE,
  "response.failed": OF_RESPONSE,
  "response.output_item.added": OF_ITEM,
  "response.output_item.done": OF_ITEM,
  "response.content_part.added": { ...IN_MESSAGE, part: oneOf(OUTPUT_TEXT, REFUSAL) },
  "response.content_part.done": { ...IN_MESSAGE, part: oneOf(OUTPUT_TEXT, REFUSAL) },
  "response.output_text.delta": { ...IN_MESSAGE, delta: STRING, logprobs: LOGPROBS },
  "response.output_text.done": { ...IN_MESSAGE, text: STRING, logprobs: LOGPROBS },
  "response.output_text.annotation.added": {
    ...IN_MESSAGE,
    annotation_index: INTEGER,
    annotation: ANNOTATION,
  },
  "response.refusal.delta": { ...IN_MESSAGE, delta: STRING },
  "response.refusal.done": { ...IN_MESSAGE, refusal: STRING },
  "response.reasoning_summary_part.added": { ...IN_SUMMARY, part: SUMMARY },
  "response.reasoning_summary_part.done": { ...IN_SUMMARY, part: SUMMARY },
  "response.reasoning_summary_text.delta": { ...IN_SUMMARY, delta: STRING },
  "response.reasoning_summary_text.done": { ...IN_SUMMARY, text: STRING },
  "response.function_call_arguments.delta": { ...IN_ITEM, delta: STRING },
  "response.function_call_arguments.done": { ...IN_ITEM, arguments: STRING },
};

/** The schema of each event by its type; there are no other types without a prefix of one's own. */
export const EVENTS: Readonly<Record<string, Schema>> = Object.fromEntries(
  Object.entries(MEMBERS).map(([type, members]) => [
    type,
    object({ type: only(type), sequence_number: INTEGER, ...members }),
  ]),
);

/** A request, and what its response must hold. */
export interface Case {
  /** Its name in the compliance test; one of ours begins with `own-`. */
  readonly id: string;
  readonly body: Readonly<Record<string, unknown>>;
  readonly status?: string;
  readonly items: readonly string[];
}

const user = (content: unknown) => ({ type: "message", role: "user", content });
const weather = {
  type: "function",
  name: "get_weather",
  description: "Tells the weather of a place",
  parameters: {
    type: "object",
    properties: { place: { type: "string" } },
    required: ["place"],
  },
};
const PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ";

/** Each is asked streamed and as one document. */
export const CASES: readonly Case[] = [
  { id: "basic-response", body: { input: [user("text")] }, items: ["message"] },
  { id: "streaming-response", body: { input: "text" }, items: ["message"] },
  {
    id: "system-prompt",
    body: {
      input: [{ type: "message", role: "system", content: "Speak in rhymes." }, user("text")],
    },
    items: ["message"],
  },
  {
    id: "tool-calling",
    body: { input: [user("calls")], tools: [weather] },
    items: ["function_call", "function_call"],
  },
  {
    id: "image-input",
    body: {
      input: [
        user([
          { type: "input_text", text: "text" },
          { type: "input_image", image_url: PIXEL },
        ]),
      ],
    },
    items: ["message"],
  },
  {
    id: "multi-turn",
    body: {
      input: [
        user("I am Ada."),
        { type: "message", role: "assistant", content: "Hello Ada." },
        user("text"),
      ],
    },
    items: ["message"],
  },
  {
    id: "own-everything",
    body: {
      input: "everything",
      include: ["reasoning.encrypted_content"],
      reasoning: { effort: "low" },
      text: { verbosity: "low" },
      metadata: { a: "b" },
      tool_choice: "auto",
      max_output_tokens: 100,
    },
    items: ["reasoning", "reasoning", "message", "function_call", "message"],
  },
  { id: "own-length", body: { input: "length" }, status: "incomplete", items: ["message"] },
  { id: "own-background", body: { input: "text", background: true }, items: ["message"] },
  { id: "own-failure", body: { input: "failure" }, status: "failed", items: ["message"] },
];
