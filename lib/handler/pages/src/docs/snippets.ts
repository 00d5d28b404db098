/** The request at hand in the words of each client. A key is never in them. */

/** A request. A key is in its headers as `$API_KEY`. */
export interface Asked {
  method: string;
  /** As the document has it. */
  path: string;
  url: string;
  /** Where the handler is, with a slash at its end. */
  root: string;
  headers: Record<string, string>;
  body?: string | undefined;
  /** Whether its response is an event stream. */
  streams: boolean;
}

type Lines = string | readonly string[];

/** Texts by the name of the client. */
export function snippetsOf(request: Asked): Record<string, string> {
  const { path, streams, body } = request;
  const value = valueOf(body);
  // What is only laid out for reading takes one line.
  const asked = { ...request, body: pretty(value) === body ? json(value) : body };
  const all: Record<string, string> = { curl: curl(asked), fetch: fetching(asked, value) };
  if (path.startsWith("/streaming") && streams) all.EventSource = eventSource(asked, value);
  if (path === "/v1/chat/completions") all.openai = openai(asked, value);
  if (path === "/v1/responses") all.openai = responses(asked, value);
  if (path === "/v1/messages") all.Anthropic = anthropic(asked, value);
  if (path === "/api/chat") all.useChat = useChat(asked, value);
  if (path === "/ag-ui" && asked.body) all.HttpAgent = httpAgent(asked, value);
  return { ...all, Python: python(asked) };
}

const lines = (...all: Lines[]) => all.flat().join("\n");
const json = (value: unknown) => JSON.stringify(value);
const pretty = (value: unknown, by = "") =>
  JSON.stringify(value, undefined, 2).replaceAll("\n", "\n" + by);

function valueOf(body = ""): unknown {
  try {
    return JSON.parse(body) ?? {};
  } catch {
    // It is being typed, or there is none.
    return body || {};
  }
}

// Whose key it is, each says in its own way.
const headersOf = ({ headers }: Asked, by: string, key: string) =>
  pretty(headers, by).replace('"Bearer $API_KEY"', '"Bearer " + ' + key);
const declared = ({ headers }: Asked) =>
  headers.Authorization ? ['const apiKey = ""; // yours'] : [];
const keyOf = ({ headers }: Asked) => headers.Authorization ? "apiKey" : '"none"';

// A text between single quotes, for a shell.
const quoted = (text: string) => "'" + text.replaceAll("'", "'\\''") + "'";

function curl({ method, url, headers, body, streams }: Asked): string {
  return [
    "curl" + (streams ? " -N" : "") + (method === "GET" ? "" : " -X " + method) + " " + quoted(url),
    ...Object.entries(headers).map((header) =>
      "-H " + quoted(header.join(": ")).replace("$API_KEY", "'\"$API_KEY\"'")
    ),
    ...body ? ["--data-raw " + quoted(body)] : [],
  ].join(" \\\n     ");
}

function call(asked: Asked, value: unknown): string {
  return lines(
    "await fetch(" + json(asked.url) + ", {",
    "  method: " + json(asked.method) + ",",
    "  headers: " + headersOf(asked, "  ", "apiKey") + ",",
    asked.body ? "  body: JSON.stringify(" + pretty(value, "  ") + ")," : [],
    "})",
  );
}

function fetching(asked: Asked, value: unknown): string {
  return lines(
    declared(asked),
    "const response = " + call(asked, value) + ";",
    "if (!response.ok) throw new Error(await response.text());",
    asked.streams
      ? [
        'let rest = "";',
        "for await (const text of response.body.pipeThrough(new TextDecoderStream())) {",
        '  const events = (rest + text).split("\\n\\n");',
        "  rest = events.pop();",
        "  for (const event of events) console.log(event);",
        "}",
      ]
      : "console.log(await response.text());",
  );
}

function eventSource(asked: Asked, value: unknown): string {
  const posts = asked.method === "POST";
  const address = posts ? json(asked.root + "streaming/") + " + id" : json(asked.url);
  return lines(
    asked.headers.Authorization
      ? "// An EventSource sends no key: let authorize() take a cookie, or use fetch."
      : [],
    posts
      ? [
        "// An EventSource cannot POST: it joins what a POST has begun.",
        ...declared(asked),
        "const begun = " + call(asked, value) + ";",
        'const id = begun.headers.get("x-stream-id");',
      ]
      : [],
    "const source = new EventSource(" + address + ");",
    "source.onmessage = ({ data }) => console.log(JSON.parse(data).token);",
    'for (const end of ["done", "failed"]) source.addEventListener(end, () => source.close());',
    posts ? "await begun.body.cancel();" : [],
  );
}

