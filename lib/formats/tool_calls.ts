/**
 * Assembles tool calls from their fragments, whatever an upstream thinks that makes them one call.
 * Separate from the readers of upstreams and from the formats because both need the same calls.
 */
import { isObject, utf8Length } from "../values.ts";

/** A tool call, assembled from its fragments. */
export interface ToolCall {
  /** The call's place among the calls of the response: 0, 1, 2, … */
  readonly index: number;
  readonly id: string | undefined;
  readonly name: string;
  /** The arguments as JSON, as far as they have arrived. */
  readonly arguments: string;
  /** Whether the arguments are a whole object. */
  readonly isComplete: boolean;
  /** Whether it calls a custom tool: its arguments are any text, and no JSON. */
  readonly isCustom: boolean;
  /** Members of the call that have no name here, as Gemini's `extra_content`. */
  readonly extra: Record<string, unknown> | undefined;
}

/** A fragment of a tool call. None of its fields is certain. */
export interface CallFragment {
  /** The kind of call: `custom`, or else a function. */
  type?: unknown;
  index?: unknown;
  id?: unknown;
  name?: unknown;
  arguments?: unknown;
  extra?: unknown;
}

/** What a fragment adds to a call: its beginning, or more of its arguments. */
export interface CallPiece {
  readonly call: ToolCall;
  readonly isFirst: boolean;
  /** More of the arguments, perhaps nothing. */
  readonly fragment: string;
  /** Further members of the call. */
  readonly extra: Record<string, unknown> | undefined;
}

/** What a maker of calls decides for those that assemble them. */
export interface AssemblerInit {
  /** The error for what cannot be one call. */
  fault(what: string): Error;
  /** Counts bytes that are kept until the end; throws if there are too many. */
  keep(bytes: number): void;
  /** Makes the id of a call that has none. Without it the call has none. */
  idOf?(index: number): string;
  /**
   * Whether a call waits for its arguments, and arguments `{}` wait until the end: some upstreams send
   * the name in pieces, or begin with `{}` and send the arguments afterwards. @default {false}
   */
  isPatient?: boolean;
}

/** A call in the making. */
class Call implements ToolCall {
  /** -1 until the call is given on. */
  index = -1;
  id: string | undefined;
  name = "";
  arguments = "";
  extra: Record<string, unknown> | undefined;
  isCustom = false;
  readonly end = new ObjectEnd();
  /** The list of fragments in which the call began. */
  readonly list: number;
  /** How much of the arguments was given on. */
  sent = 0;
  /** The rest. To cut it off the arguments each time would take V8 quadratic time: it joins them first. */
  unsent = "";

  constructor(list: number) {
    this.list = list;
  }

  get isComplete(): boolean {
    return this.end.isReached;
  }

  get isSent(): boolean {
    return this.index >= 0;
  }
}

/** How many calls may be held back at once. */
const MAX_HELD = 1000;
/** The memory of a tool call beside its strings, in bytes: an estimate. */
const CALL_BYTES = 64;

/**
 * Finds the call that a fragment belongs to. In this order: a known id wins over the index; a new id
 * with a name begins a call; a name behind complete arguments begins a call; all else continues the
 * call at its index, or the last one where there is no index. A call is held back until its name has
 * come.
 */
export class ToolCallAssembler {
  /** The calls that were given on, in that order. */
  readonly calls: ToolCall[] = [];
  readonly #init: AssemblerInit;
  readonly #ids = new Map<string, Call>();
  /** The ids of the calls that were given on. */
  readonly #given = new Set<string>();
  /** The current call at each index that the source uses. */
  readonly #current = new Map<number, Call>();
  /** The calls that are held back. */
  readonly #held = new Set<Call>();
  #last: Call | undefined;
  #lists = 0;

  constructor(init: AssemblerInit) {
    this.#init = init;
  }

