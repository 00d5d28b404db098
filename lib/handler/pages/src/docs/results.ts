/** What is seen of a try while it runs: its figures, its text, its bytes, and the gaps between its tokens. */
import { $, appendText } from "../dom.ts";
import { linesOf, type Problem } from "../problem.ts";
import { h } from "./elements.ts";
import { parseJson } from "../../../../values.ts";

/**
 * Where a request is: "idle", then "sending" and "streaming", in the end "cut" or "ended". A cut stream
 * that has a name can be resumed.
 */
export type Phase = "idle" | "sending" | "streaming" | "cut" | "ended";

const NONE = "–";
/** How many pieces of a text are kept, and how many gaps are drawn. */
const MAX_PIECES = 64;
const MAX_BARS = 150;
/** A page does not wait so long for replayed tokens, however long it takes to read them. */
const REPLAY_MS = 20;

function seconds(ms: number | undefined): string {
  if (ms === undefined) return NONE;
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

const titled = (title: string, shown: Element) => h("div", {}, h("h5", {}, title), shown);

/** A text that is read as it grows. */
export function box(label: string): HTMLElement {
  return h("pre", { class: label, tabindex: "0", role: "group", "aria-label": label });
}

// Of a text that is too long the oldest pieces go.
function append(pane: HTMLElement, text: string): void {
  appendText(pane, text);
  if (pane.childNodes.length > MAX_PIECES) pane.firstChild!.remove();
}

/** Call `clear`, then `sent` for each request of a try, `enter` for each phase, and the rest as it comes. */
export class Results {
  readonly element: HTMLElement;
  /** What the response says of itself. */
  status = "";
  readonly #streaming: boolean;
  readonly #text = box("Text");
  readonly #wire = box("Wire");
  readonly #problem = h("p", { class: "problem", role: "alert", hidden: true });
  readonly #figures = h("dl", { class: "figures" });
  readonly #chart: Element;
  #phase: Phase = "idle";
  #sentMs = 0;
  #firstMs: number | undefined;
  #lastMs: number | undefined;
  /** When the latest bytes came. */
  #cameMs = 0;
  /** What was said before comes again, at once. */
  #isReplay = false;
  #tookMs: number | undefined;
  #tokens = 0;
  #gaps: number[] = [];
  #countedMs = 0;
  #painting: number | undefined;

  constructor(streaming: boolean) {
    this.#streaming = streaming;
    const chart = $<HTMLTemplateElement>("chart").content.firstElementChild!;
    this.#chart = chart.cloneNode(true) as Element;
    const panes = h("div", { class: "panes" });
    if (streaming) panes.append(titled("Text", this.#text));
    panes.append(titled(streaming ? "Wire" : "Body", this.#wire));
    this.element = h(
      "div",
      { class: "results", hidden: true },
      this.#problem,
      this.#figures,
      panes,
    );
    if (streaming) this.element.append(titled("Gaps between tokens", this.#chart));
  }

  clear(): void {
    this.status = "…";
    this.#firstMs = undefined;
    this.#tokens = this.#countedMs = 0;
    this.#gaps = [];
    this.#problem.hidden = true;
    this.#text.replaceChildren();
    this.#wire.replaceChildren();
    this.element.hidden = false;
  }

  /** Says what was wrong, in the words of an error or as it came. */
  fail(text: string): void {
    const value = parseJson(text) as Problem & { error?: Problem } | null | undefined;
    const lines = linesOf(value?.error ?? value ?? {});
    this.#problem.textContent = lines.join("\n") || text.slice(0, 500) || this.status;
    this.#problem.hidden = false;
    // Whoever has sent it looks at the form.
    this.#problem.scrollIntoView({ block: "nearest" });
  }

  sent(isReplay: boolean): void {
    this.#isReplay = isReplay;
    this.#sentMs = performance.now();
    // The time that it was cut off is no gap.
    this.#lastMs = undefined;
  }

  enter(phase: Phase): void {
    this.#phase = phase;
    if (phase === "ended") this.#tookMs = performance.now() - this.#sentMs;
    this.#paint();
  }

  bytes(text: string): void {
    this.#cameMs = performance.now();
    append(this.#wire, text);
  }

  token(token: string): void {
    if (token === "") return;
    const now = performance.now();
    this.#firstMs ??= now - this.#sentMs;
    if (this.#isReplay && this.#lastMs !== undefined && this.#cameMs - this.#lastMs > REPLAY_MS) {
      this.#isReplay = false;
    } else if (!this.#isReplay && this.#lastMs !== undefined) {
      this.#gaps.push(now - this.#lastMs);
      this.#countedMs += now - this.#lastMs;
    }
    this.#lastMs = now;
    this.#tokens++;
    append(this.#text, token);
    this.#painting ??= requestAnimationFrame(() => this.#paint());
  }

  #paint(): void {
    this.#painting = undefined;
    const perSecond = this.#gaps.length / this.#countedMs * 1000;
    const figures = this.#streaming
      ? {
        Status: this.status,
        State: this.#phase,
        "First token": seconds(this.#firstMs),
        Tokens: String(this.#tokens),
        "Tokens per second": this.#countedMs > 0 ? perSecond.toFixed(1) : NONE,
      }
      : { Status: this.status, Time: seconds(this.#tookMs) };
    this.#figures.replaceChildren(
      ...Object.entries(figures).map(([name, value]) =>
        h("div", {}, h("dt", {}, name), h("dd", {}, value))
      ),
    );
    for (const pane of [this.#text, this.#wire]) pane.scrollTop = pane.scrollHeight;
    this.#draw();
  }

  // The latest gaps as bars, the longest of them as high as the chart.
  #draw(): void {
    const latest = this.#gaps.slice(-MAX_BARS);
    const most = Math.max(...latest, 1);
    const middle = [...latest].sort((a, b) => a - b)[latest.length >> 1];
    const x = (i: number) => ((i + 0.5) / Math.max(latest.length, 40) * 300).toFixed(1);
    const bars = latest.map((gap, i) => `M${x(i)} 60V${(58 - gap / most * 54).toFixed(1)}`);
    const summary = latest.length === 0
      ? "none yet"
      : `median ${seconds(middle)}, longest ${seconds(most)}, the last ${latest.length}`;
    this.#chart.querySelector("path")!.setAttribute("d", bars.join(""));
    this.#chart.querySelector("svg")!.setAttribute("aria-label", `Gaps between tokens: ${summary}`);
    this.#chart.querySelector("figcaption")!.textContent = summary;
  }
}
