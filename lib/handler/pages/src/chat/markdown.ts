/**
 * Markdown as it comes: headings, lists, quotes, tables and code become elements, and everything else,
 * HTML as well, is text. What is shown stays: only the last words of a block are made anew as it grows,
 * so that a long answer costs no more for each token than a short one.
 */
import { appendText, copyText } from "../dom.ts";
import { inline } from "./inline.ts";

/** How many blocks may be one in another. */
const MAX_DEPTH = 10;
/** What has not been understood by then is text. */
const MAX_PENDING = 4000;
/** So much of a block is read at once. */
const MAX_LINE = 2000;
const MAX_COLUMNS = 50;
/** So many blocks have one parent: a browser looks at all of them when one of them grows. */
const MAX_BLOCKS = 100;

const DELIMITERS = /^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*){0,50}\|?\s*$/;
/** The beginning of a line that may still become something else. */
const UNDECIDED = /^(?:\s|>|[-*+](?=\s)|\d{1,9}[.)](?=\s)){0,40}(?:[-*_+#=~`|:\s]*|\d{1,9}[.)]?)$/;

function element<K extends keyof HTMLElementTagNameMap>(
  parent: Element,
  name: K,
  className = "",
): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  if (className) made.className = className;
  parent.append(made);
  return made;
}

/** Text with emphasis, code and links, which grows at its end. */
class Prose {
  /** What was written, as far as it is short: the head of a table may look like this. */
  begin = "";
  readonly #element: Element;
  /** What may still change, and how many nodes do not. */
  #tail = "";
  #settled = 0;

  constructor(element: Element) {
    this.#element = element;
  }

  write(text: string): void {
    if (this.begin.length < MAX_LINE) this.begin += text;
    for (let at = 0; at < text.length;) {
      let end = at + MAX_LINE;
      // A pair of surrogates stays together.
      if (/[\ud800-\udbff]/.test(text[end - 1] ?? "")) end++;
      this.#tail += text.slice(at, end);
      at = end;
      if (this.#tail.length > MAX_LINE) {
        this.show(true);
        if (this.#tail.length > MAX_LINE) this.show(false);
      }
    }
  }

  show(isOpen: boolean): void {
    const { childNodes } = this.#element;
    while (childNodes.length > this.#settled) this.#element.lastChild!.remove();
    const { nodes, settled, settledNodes } = inline(this.#tail, isOpen);
    const final = isOpen ? settledNodes : nodes.length;
    nodes.slice(0, final).forEach((node) => {
      if (typeof node === "string") appendText(this.#element, node);
      else this.#element.append(node);
    });
    this.#settled = childNodes.length;
    this.#element.append(...nodes.slice(final));
    this.#tail = isOpen ? this.#tail.slice(settled) : "";
  }
}

/** A block that holds blocks: a quote, or an item of a list. */
interface Container {
  readonly element: Element;
  /** The list of an item, its kind, and how far its marker and its text are indented. */
  readonly list?: { readonly element: Element; readonly kind: string };
  readonly offset: number;
  readonly indent: number;
}

type Leaf =
  | { readonly kind: "line" | "paragraph"; readonly prose: Prose; readonly element: Element }
  | { readonly kind: "code"; readonly mark: string; readonly code: Element; lines: number }
  | { readonly kind: "table"; readonly body: Element; readonly classes: string[] };

const indentOf = (line: string) => line.search(/\S|$/);

function cellsOf(row: string): string[] {
  const inner = row.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "");
  return inner.split(/(?<!\\)\|/, MAX_COLUMNS).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function addRow(parent: Element, name: "th" | "td", cells: string[], classes: string[]): void {
  const row = element(parent, "tr");
  classes.forEach((className, i) => {
    const text = (cells[i] ?? "").slice(0, MAX_LINE);
    element(row, name, className).append(...inline(text, false).nodes);
  });
}

/** Call `write` with each piece of the text, `flush` to show what has come, and `end` after the last. */
export class Markdown {
  readonly #root: Element;
  /** Where blocks go that are in no other, and how many have gone there. */
  #part: Element;
  #blocks = 0;
  #pending = "";
  /** Whether the rest of the line is text of the leaf. */
  #inText = false;
  #containers: Container[] = [];
  #leaf: Leaf | undefined;

  constructor(root: Element) {
    this.#root = this.#part = root;
  }

  write(text: string): void {
    this.#pending += text.replaceAll("\r", "");
  }

  flush(): void {
    this.#read(false);
    if (this.#leaf && "prose" in this.#leaf) this.#leaf.prose.show(true);
  }

  end(): void {
    this.#read(true);
    this.#close();
  }

  #read(isEnd: boolean): void {
    const text = this.#pending;
    let at = 0;
    while (at < text.length) {
      const end = text.indexOf("\n", at);
      const isWhole = end >= 0 || isEnd;
      const stop = end < 0 ? text.length : end;
      if (this.#inText) {
        this.#append(text.slice(at, stop));
      } else {
        const line = text.slice(at, stop);
        const canWait = !isEnd && text.length - at < MAX_PENDING;
        if (canWait && this.#mustWait(line, isWhole, text.slice(stop + 1))) break;
        this.#begin(line, isWhole);
      }
      this.#inText &&= end < 0;
      at = end < 0 ? stop : end + 1;
      if (end >= 0 && this.#leaf?.kind === "line") this.#close();
    }
    this.#pending = text.slice(at);
  }

  // Whether more has to come before a line can be told for what it is.
  #mustWait(line: string, isWhole: boolean, next: string): boolean {
    const leaf = this.#leaf;
    if (leaf?.kind === "code") return !isWhole && /^[\s>]*[`~]*\s*$/.test(line);
    if (leaf?.kind === "table") return !isWhole;
    if (/^\s*\|/.test(line) && leaf?.kind !== "paragraph") {
      return !isWhole || (!next.includes("\n") && /^[\s|:-]*$/.test(next));
    }
    return !isWhole && (UNDECIDED.test(line) || /^[\s>]*(?:```|~~~)/.test(line));
  }

  get #parent(): Element {
    const container = this.#containers.at(-1);
    if (container) return container.element;
    if (this.#blocks++ === MAX_BLOCKS) {
      this.#part = element(this.#root, "div", "part");
      this.#blocks = 1;
    }
    return this.#part;
  }

  #append(text: string): void {
    if (this.#leaf?.kind === "code") appendText(this.#leaf.code, text);
    else if (this.#leaf && "prose" in this.#leaf) this.#leaf.prose.write(text);
  }

  #close(depth?: number): void {
    if (this.#leaf && "prose" in this.#leaf) this.#leaf.prose.show(false);
    this.#leaf = undefined;
    if (depth !== undefined) this.#containers.length = depth;
  }

  #begin(line: string, isWhole: boolean): void {
    const inCode = this.#leaf?.kind === "code";
    const isBlank = line.trim() === "";
    let at = 0, depth = 0;
    for (const { list, offset, indent } of this.#containers) {
      const rest = line.slice(at);
      const quote = list ? undefined : /^\s{0,3}> ?/.exec(rest)?.[0];
      const indented = indentOf(rest);
      if (quote) at += quote.length;
      else if (list && (inCode || isBlank || indented >= Math.min(indent, offset + 2))) {
        at += Math.min(indented, indent);
      } else break;
      depth++;
    }
    const isInside = depth === this.#containers.length;
    if (this.#leaf?.kind === "code" && isInside) {
      return this.#continueCode(this.#leaf, line.slice(at));
    }
    if (inCode) this.#close(depth);
    if (line.slice(at).trim() === "") {
      const isQuoteLeft = this.#containers[depth] && !this.#containers[depth]!.list;
      return this.#close(isQuoteLeft ? depth : undefined);
    }
    const left = this.#containers[depth]?.list;
    const opened = this.#open(line.slice(at), depth, left);
    if (opened.length === 0 && !isInside && !this.#isText(opened.rest)) this.#close(depth);
    this.#beginLeaf(opened.rest, isWhole);
  }

  // Opens the quotes and items that begin on a line.
  #open(line: string, depth: number, left: Container["list"]): { length: number; rest: string } {
    let rest = line, list = left, at = depth;
    for (; at < MAX_DEPTH; at++) {
      const quote = /^\s{0,3}> ?/.exec(rest)?.[0];
      const item = /^(\s*)([-*+]|(\d{1,9})[.)])(?:\s{1,4}(?=\S)|\s+$|$)/.exec(rest);
      if (!quote && (!item || /^\s*([-*_])(?:\s*\1){2,}\s*$/.test(rest))) break;
      const isText = this.#leaf?.kind === "paragraph" && at === this.#containers.length;
      if (item && isText && item[3] !== undefined && item[3] !== "1") break;
      this.#close(at);
      if (quote) {
        const made = element(this.#parent, "blockquote");
        this.#containers.push({ element: made, offset: 0, indent: 0 });
        rest = rest.slice(quote.length);
      } else if (item) {
        const [start, { length: offset }, marker] = [item[0], item[1]!, item[2]!];
        const kind = marker.slice(-1);
        if (list?.kind !== kind) {
          const made = element(this.#parent, item[3] ? "ol" : "ul");
          if (item[3] && item[3] !== "1") made.setAttribute("start", item[3]);
          list = { element: made, kind };
        }
        const container = { element: element(list.element, "li"), list, offset };
        this.#containers.push({ ...container, indent: start.length });
        rest = rest.slice(start.length);
      }
      list = undefined;
    }
    return { length: at - depth, rest };
  }

  // Whether a line goes on with the paragraph before it, though it is not indented as that is.
  #isText(line: string): boolean {
    return this.#leaf?.kind === "paragraph" && !/^\s*(?:#{1,6}(?:\s|$)|```|~~~|\|)/.test(line) &&
      !/^\s*([-*_])(?:\s*\1){2,}\s*$/.test(line);
  }

  #continueCode(leaf: Leaf & { kind: "code" }, line: string): void {
    if (line.trim().startsWith(leaf.mark) && /^\s*(?:`+|~+)\s*$/.test(line)) return this.#close();
    appendText(leaf.code, `${leaf.lines++ > 0 ? "\n" : ""}${line}`);
    this.#inText = true;
  }

  #beginLeaf(line: string, isWhole: boolean): void {
    const leaf = this.#leaf;
    const heading = /^\s{0,3}(#{1,6})(?:\s+|$)/.exec(line);
    const fence = isWhole ? /^\s*(`{3,}|~{3,})([^`]*)$/.exec(line) : null;
    if (line.trim() === "") return;
    if (fence) {
      this.#close();
      this.#beginCode(fence[1]!, fence[2]!.trim());
    } else if (/^\s*([-*_])(?:\s*\1){2,}\s*$/.test(line)) {
      this.#close();
      element(this.#parent, "hr");
    } else if (heading) {
      this.#close();
      // The page's own headings are of the first and second rank.
      const name = `h${Math.min(heading[1]!.length + 2, 6)}` as "h3";
      this.#beginProse("line", element(this.#parent, name), line.slice(heading[0].length));
    } else if (leaf?.kind === "table" && isWhole && line.includes("|")) {
      addRow(leaf.body, "td", cellsOf(line), leaf.classes);
    } else if (leaf?.kind === "paragraph" && isWhole && this.#beginTable(leaf, line)) {
      return;
    } else if (leaf?.kind === "paragraph") {
      leaf.prose.write(`\n${line}`);
      this.#inText = true;
    } else {
      this.#close();
      this.#beginProse("paragraph", element(this.#parent, "p"), line.trimStart());
    }
  }

  #beginProse(kind: "line" | "paragraph", element: Element, text: string): void {
    const prose = new Prose(element);
    this.#leaf = { kind, prose, element };
    prose.write(text);
    this.#inText = true;
  }

  #beginCode(mark: string, language: string): void {
    const block = element(this.#parent, "div", "block");
    const bar = element(block, "div", "bar");
    element(bar, "span").textContent = language.slice(0, 40) || "code";
    const copy = element(bar, "button");
    copy.type = "button";
    copy.textContent = "Copy";
    const pre = element(block, "pre");
    pre.tabIndex = 0;
    const code = element(pre, "code");
    copy.addEventListener("click", () => copyText(code));
    this.#leaf = { kind: "code", mark, code, lines: 0 };
  }

  // The line above the delimiters is the head of a table.
  #beginTable(leaf: Leaf & { kind: "paragraph" | "line" }, line: string): boolean {
    const head = leaf.prose.begin;
    if (!DELIMITERS.test(line) || !line.includes("|") || head.includes("\n")) return false;
    const [delimiters, cells] = [cellsOf(line), cellsOf(head)];
    if (delimiters.length !== cells.length || head.length >= MAX_LINE) return false;
    leaf.element.remove();
    const classes = delimiters.map((mark) =>
      mark.endsWith(":") ? mark.startsWith(":") ? "center" : "right" : ""
    );
    const frame = element(this.#parent, "div", "table");
    frame.tabIndex = 0;
    const table = element(frame, "table");
    addRow(element(table, "thead"), "th", cells, classes);
    this.#leaf = { kind: "table", body: element(table, "tbody"), classes };
    return true;
  }
}
