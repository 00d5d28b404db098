/**
 * An answer as it is shown. What has come is there at once, as plain text, and is formatted for some
 * milliseconds at a time, the latest answer first: a long conversation that was kept holds up nobody.
 * Separate from the markdown because that knows of no time.
 */
import { appendText } from "../dom.ts";
import { Markdown } from "./markdown.ts";

/** How long answers are formatted before the page may draw, and hear whoever uses it. */
const TURN_MS = 8;
/** So many characters are formatted at once. */
const MAX_PIECE = 2000;

/** The answers of which something is not formatted yet. */
const waiting = new Set<AnswerView>();
let isDue = false;

function formatSome(): void {
  const endMs = performance.now() + TURN_MS;
  for (const view of [...waiting].reverse()) {
    while (view.format() && performance.now() < endMs);
    if (performance.now() >= endMs) break;
  }
  isDue = waiting.size > 0;
  if (isDue) setTimeout(formatSome);
}

/** The text of an answer: formatted as far as there was time, and plain from there on. */
export class AnswerView {
  readonly element: HTMLElement = document.createElement("div");
  readonly #plain = document.createElement("div");
  readonly #markdown: Markdown;
  readonly #onShown: () => void;
  #isEnded = false;

  /** Shows a text. `onShown` is called when more of it, or of what is written later, is formatted. */
  constructor(text: string, onShown: () => void) {
    const blocks = document.createElement("div");
    this.element.className = "answer";
    blocks.className = "blocks";
    this.element.append(blocks, this.#plain);
    this.#markdown = new Markdown(blocks);
    this.#onShown = onShown;
    for (let at = 0; at < text.length;) {
      const longest = at + MAX_PIECE;
      const lineEnd = text.lastIndexOf("\n", longest) + 1;
      const end = lineEnd > at && longest < text.length ? lineEnd : longest;
      this.#addPlain(text.slice(at, end));
      at = end;
    }
    if (text !== "") this.#wait();
  }

  /** Adds to it. What comes together is shown together. */
  write(text: string): void {
    const last = this.#plain.lastElementChild;
    if (!last) this.#markdown.write(text);
    else if (last.textContent.length < MAX_PIECE) appendText(last, text);
    else this.#addPlain(text);
    this.#wait();
  }

  /** Nothing more comes. */
  end(): void {
    this.#isEnded = true;
    if (!waiting.has(this)) this.#markdown.end();
  }

  /** It is shown no longer. */
  discard(): void {
    waiting.delete(this);
  }

  /** Formats a piece of it. Returns whether more is left. */
  format(): boolean {
    const piece = this.#plain.firstElementChild;
    if (piece) this.#markdown.write(piece.textContent);
    piece?.remove();
    const isLeft = this.#plain.firstElementChild !== null;
    if (!isLeft) waiting.delete(this);
    if (!isLeft && this.#isEnded) this.#markdown.end();
    else this.#markdown.flush();
    this.#onShown();
    return isLeft;
  }

  #addPlain(text: string): void {
    const piece = document.createElement("p");
    piece.className = "part";
    piece.textContent = text;
    this.#plain.append(piece);
  }

  #wait(): void {
    waiting.add(this);
    if (!isDue) queueMicrotask(formatSome);
    isDue = true;
  }
}
