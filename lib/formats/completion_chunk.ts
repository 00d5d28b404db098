/**
 * Reads the chunks of an OpenAI-compatible response, whoever wrote them. Separate from the formats
 * and the sources because such chunks arrive in both: from an upstream that a source calls, and in an
 * event that `relay` passes on.
 */
import { upstreamFailed } from "../error.ts";
import { agreeing, isBroken, reasonOf } from "./finish.ts";
import { byteCounter } from "./codes.ts";
import { deltaItems, isText, plainText } from "./delta.ts";
import type { Item, Summary } from "../item.ts";
import { type CallFragment, type CallPiece, ToolCallAssembler } from "./tool_calls.ts";
import { depthOf, isObject, parseJson } from "../values.ts";

/** The fields of a chunk that are read. None of them is certain to be there or of its type. */
export interface CompletionChunk {
  object?: unknown;
  error?: unknown;
  usage?: unknown;
  choices?: unknown;
  /** Addresses beside the choices, as Perplexity has them. */
  citations?: unknown;
  /** Where Groq has the usage. */
  x_groq?: unknown;
  /** How MiniMax says that it has failed. */
  base_resp?: unknown;
}

interface Choice {
  index?: unknown;
  delta?: unknown;
  message?: unknown;
  text?: unknown;
  error?: unknown;
  finish_reason?: unknown;
  finishReason?: unknown;
}

/** The chunk that a text is; `undefined` if it is no JSON object. */
export function parseChunk(json: string): CompletionChunk | undefined {
  const value = parseJson(json);
  return isObject(value) && !Array.isArray(value) ? value : undefined;
}

/** Whether a value is a chunk, and no event of another API. */
export function isChunk(value: CompletionChunk): boolean {
  return "choices" in value || value.object === "chat.completion.chunk";
}

/** Whether a chunk is a failure: in OpenAI's shape, in its choice, or in one of an upstream's own. */
export function isFailure(chunk: CompletionChunk): boolean {
  const { error, object, base_resp: own } = chunk;
  const hasOwn = isObject(own) && "status_code" in own && Boolean(own.status_code);
  return Boolean(error || choiceOf(chunk)?.error) || hasOwn || object === "error";
}

/** The first choice, wherever it stands. */
function choiceOf({ choices }: CompletionChunk): Choice | undefined {
  if (!Array.isArray(choices)) return undefined;
  const [first] = choices;
  if (isObject(first) && (first as Choice).index === 0) return first;
  return choices.find((choice) => isObject(choice) && isFirst(choice));
}

/** Whether a choice is the first: some upstreams say so in text, and some do not say it. */
function isFirst({ index }: Choice): boolean {
  return index == null || index === 0 || (typeof index === "string" && Number(index) === 0);
}

/** Reasons that OpenAI's clients know. */
const KNOWN_REASONS: readonly unknown[] = ["stop", "length", "tool_calls", "content_filter"];
/** How deep a chunk may nest: what writes and reads its items has one stack frame for each level. */
const MAX_DEPTH = 256;
/** The memory of a citation that was passed on, in bytes: an estimate. */
const CITATION_BYTES = 64;

/** Reads the chunks of one response. */
export class CompletionReader {
  readonly #texts = new TextChunks();
  readonly #calls: ToolCallAssembler;
  readonly #keep = byteCounter();
  readonly #citations = new Set<string>();
  #reason: string | undefined;
  #usage: Record<string, unknown> | undefined;
  #hasItems = false;
  #isStandard = true;

