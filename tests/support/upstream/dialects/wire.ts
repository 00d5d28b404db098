/** What all families share on the wire: events, and chunks of `choices[0].delta`. */
import type { Answer, Call, Part } from "./answer.ts";

/** One event. */
export const event = (value: unknown): string => `data: ${JSON.stringify(value)}\n\n`;
export const comment = (words: string): string => `: ${words}\n\n`;
export const DONE = "data: [DONE]\n\n";

/** Usage under the names that OpenAI has for it. */
export const usageOf = ({ usage: { input, output } }: Answer): Record<string, number> => ({
  prompt_tokens: input,
  completion_tokens: output,
  total_tokens: input + output,
});

export const callsOf = ({ parts }: Answer): Call[] =>
  parts.filter((part): part is Call => part.kind === "call");

/** The address of a picture as a `data:` URL. */
export const urlOf = ({ mediaType, base64, url }: Part & { kind: "file" }): string =>
  url ?? `data:${mediaType};base64,${base64}`;

/** Chunks with one head. */
export class Chunks {
  readonly out: string[] = [];
  readonly #head: Record<string, unknown>;
  readonly #choice: Record<string, unknown>;

  /** @param choice Further members of each choice. */
  constructor(head: Record<string, unknown>, choice: Record<string, unknown> = {}) {
    this.#head = head;
    this.#choice = choice;
  }

  /** A chunk with these choices. */
  chunk(choices: unknown, more: Record<string, unknown> = {}): void {
    this.out.push(event({ ...this.#head, choices, ...more }));
  }

  /** A chunk with one delta; `choice` and `more` are members of the choice and of the chunk. */
  delta(
    delta: unknown,
    finishReason: string | null = null,
    more: Record<string, unknown> = {},
    choice: Record<string, unknown> = {},
  ): void {
    const all = { index: 0, delta, ...this.#choice, ...choice, finish_reason: finishReason };
    this.chunk([all], more);
  }

  /** The events, with the usage in a chunk of its own and `[DONE]` behind them. */
  end(answer: Answer): string[] {
    this.chunk([], { usage: usageOf(answer) });
    return [...this.out, DONE];
  }
}

const CREATED = 1763800000;

/** The head that nearly all families write. */
export const head = (id: string, model: string): Record<string, unknown> => ({
  id,
  object: "chat.completion.chunk",
  created: CREATED,
  model,
});