  /**
   * Takes fragments that came together.
   *
   * @param isLast Whether no others will follow.
   * @throws What `fault` makes, if a fragment belongs to no call or a call goes on behind its end.
   */
  take(fragments: readonly CallFragment[], isLast = false): CallPiece[] {
    this.#lists++;
    return fragments.flatMap((fragment) => this.#take(fragment, isLast));
  }

  /**
   * Gives on what waits until the end.
   *
   * @throws What `fault` makes, if a call has no name.
   */
  end(): CallPiece[] {
    for (const { name } of this.#held) {
      if (name === "") throw this.#init.fault("a tool call has no name");
    }
    const begun = [...this.#held].map((call) => this.#begin(call, true));
    const waiting = (this.calls as Call[]).filter(({ sent, arguments: { length } }) =>
      sent < length
    );
    return [...begun, ...waiting.map((call) => this.#piece(call, false, undefined, true))];
  }

  #take(given: CallFragment, isLast: boolean): CallPiece[] {
    const id = textOf(given.id);
    const name = textOf(given.name);
    const fragment = argumentsOf(given.arguments);
    const extra = isObject(given.extra) ? given.extra as Record<string, unknown> : undefined;
    const call = this.#callOf(indexOf(given.index), id, name, fragment);
    this.#init.keep(utf8Length(fragment) + (extra ? utf8Length(JSON.stringify(extra)) : 0));
    if (extra !== undefined) call.extra = { ...call.extra, ...extra };
    if (given.type === "custom") call.isCustom = true;
    this.#append(call, fragment);
    if (call.isSent) {
      const isNew = call.sent < call.arguments.length || extra !== undefined;
      return isNew ? [this.#piece(call, false, extra, isLast)] : [];
    }
    if (call.id === undefined && id !== undefined) {
      this.#init.keep(utf8Length(id));
      this.#ids.set(call.id = id, call);
    }
    if (name !== undefined) this.#addName(call, name);
    const isBegun = call.name !== "" && (!this.#init.isPatient || isLast || call.arguments !== "");
    return isBegun ? this.#beginUpTo(call, isLast) : [];
  }

  /** Begins a call, and those with a name that came before it: their order is told by their indices. */
  #beginUpTo(call: Call, isLast: boolean): CallPiece[] {
    const held = [...this.#held];
    return held.slice(0, held.indexOf(call) + 1).filter(({ name }) => name !== "")
      .map((call) => this.#begin(call, isLast));
  }

  /** Adds a name, which may be a piece, or the same once more. */
  #addName(call: Call, name: string): void {
    if (name === call.name) return;
    this.#init.keep(utf8Length(name));
    call.name = name.startsWith(call.name) ? name : call.name + name;
  }

  #begin(call: Call, isLast: boolean): CallPiece {
    this.#held.delete(call);
    call.index = this.calls.length;
    call.id = this.#idOf(call);
    this.calls.push(call);
    return this.#piece(call, true, call.extra, isLast);
  }

  /** The id of a call. Where upstreams give all calls one id, clients take them for one call. */
  #idOf({ index, id = this.#init.idOf?.(index) }: Call): string | undefined {
    if (id === undefined) return undefined;
    let own = id;
    while (this.#given.has(own)) own += `_${index}`;
    this.#given.add(own);
    return own;
  }

  #piece(
    call: Call,
    isFirst: boolean,
    extra: Record<string, unknown> | undefined,
    isLast: boolean,
  ): CallPiece {
    const waits = this.#init.isPatient && !isLast && call.sent === 0 &&
      isEmptyObject(call.arguments);
    if (waits) return { call, isFirst, fragment: "", extra };
    const fragment = call.unsent;
    call.sent += fragment.length;
    call.unsent = "";
    return { call, isFirst, fragment, extra };
  }

  #append(call: Call, fragment: string): void {
    if (fragment === "") return;
    if (call.isCustom) {
      call.arguments += fragment;
      call.unsent += fragment;
      return;
    }
    if (!call.isComplete) {
      const rest = call.end.follow(fragment);
      const more = fragment.slice(0, fragment.length - rest);
      call.arguments += more;
      call.unsent += more;
      if (rest === 0) return;
      fragment = fragment.slice(-rest);
    }
    // An object cannot go on behind its end.
    const again = fragment.trim();
    if (again === "" || again === call.arguments.trim()) return;
    if (call.sent > 0 || !isEmptyObject(call.arguments)) {
      throw this.#init.fault(`arguments of the tool call ${call.name} go on behind their end`);
    }
    call.arguments = call.unsent = "";
    call.end.reset();
    this.#append(call, fragment);
  }

  #callOf(
    index: number | undefined,
    id: string | undefined,
    name: string | undefined,
    fragment: string,
  ): Call {
    const known = id === undefined ? undefined : this.#ids.get(id);
    // Some upstreams give all calls one id.
    const isOther = known?.isComplete && name !== undefined && name !== known.name;
    if (known !== undefined && !isOther) return known;
    const current = index === undefined ? this.#last : this.#current.get(index);
    if (current === undefined || isOther) return this.#hold(index);
    // It waits for its name.
    if (current.name === "") return current;
    if (id !== undefined && current.id !== undefined && current.id !== id) {
      // Some upstreams have another id in each fragment.
      const begins = name !== undefined || (fragment === "" && current.isComplete);
      return begins ? this.#hold(index) : current;
    }
    if (name === undefined) return current;
    if (name === current.name) {
      const isRepeat = fragment.trim() === "" ||
        (index !== undefined && current.list !== this.#lists && fragment === current.arguments);
      return !current.isComplete || isRepeat ? current : this.#hold(index);
    }
    if (current.isComplete || (current.arguments === "" && index === undefined)) {
      return this.#hold(index);
    }
    if (!current.isSent && current.arguments === "") return current;
    throw this.#init.fault(`a tool call is named ${current.name}, and then ${name}`);
  }

  #hold(index: number | undefined): Call {
    if (this.#held.size === MAX_HELD) {
      throw this.#init.fault(`${MAX_HELD} tool calls wait for their names or arguments`);
    }
    this.#init.keep(CALL_BYTES);
    const call = new Call(this.#lists);
    this.#held.add(call);
    if (index !== undefined) this.#current.set(index, call);
    return this.#last = call;
  }
}

/** Follows JSON as it arrives, only as far as to know where its outermost object or array ends. */
class ObjectEnd {
  isReached = false;
  #depth = 0;
  #isText = false;
  #isEscaped = false;

  reset(): void {
    this.isReached = false;
  }

  /** Reads on. Returns how many characters stand behind the end. */
  follow(json: string): number {
    for (let at = 0; at < json.length; at++) {
      const char = json[at];
      if (this.#isEscaped) this.#isEscaped = false;
      else if (this.#isText) {
        if (char === "\\") this.#isEscaped = true;
        else if (char === '"') this.#isText = false;
      } else if (char === '"') this.#isText = true;
      else if (char === "{" || char === "[") this.#depth++;
      else if ((char === "}" || char === "]") && --this.#depth <= 0) {
        this.#depth = 0;
        this.isReached = true;
        return json.length - at - 1;
      }
    }
    return 0;
  }
}

function isEmptyObject(json: string): boolean {
  return /^\s*\{\s*\}\s*$/.test(json);
}

function textOf(value: unknown): string | undefined {
  if (typeof value === "number") return String(value);
  return typeof value === "string" && value !== "" ? value : undefined;
}

function indexOf(value: unknown): number | undefined {
  const index = typeof value === "string" && value !== "" ? Number(value) : value;
  return typeof index === "number" && Number.isInteger(index) && index >= 0 ? index : undefined;
}

/** Arguments as text. Some upstreams send the object itself. */
function argumentsOf(value: unknown): string {
  if (typeof value === "string") return value;
  return JSON.stringify(value ?? undefined) ?? "";
}