const client = (name: string, from: string, baseURL: string, asked: Asked) => [
  "import " + name + " from " + json(from) + ";",
  "",
  ...declared(asked),
  "const client = new " + name + "({ baseURL: " + json(baseURL) + ", apiKey: " + keyOf(asked) +
  " });",
];

function openai(asked: Asked, value: unknown): string {
  return lines(
    client("OpenAI", "openai", asked.root + "v1", asked),
    "const answer = await client.chat.completions.create(" + pretty(value) + ");",
    asked.streams
      ? "for await (const { choices } of answer) console.log(choices[0]?.delta.content);"
      : "console.log(answer.choices[0].message.content);",
  );
}

function responses(asked: Asked, value: unknown): string {
  return lines(
    client("OpenAI", "openai", asked.root + "v1", asked),
    "const answer = await client.responses.create(" + pretty(value) + ");",
    asked.streams
      ? [
        "for await (const event of answer) {",
        '  if (event.type === "response.output_text.delta") console.log(event.delta);',
        "}",
      ]
      : "console.log(answer.output_text);",
  );
}

function anthropic(asked: Asked, body: unknown): string {
  const { stream: _, ...value } = body as { stream?: unknown };
  return lines(
    client("Anthropic", "@anthropic-ai/sdk", asked.root.slice(0, -1), asked),
    "const answer = client.messages.stream(" + pretty(value) + ");",
    'await answer.on("text", (token) => console.log(token)).done();',
  );
}

/** As much of a body of `useChat` as is read; nothing of it is certain while it is typed. */
interface ChatBody {
  messages?: { at?: (index: number) => Message | undefined };
}
interface Message {
  parts?: { find?: (holds: (part: Part) => unknown) => Part | undefined };
}
interface Part {
  text?: string;
}

function useChat(asked: Asked, value: unknown): string {
  const last = (value as ChatBody).messages?.at?.(-1);
  const text = last?.parts?.find?.((part) => part.text)?.text ?? "Hello?";
  const sent = asked.headers.Authorization
    ? ', headers: { Authorization: "Bearer " + apiKey }'
    : "";
  return lines(
    'import { useChat } from "@ai-sdk/react";',
    'import { DefaultChatTransport } from "ai";',
    "",
    declared(asked),
    "const transport = new DefaultChatTransport({ api: " + json(asked.url) + sent + " });",
    "export function Chat() {",
    "  const { messages, sendMessage } = useChat({ transport });",
    "  const ask = () => sendMessage({ text: " + json(text) + " });",
    "  const answer = messages.at(-1)?.parts.map((part) => part.text);",
    "  return <button onClick={ask}>Ask: {answer}</button>;",
    "}",
  );
}

function httpAgent(asked: Asked, body: unknown): string {
  const { messages = [], forwardedProps } = body as Record<string, unknown>;
  const { Authorization } = asked.headers;
  const headers = Authorization ? ', headers: { Authorization: "Bearer " + apiKey }' : "";
  const given = forwardedProps ? "{ forwardedProps: " + pretty(forwardedProps) + " }, " : "{}, ";
  return lines(
    'import { HttpAgent } from "@ag-ui/client";',
    "",
    declared(asked),
    "const agent = new HttpAgent({ url: " + json(asked.url) + headers + " });",
    "agent.setMessages(" + pretty(messages) + ");",
    "await agent.runAgent(" + given + "{",
    "  onTextMessageContentEvent: ({ event }) => console.log(event.delta),",
    "});",
  );
}

function python(asked: Asked): string {
  const { method, url, headers, body, streams } = asked;
  return lines(
    headers.Authorization ? "import os" : [],
    "import requests",
    "",
    "headers = " + headersOf(asked, "", 'os.environ["API_KEY"]'),
    body ? "body = " + json(body) : [],
    "response = requests.request(",
    "    " + json(method) + ", " + json(url) + ", headers=headers" +
      (body ? ', data=body.encode("utf-8")' : "") + (streams ? ", stream=True" : ""),
    ")",
    "response.raise_for_status()",
    streams
      ? ["for line in response.iter_lines():", '    print(line.decode("utf-8"))']
      : "print(response.text)",
  );
}