  constructor() {
    this.#calls = new ToolCallAssembler({
      fault: upstreamFailed,
      keep: this.#keep,
      isPatient: true,
    });
  }

  /** How the response ended, as far as its chunks have said; the reason agrees with what came. */
  get summary(): Summary {
    const reason = this.#reason;
    return {
      ...reason === undefined ? {} : { finishReason: agreeing(reason, this.calledTools) },
      ...this.#usage === undefined ? {} : { usage: this.#usage },
    };
  }

  /** The finish reason as it was given; `undefined` as long as there was none. */
  get reason(): string | undefined {
    return this.#reason;
  }

  /** Whether any client of OpenAI's API reads the last chunk as this reader does. */
  get isStandard(): boolean {
    return this.#isStandard;
  }

  /** The usage as it was given; `undefined` as long as there was none. */
  get usage(): Record<string, unknown> | undefined {
    return this.#usage;
  }

  /** Whether the response has called a tool. */
  get calledTools(): boolean {
    return this.#calls.calls.length > 0;
  }

  /** The text of a chunk that is like an earlier one; else `undefined`, and it has to be parsed. */
  text(data: string): string | undefined {
    const text = this.#texts.read(data);
    if (text !== undefined) this.#isStandard = this.#texts.isStandard;
    return text;
  }

  /**
   * What a chunk adds to the response, in order: reasoning, text, refusal, pictures, audio, citations,
   * what nobody knows, tool calls. It is no failure.
   *
   * @param data The text of the chunk.
   * @throws {StreamError} `upstream_failed` if the model broke off, or a tool call cannot be
   * assembled, or the chunk is too deep; `answer_too_large` if too much of it has to be kept.
   */
  items(chunk: CompletionChunk, data: string): Item[] {
    if (data.length > 2 * MAX_DEPTH && depthOf(data, MAX_DEPTH) > MAX_DEPTH) {
      throw upstreamFailed(`A chunk is nested over ${MAX_DEPTH} deep`);
    }
    const items = this.#read(chunk);
    this.#texts.learn(data, items, this.#isStandard);
    return items;
  }

  #read(chunk: CompletionChunk): Item[] {
    const { x_groq: groq } = chunk;
    const usage = chunk.usage ?? (isObject(groq) && "usage" in groq ? groq.usage : undefined);
    if (isObject(usage)) this.#usage = usage as Record<string, unknown>;
    const items = this.#citationsOf(chunk.citations);
    const choice = choiceOf(chunk);
    this.#isStandard = items.length === 0 && Array.isArray(chunk.choices);
    if (choice === undefined) return items;
    const given = choice.finish_reason ?? choice.finishReason;
    if (choice.index !== 0 || choice.finish_reason !== (given ?? null)) this.#isStandard = false;
    const delta = this.#deltaOf(choice);
    const text = plainText(delta);
    if (text !== undefined && given == null) {
      // A chunk of text that could not be cut out (benchmark case: relay).
      if (text === "") return items;
      this.#hasItems = true;
      return items.length === 0 ? [text] : [text, ...items];
    }
    const { items: parts, fragments, isStandard } = deltaItems(delta);
    if (!isStandard) this.#isStandard = false;
    // What comes behind the reason may be the last, so nothing of it waits.
    const isLast = this.#reason !== undefined || reasonOf(given) !== undefined;
    const begun = this.#calls.take(fragments, isLast);
    const pieces = isLast ? [...begun, ...this.#calls.end()] : begun;
    if (!isSame(pieces, fragments)) this.#isStandard = false;
    this.#readReason(given);
    const all = [...parts, ...items, ...pieces.map(callItem)];
    if (all.length > 0) this.#hasItems = true;
    return all;
  }

  #deltaOf({ delta, message, text }: Choice): object {
    if (isObject(delta) && (Object.keys(delta).length > 0 || !isObject(message))) return delta;
    if (message !== undefined || text !== undefined) this.#isStandard = false;
    if (isObject(message)) {
      if (!this.#hasItems) return message;
      // Behind its deltas a whole message repeats them, but for calls that stand in it alone.
      const { tool_calls } = message as { tool_calls?: unknown };
      return this.calledTools ? {} : { tool_calls };
    }
    return { content: text };
  }

  /** Reads a finish reason. The first one holds. */
  #readReason(given: unknown): void {
    if (given == null) return;
    const reason = reasonOf(given);
    if (reason === undefined || this.#reason !== undefined) {
      // Said once more, it would be told before the end.
      this.#isStandard = false;
      return;
    }
    if (isBroken(reason)) throw upstreamFailed(`The finish reason is ${reason}`);
    this.#reason = reason;
    const isAgreed = agreeing(reason, this.calledTools) === given && KNOWN_REASONS.includes(given);
    if (!isAgreed) this.#isStandard = false;
  }

  /** The addresses that a response cites, each of them once: every chunk repeats them. */
  #citationsOf(given: unknown): Item[] {
    if (!Array.isArray(given)) return [];
    return given.filter((url) => isText(url) && !this.#citations.has(url)).map((url: string) => {
      this.#keep(CITATION_BYTES + 2 * url.length);
      this.#citations.add(url);
      return { event: "citation", data: { type: "url_citation", url_citation: { url } } };
    });
  }
}

