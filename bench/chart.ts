/**
 * The burst chart as one SVG without a script or a font of its own: a bar per subject, a whisker from the least to
 * the greatest round, and below them what the marks mean and where the figures come from. Its colours follow the
 * reader's scheme. It has its own background, for the page around it may be of the other scheme.
 */
import { type Spread, spread } from "./measure.ts";
import type { Results, Sample } from "./results.ts";

const VARIANT = "generator text 64";
/** The tutorial's queue has no generator to read; its one shape stands beside the others'. */
const QUEUE = "fastapi queue";
const LEFT_OUT = new Set(["ceiling"]);

const WIDTH = 760;
const MARGIN = 16;
const LABEL = 200;
const TOP = 62;
const ROW = 22;
const LINE = 19;

const STYLE = `
  text { font: 13px system-ui, sans-serif; fill: #57606a } .note { font-size: 12px }
  .title { font-weight: 600; font-size: 15px; fill: #24292f } .spillway { font-weight: 600; fill: #24292f }
  .background { fill: #fff } .own { fill: #35b3c2 } .peer { fill: #c4cbd2 }
  .floor { fill: none; stroke: #0a7d8c; stroke-dasharray: 3 2 } .whisker { fill: none; stroke: #24292f }
  @media (prefers-color-scheme: dark) {
    text { fill: #9da7b1 } .title, .spillway { fill: #e6edf3 }
    .background { fill: #0d1117 } .own { fill: #16808d } .peer { fill: #4b545e }
    .floor { stroke: #39c5d4 } .whisker { stroke: #e6edf3 }
  }`;

const RUNTIMES: Record<string, string> = { bun: "Bun", deno: "Deno", python: "Python" };

/** Names in the chart that are no library's. */
const WITHOUT_LIBRARY: readonly string[] = ["bare", "direct", "async body"];

const escape = (text: string) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");

type Bar = { name: string; runtime: string; kind: "own" | "floor" | "peer"; spread: Spread };

function bars(samples: readonly Sample[]): Bar[] {
  const rates = new Map<string, number[]>();
  for (const { case: of, subject, runtime, variant, figures } of samples) {
    if (of !== "burst" || LEFT_OUT.has(subject)) continue;
    if (variant !== VARIANT && !(subject === QUEUE && variant === "queue text 64")) continue;
    const rate = figures["tokensPerSecond"];
    if (rate === undefined) continue;
    const key = `${subject}/${runtime}`;
    rates.set(key, [...rates.get(key) ?? [], rate / 1e6]);
  }
  return [...rates].map(([key, values]): Bar => {
    const [name, runtime] = key.split("/") as [string, string];
    const kind = name === "spillway" ? "own" : name === "floor" ? "floor" : "peer";
    return { name, runtime, kind, spread: spread(values) };
  }).sort((a, b) => b.spread.median - a.spread.median);
}

function rect(kind: Bar["kind"], x: number, y: number, width: number, height: number): string {
  const size = `width="${width.toFixed(1)}" height="${height}"`;
  return `  <rect class="${kind}" x="${x}" y="${y}" ${size} rx="2"/>`;
}

/** A line from the least to the greatest round, with a stop at each end. */
function whisker(from: number, to: number, y: number): string {
  const [left, right] = [from.toFixed(1), to.toFixed(1)];
  const stops = `M${left} ${y - 3}v6M${right} ${y - 3}v6`;
  return `  <path class="whisker" d="M${left} ${y}H${right}${stops}"/>`;
}

function note(x: number, y: number, text: string): string {
  return `  <text class="note" x="${x}" y="${y}">${escape(text)}</text>`;
}

function row({ name, runtime, kind, spread: { median, min, max } }: Bar, y: number, scale: number) {
  const x = (value: number) => LABEL + value * scale;
  const middle = y + (ROW - 6) / 2;
  const shown = median >= 0.1 ? median.toFixed(2) : median.toPrecision(2);
  const label = escape(`${name} (${RUNTIMES[runtime] ?? runtime})`);
  const style = kind === "own" ? ' class="spillway"' : "";
  return [
    `  <text${style} x="${LABEL - 8}" y="${middle + 4}" text-anchor="end">${label}</text>`,
    rect(kind, LABEL, y, median * scale, ROW - 6),
    ...(min === max ? [] : [whisker(x(min), x(max), middle)]),
    `  <text x="${(x(max) + 7).toFixed(1)}" y="${middle + 4}">${shown}</text>`,
  ];
}

/** When and on what the run was measured. */
function origin({ date, machine, versions }: Results, all: readonly Bar[]): string {
  const runtimes = [...new Set(all.map(({ runtime }) => runtime))].sort()
    .flatMap((name) => versions[name] ? `${RUNTIMES[name] ?? name} ${versions[name]}` : []);
  const [cpu, cores] = [machine["cpu"], machine["cores"]];
  return ["Measured on " + date.slice(0, 10), `${cpu}, ${cores} cores`, ...runtimes].join(" · ");
}

/** What bars, whiskers and names mean, and where the figures come from. */
function legend(results: Results, all: readonly Bar[], top: number): string[] {
  const key = (kind: Bar["kind"], x: number, text: string) => [
    rect(kind, x, top - 9, 22, 10),
    note(x + 29, top, text),
  ];
  const { rounds } = results;
  const names = WITHOUT_LIBRARY.filter((name) => all.some((bar) => bar.name === name));
  return [
    ...key("own", MARGIN, "Spillway"),
    ...key("peer", MARGIN + 110, "others"),
    ...key("floor", MARGIN + 205, "floor: the same tokens, concatenated and sent as one body"),
    whisker(MARGIN, MARGIN + 22, top + LINE - 4),
    note(
      MARGIN + 29,
      top + LINE,
      rounds > 1
        ? `least to greatest of ${rounds} rounds; bar and number are the median; in brackets, the runtime`
        : "a single round: no whiskers; in brackets, the runtime",
    ),
    ...(names.length === 0 ? [] : [
      note(
        MARGIN,
        top + 2 * LINE,
        `${names.join(", ")}: the runtime's own streams, without a library`,
      ),
    ]),
    note(MARGIN, top + 3 * LINE, origin(results, all)),
  ];
}

/** The chart, or an empty string where the run has no burst. */
export function chart(results: Results): string {
  const all = bars(results.samples);
  if (all.length === 0) return "";
  const scale = (WIDTH - LABEL - 90) / Math.max(...all.map((bar) => bar.spread.max));
  const end = TOP + all.length * ROW;
  const height = end + 5 * LINE;
  const title = "Million tokens per second of one core";
  const streams = "64 streams of 1,000 tokens from an async generator; longer is better";
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${title}: ${streams}">
  <style>${STYLE}
  </style>
  <rect class="background" width="${WIDTH}" height="${height}" rx="6"/>
  <text class="title" x="${MARGIN}" y="28">${title}</text>
${note(MARGIN, 47, streams)}
${all.flatMap((bar, index) => row(bar, TOP + index * ROW, scale)).join("\n")}
${legend(results, all, end + LINE).join("\n")}
</svg>
`;
}
