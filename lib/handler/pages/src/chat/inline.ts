/**
 * Markdown within a line, as nodes: emphasis, code and links. What is none of it is text. Separate from
 * the blocks because the cells of a table and the labels of links are lines as well.
 */

/** A line as nodes and texts. */
export interface Inline {
  readonly nodes: (Node | string)[];
  /** The characters from here on may look different when more has come. */
  readonly settled: number;
  /** How many of the nodes are of the characters before. */
  readonly settledNodes: number;
}

interface Frame {
  readonly mark: string;
  nodes: (Node | string)[];
}

const TAGS: Readonly<Record<string, string>> = {
  "**": "strong",
  "__": "strong",
  "*": "em",
  "_": "em",
  "~~": "del",
};
const MAX_DEPTH = 8;
const SPECIAL = /\*\*|\*|__?|~~|`+|\\[!-/:-@[-`{-~]?|!?\[|https?:\/\//g;
const LINK =
  /!?\[([^[\]]{1,1000})\]\(\s?<?((?:[^\s()<>]|\([^\s()<>]{0,200}\)){1,2000})>?(?:\s"[^"\n]{0,200}")?\s?\)/y;
/** A link whose end has not come. */
const OPEN_LINK = /!?\[([^[\]]{0,1000})(?:\](?:\([^()]{0,2000})?)?$/y;
const ADDRESS = /https?:\/\/[^\s<>"`|]{1,2000}/y;

const isWord = (character = "") => /[\p{L}\p{N}]/u.test(character);
const isSpace = (character = " ") => /\s/.test(character);

function element(name: string, nodes: (Node | string)[]): HTMLElement {
  const made = document.createElement(name);
  made.append(...nodes);
  return made;
}

/** The address that a link may lead to; `undefined` for scripts and whatever else is no page. */
function safeAddress(text: string): string | undefined {
  try {
    const { protocol, username, href } = new URL(text);
    return ["http:", "https:", "mailto:"].includes(protocol) && !username ? href : undefined;
  } catch {
    // It is relative, or no address: it stays text.
    return undefined;
  }
}

function link(address: string, nodes: (Node | string)[]): Node {
  const made = element("a", nodes) as HTMLAnchorElement;
  made.href = made.title = address;
  made.target = "_blank";
  made.rel = "noopener noreferrer nofollow";
  return made;
}

/** Reads a line. While it is open, marks without a partner are taken to get theirs. */
export function inline(text: string, isOpen: boolean, links = true): Inline {
  const stack: Frame[] = [{ mark: "", nodes: [] }];
  let at = 0, settled = 0, settledNodes = 0;
  const push = (...nodes: (Node | string)[]) => stack.at(-1)!.nodes.push(...nodes);
  // Ends the innermost mark, as an element or, for want of its partner, as text.
  const pop = (isElement: boolean) => {
    const { mark, nodes } = stack.pop()!;
    push(...isElement ? [element(TAGS[mark]!, nodes)] : [mark, ...nodes]);
  };
  const plain = (end: number) => {
    const part = text.slice(at, end);
    at = end;
    const words = stack.length === 1 ? part.search(/\S*$/) : 0;
    if (words > 0) {
      push(part.slice(0, words));
      settled = end - part.length + words;
      settledNodes = stack[0]!.nodes.length;
    }
    if (words < part.length) push(part.slice(words));
  };
  const emphasis = (found: string) => {
    const top = stack.at(-1)!.mark;
    const mark = found === "**" && top === "*" && text[at + 2] === "*" ? "*" : found;
    const [previous, next] = [text[at - 1], text[at + mark.length]];
    if (isOpen && next === undefined && stack.every((frame) => frame.mark !== mark)) return false;
    at += mark.length;
    const opener = stack.findLastIndex((frame) => frame.mark === mark);
    if (opener > 0 && !isSpace(previous) && !(mark[0] === "_" && isWord(next))) {
      while (stack.length > opener + 1) pop(false);
      pop(true);
    } else if (
      stack.length < MAX_DEPTH && !isSpace(next) &&
      !(isWord(previous) && (mark[0] === "_" || mark === "*"))
    ) {
      stack.push({ mark, nodes: [] });
    } else {
      push(mark);
    }
    return true;
  };
  const code = (run: string) => {
    let end = text.indexOf(run, at + run.length);
    while (end >= 0 && text[end + run.length] === "`") {
      while (text[end] === "`") end++;
      end = text.indexOf(run, end);
    }
    if (end < 0 && !isOpen) {
      push(run);
      at += run.length;
      return true;
    }
    const inside = text.slice(at + run.length, end < 0 ? undefined : end);
    if (inside !== "") push(element("code", [inside.replace(/^ (.*\S.*) $/s, "$1")]));
    at = end + run.length;
    return end >= 0;
  };
  const bracket = (found: string) => {
    LINK.lastIndex = OPEN_LINK.lastIndex = at;
    const complete = links ? LINK.exec(text) : null;
    if (complete) {
      const address = safeAddress(complete[2]!);
      push(address ? link(address, inline(complete[1]!, false, false).nodes) : complete[0]);
      at += complete[0].length;
      return true;
    }
    const begun = isOpen && links && OPEN_LINK.exec(text);
    if (begun) push(begun[1]!);
    else push(found);
    at += found.length;
    return !begun;
  };
  const address = (found: string) => {
    ADDRESS.lastIndex = at;
    const complete = ADDRESS.exec(text)?.[0] ?? found;
    const end = complete.includes("(") ? /[.,;:!?'*_~\]]+$/ : /[.,;:!?'*_~\])]+$/;
    const shown = complete.replace(end, "");
    const target = links ? safeAddress(shown) : undefined;
    push(target ? link(target, [shown]) : shown);
    at += shown.length;
    return true;
  };

  while (at < text.length) {
    SPECIAL.lastIndex = at;
    const special = SPECIAL.exec(text);
    plain(special ? special.index : text.length);
    if (!special) break;
    const [found] = special;
    if (found[0] === "\\") {
      if (isOpen && at + 1 === text.length) break;
      push(found.slice(found.length - 1));
      at += found.length;
      continue;
    }
    const read = found[0] === "`"
      ? code
      : found.endsWith("[")
      ? bracket
      : found[0] === "h"
      ? address
      : emphasis;
    if (!read(found)) break;
  }
  while (stack.length > 1) pop(isOpen);
  return { nodes: stack[0]!.nodes, settled, settledNodes };
}
