/**
 * A chat completion as one document. Separate from the stream of chunks because it has to put together
 * what deltas say in pieces.
 */
import type { End, EventSink, FormatContext } from "./format.ts";
import { callPiece, deltaOf, detailsOf, finishOf, identityOf, usageFor } from "./openai_members.ts";
import type { Extra } from "./parts.ts";
import { Transcript } from "./transcript.ts";
import { isObject, utf8Length } from "../values.ts";

/** Collects a response and writes it at its end. */
export class Completion extends Transcript {
  #refusal = "";
  readonly #further = noMembers();
  readonly #context: FormatContext;
  readonly #model: string;

  constructor(context: FormatContext, model: string) {
    super(`call_${context.streamId}`);
    this.#context = context;
    this.#model = model;
  }

  protected override refusal(_out: EventSink, text: string): void {
    this.keep(utf8Length(text));
    this.#refusal += text;
  }

  protected override other(
    _out: EventSink,
    event: string | undefined,
    json: string,
    data: unknown,
  ): void {
    const delta = deltaOf(event, data);
    if (delta === undefined) return;
    this.keep(utf8Length(json));
    merge(this.#further, delta);
  }

  protected finish(out: EventSink, end: End): void {
    const text = this.joined("text");
    const reasoning = this.joined("reasoning");
    const calls = this.calls.map((call) => callPiece(call, call.arguments, call.extra, true));
    const details = this.parts.flatMap((part) =>
      "text" in part ? detailsOf(part.text, part.signature, part.redacted) : []
    );
    const isEmpty = text === "" && (calls.length > 0 || this.hasRefused);
    const message = {
      ...Object(this.#further),
      role: "assistant",
      content: isEmpty ? null : text,
      ...reasoning === "" ? {} : { reasoning_content: reasoning },
      ...details.length === 0 ? {} : { reasoning_details: details },
      refusal: this.hasRefused ? this.#refusal : null,
      ...calls.length === 0 ? {} : { tool_calls: calls },
    };
    const choice = {
      index: 0,
      message,
      logprobs: null,
      finish_reason: finishOf(end, this.callsWait),
    };
    const identity = identityOf(this.#context, "chat.completion", this.#model);
    const rest = `"choices":[${JSON.stringify(choice)}],"usage":${JSON.stringify(usageFor(end))}`;
    out.text(`{${identity},${rest}}`);
  }
}

/** Texts of audio, whose pieces may be alike: silence is. */
const GROWING: ReadonlySet<string> = new Set(["data", "transcript"]);

/**
 * Adds a delta to what deltas make together, in time in proportion to it: lists and texts grow, but
 * for a name that each of them repeats.
 */
function merge(all: Extra, fresh: object): Extra {
  for (const [name, value] of Object.entries(fresh)) {
    const old = all[name];
    if (Array.isArray(value)) {
      const list = Array.isArray(old) ? old : all[name] = [];
      for (const entry of value) list.push(entry);
    } else if (isObject(value)) {
      all[name] = merge(isObject(old) && !Array.isArray(old) ? old as Extra : noMembers(), value);
    } else if (typeof old !== "string" || typeof value !== "string") all[name] = value;
    else if (old !== value || GROWING.has(name)) all[name] = old + value;
  }
  return all;
}

/** An object without a prototype, where `__proto__` is a name like any other. */
function noMembers(): Extra {
  return Object.create(null);
}
