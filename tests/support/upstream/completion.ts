/**
 * The good response of the mock upstream: the last user message again, as chat completion chunks or as
 * one object. The faults break it.
 */

/** Cuts a text into tokens of 1 to `size` UTF-16 units, always alike. */
export function cut(text: string, size = 5, split: "points" | "surrogates" = "points"): string[] {
  const tokens: string[] = [];
  for (let at = 0, turn = 0; at < text.length; turn++) {
    // 1, 3, 5, 2, 4 for five: it starts with 1 so that `surrogates` splits even a lone emoji.
    let end = at + 1 + (turn * 2) % size;
    if (split === "points" && isPair(text, end - 1)) end += end - at > 1 ? -1 : 1;
    tokens.push(text.slice(at, end));
    at = end;
  }
  return tokens;
}

function isPair(text: string, at: number): boolean {
  return (text.charCodeAt(at) & 0xfc00) === 0xd800 && (text.charCodeAt(at + 1) & 0xfc00) === 0xdc00;
}

/** The content of the last user message, its text parts joined. */
export function lastUserText(body: unknown): string {
  const messages = (body as { messages?: unknown } | undefined)?.messages;
  if (!Array.isArray(messages)) return "";
  const last = messages.findLast((message) => message?.role === "user")?.content;
  if (!Array.isArray(last)) return typeof last === "string" ? last : "";
  return last.map((part) => (typeof part?.text === "string" ? part.text : "")).join("");
}

/** The end of every good stream. */
export const DONE: string = "data: [DONE]\n\n";

export interface CompletionOptions {
  id: string;
  model: string;
  tokens: string[];
  promptTokens: number;
  /** Whether `stream_options.include_usage` was asked for. */
  includeUsage: boolean;
}

/** One completion, as events to send in any order and number. Each method answers a whole event or "". */
export class Completion {
  readonly tokens: readonly string[];
  readonly text: string;
  #usage: string;
  #start: string;
  #includeUsage: boolean;
  #whole: Record<string, unknown>;

  constructor({ id, model, tokens, promptTokens, includeUsage }: CompletionOptions) {
    this.tokens = tokens;
    this.text = tokens.join("");
    const usage = {
      prompt_tokens: promptTokens,
      completion_tokens: tokens.length,
      total_tokens: promptTokens + tokens.length,
    };
    this.#usage = JSON.stringify(usage);
    const head = { id, object: "chat.completion.chunk", created: 1763800000, model };
    this.#start = JSON.stringify(head).slice(0, -1);
    this.#includeUsage = includeUsage;
    this.#whole = { ...head, object: "chat.completion", usage };
  }

  role(): string {
    return this.delta('{"role":"assistant","content":""}');
  }

  content(token: string): string {
    return this.delta(`{"content":${JSON.stringify(token)}}`);
  }

  finish(reason: string): string {
    return this.delta("{}", JSON.stringify(reason));
  }

  usage(): string {
    return this.#includeUsage ? this.event(`"choices":[],"usage":${this.#usage}`) : "";
  }

  /** `delta` is JSON text: stringifying the whole chunk for each token would be most of the mock's work. */
  delta(delta: string, finishReason = "null"): string {
    const nothing = this.#includeUsage ? ',"usage":null' : "";
    return this.event(
      `"choices":[{"index":0,"delta":${delta},"logprobs":null,"finish_reason":${finishReason}}]${nothing}`,
    );
  }

  /** A chunk with these members after its id, object, created and model. */
  event(members: string): string {
    return `data: ${this.#start},${members}}\n\n`;
  }

  /** The whole answer, for `stream: false`. */
  whole(finishReason = "stop", message: Record<string, unknown> = { content: this.text }): string {
    return JSON.stringify({
      ...this.#whole,
      choices: [{
        index: 0,
        message: { role: "assistant", ...message },
        logprobs: null,
        finish_reason: finishReason,
      }],
    });
  }
}