/** The data of a `tool_call` item that {@linkcode CompletionReader} makes. */
export interface CallData {
  /** The call's place among the calls of the response: 0, 1, 2, … */
  readonly index: number;
  readonly id?: string;
  /** `custom` in the first item of a call of a custom tool, whose arguments are any text. */
  readonly type?: "custom";
  /** The name, in the first item of each call alone. */
  readonly name?: string;
  /** More of the arguments. */
  readonly arguments?: string;
  /** Further members of the call. */
  readonly extra?: Record<string, unknown>;
}

/** The item of a piece of a tool call. */
function callItem({ call, isFirst, fragment, extra }: CallPiece): Item {
  const { index, id, name, isCustom } = call;
  const data: CallData = {
    index,
    ...isFirst
      ? { ...id === undefined ? {} : { id }, ...isCustom ? { type: "custom" as const } : {}, name }
      : {},
    ...fragment === "" ? {} : { arguments: fragment },
    ...extra === undefined ? {} : { extra },
  };
  return { event: "tool_call", data };
}

/** Whether fragments were complete and in order as they came. */
function isSame(pieces: readonly CallPiece[], fragments: readonly CallFragment[]): boolean {
  return pieces.length === fragments.length && pieces.every((piece, at) => {
    const { type, index, id, name, arguments: json = "" } = fragments[at]!;
    const { call, isFirst, fragment } = piece;
    if (index !== call.index || json !== fragment) return false;
    return isFirst
      ? type === (call.isCustom ? "custom" : "function") && id === call.id && isText(id) &&
        name === call.name
      : (type === undefined || call.isCustom && type === "custom") && id === undefined &&
        name === undefined;
  });
}

/** A placeholder for the text while a template is tried: a character that JSON does not escape. */
const MARK = "\u{10fffd}";
/** Characters that JSON has to escape in a string. */
// deno-lint-ignore no-control-regex -- in JSON they are faults
const NEEDS_PARSING = /["\\\0-\x1f]/;
const CONTENT = /"content": ?"/;
/**
 * Limit of attempts to learn a template: the chunks of some upstreams differ in more than their
 * text.
 */
const MAX_TRIES = 4;

/**
 * Extracts the text of chunks that differ from an earlier one in their text alone, as nearly all
 * chunks of a response do. The text is cut out without parsing (benchmark case: relay). What stands
 * before and after it must match the earlier chunk exactly, and the text may hold neither a quote
 * nor a backslash, so that parsing would give the same result.
 */
class TextChunks {
  #head: string | undefined;
  #tail = "";
  #tries = 0;
  /** Whether the chunk that was learned is one that any client reads. */
  isStandard = true;

  /** The text, if `data` matches the chunk that was learned; else `undefined`. */
  read(data: string): string | undefined {
    const head = this.#head;
    if (head === undefined || data.length < head.length + this.#tail.length) return undefined;
    const end = data.length - this.#tail.length;
    // `startsWith` and `endsWith` take V8 one and a half times as long.
    if (data.slice(0, head.length) !== head || data.slice(end) !== this.#tail) return undefined;
    const text = data.slice(head.length, end);
    return NEEDS_PARSING.test(text) ? undefined : text;
  }

  /** Learns from a parsed chunk if `items` is only its text and that text can be located again. */
  learn(data: string, items: readonly Item[], isStandard: boolean): void {
    const [text] = items;
    if (items.length !== 1 || typeof text !== "string" || this.#tries >= MAX_TRIES) return;
    this.#tries++;
    const content = CONTENT.exec(data);
    if (content === null || text.includes(MARK)) return;
    const head = data.slice(0, content.index + content[0].length);
    if (!data.startsWith(`${text}"`, head.length)) return;
    const tail = data.slice(head.length + text.length);
    // A name or a text may look like the field: what is found must be what was inserted.
    const trial = new CompletionReader();
    const found = trial.items(parseChunk(head + MARK + tail) ?? {}, "");
    const isText = found.length === 1 && found[0] === MARK &&
      Object.keys(trial.summary).length === 0;
    if (isText) [this.#head, this.#tail, this.isStandard] = [head, tail, isStandard];
  }
}
