/**
 * The chart as one SVG without a script or a font of its own: how many streams a core holds and what a token costs it,
 * then bursts; a panel per runtime, a bar per subject, and below them what marks and names mean and where the figures
 * come from. It is as narrow as a phone, for a picture that is scaled down takes its letters with it. Its colours
 * follow the reader's scheme; it has its own background, for the page around it may be of the other scheme.
 */
import { FIRST_RUNG } from "./ladder.ts";
import { isSaturated, type Spread, spread } from "./measure.ts";
import type { Results, Sample } from "./results.ts";

const WIDTH = 420;
const MARGIN = 12;
const LABEL = 144;
/** Room for the figures behind the longest bar. */
const FIGURES = 112;
const ROW = 19;
const BAR = 13;
const LINE = 17;
/** Characters of a note that fit a line. */
const COLUMNS = 60;

const STYLE = `
  text { font: 13px system-ui, sans-serif; fill: #57606a } .note { font-size: 12px }
  .title { font-weight: 600; font-size: 15px; fill: #24292f } .panel, .spillway { font-weight: 600; fill: #24292f }
  .background { fill: #fff } .own { fill: #35b3c2 } .peer { fill: #c4cbd2 }
  .floor { fill: none; stroke: #0a7d8c; stroke-dasharray: 3 2 } .whisker { fill: none; stroke: #24292f }
  @media (prefers-color-scheme: dark) {
    text { fill: #9da7b1 } .title, .panel, .spillway { fill: #e6edf3 }
    .background { fill: #0d1117 } .own { fill: #16808d } .peer { fill: #4b545e }
    .floor { stroke: #39c5d4 } .whisker { stroke: #e6edf3 }
  }`;

const RUNTIMES = ["bun", "deno", "node", "python"] as const;
const RUNTIME_NAMES: Record<string, string> = {
  bun: "Bun",
  deno: "Deno",
  node: "Node",
  python: "Python",
};

/** Subjects under another name than their own. */
const NAMES: Record<string, string> = {
  spillway: "Spillway",
  "spillway memory log": "with MemoryLog",
  "spillway redis log": "with RedisLog",
  "spillway sqlite log": "with SqliteLog",
  "ai sdk": "AI SDK",
  hono: "Hono",
  elysia: "Elysia",
  "raw socket": "floor",
  "fastapi generator": "FastAPI, generator",
  "fastapi queue": "FastAPI, queue",
};

/** What names mean that are no library's, where the chart shows them. */
const MEANINGS: readonly (readonly [name: string, meaning: string])[] = [
  ["with MemoryLog", "with …Log: Spillway with that log, so that clients resume"],
  ["prototype", "prototype: Spillway's first, a queue with bounds alone"],
  ["bare", "bare: a ReadableStream, one encode a token, as in tutorials"],
  ["direct", "direct, async body: Bun's own streams"],
  ["FastAPI, queue", "FastAPI: the tutorial's two programs"],
];

type Kind = "own" | "floor" | "peer";
type Bar = { name: string; runtime: string; kind: Kind; spread: Spread; figures: string };

/** One question of the chart: which samples respond to it, and how their figures are written. */
type Section = {
  title: string;
  note: string;
  floor: string;
  holds(sample: Sample): boolean;
  /** The figure that a bar is as long as, and its factor into the unit of the title. */
  figure: string;
  factor: number;
  write(median: number, samples: readonly Sample[]): string;
};

const GENERATOR = "generator text 64";
/** The tutorial's queue has no generator to read; its one shape stands beside the others'. */
const QUEUE = "queue text 64";

const median = (samples: readonly Sample[], figure: string): number =>
  spread(samples.flatMap(({ figures }) => figures[figure] ?? [])).median;

const SECTIONS: readonly Section[] = [
  {
    title: "Streams that one core holds",
    note:
      `50 tokens a second each; 99 of 100 arrive within 50 ms. Behind: processor time of a token, at ${FIRST_RUNG} streams.`,
    floor: "floor of the streams: a raw socket, ready-made chunks",
    holds: (sample) => sample.case === "capacity",
    figure: "streams",
    factor: 1,
    write(streams, samples) {
      const price = median(samples, "usPerToken");
      const count = streams === 0 ? "under 20" : Math.round(streams).toLocaleString("en-US");
      return Number.isNaN(price) ? count : `${count} · ${price.toFixed(1)} µs`;
    },
  },
  {
    title: "Million tokens a second, in bursts",
    note: "Of one core; 64 streams of 1,000 tokens from a generator.",
    floor: "floor of the bursts: the tokens, concatenated as one body",
    holds: (sample) =>
      sample.case === "burst" && sample.subject !== "ceiling" &&
      sample.variant === (sample.subject === "fastapi queue" ? QUEUE : GENERATOR),
    figure: "tokensPerSecond",
    factor: 1e-6,
    write: (rate) => rate >= 0.1 ? rate.toFixed(2) : rate.toPrecision(2),
  },
];

const escape = (text: string) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");

function bars({ holds, figure, factor, write }: Section, samples: readonly Sample[]): Bar[] {
  const rows = new Map<string, Sample[]>();
  for (const sample of samples) {
    if (!holds(sample) || sample.figures[figure] === undefined) continue;
    const key = `${sample.subject}/${sample.runtime}`;
    rows.set(key, [...rows.get(key) ?? [], sample]);
  }
  return [...rows.values()].map((rounds): Bar => {
    const { subject, runtime } = rounds[0]!;
    const name = NAMES[subject] ?? subject;
    const kind = subject.startsWith("spillway") ? "own" : name === "floor" ? "floor" : "peer";
    const range = spread(rounds.map(({ figures }) => figures[figure]! * factor));
    const isLimited = rounds.some(({ figures }) => isSaturated(figures));
    const figures = write(range.median, rounds) + (isLimited ? " †" : "");
    return { name, runtime, kind, spread: range, figures };
  }).sort((a, b) => b.spread.median - a.spread.median);
}

function rect(kind: Kind, x: number, y: number, width: number, height: number): string {
  const size = `width="${width.toFixed(1)}" height="${height}"`;
  return `  <rect class="${kind}" x="${x}" y="${y}" ${size} rx="2"/>`;
}

/** A line from the least to the greatest round, with a stop at each end. */
function whisker(from: number, to: number, y: number): string {
  const [left, right] = [from.toFixed(1), to.toFixed(1)];
  const stops = `M${left} ${y - 3}v6M${right} ${y - 3}v6`;
  return `  <path class="whisker" d="M${left} ${y}H${right}${stops}"/>`;
}

function text(style: string, x: number, y: number, words: string): string {
  return `  <text class="${style}" x="${x}" y="${y}">${escape(words)}</text>`;
}

/** Words in lines that fit. */
function lines(words: string): string[] {
  const wrapped = [""];
  for (const word of words.split(" ")) {
    const last = wrapped.at(-1)!;
    if (last !== "" && last.length + 1 + word.length > COLUMNS) wrapped.push(word);
    else wrapped[wrapped.length - 1] = last === "" ? word : `${last} ${word}`;
  }
  return wrapped;
}

function row({ name, kind, spread: { median, min, max }, figures }: Bar, y: number, scale: number) {
  const x = (value: number) => LABEL + value * scale;
  const middle = y + BAR / 2;
  const style = kind === "own" ? "spillway" : "peer-name";
  return [
    `  <text class="${style}" x="${LABEL - 8}" y="${middle + 4}" text-anchor="end">${
      escape(name)
    }</text>`,
    rect(kind, LABEL, y, median * scale, BAR),
    ...(min === max ? [] : [whisker(x(min), x(max), middle)]),
    text("figures", Math.round(x(max) + 6), middle + 4, figures),
  ];
}

/** When and on what the run was measured. */
function origin({ date, machine, versions }: Results, all: readonly Bar[]): string {
  const runtimes = RUNTIMES.filter((runtime) => all.some((bar) => bar.runtime === runtime))
    .flatMap((name) => versions[name] ? `${RUNTIME_NAMES[name]} ${versions[name]}` : []);
  const [cpu, cores] = [machine["cpu"], machine["cores"]];
  return ["Measured on " + date.slice(0, 10), `${cpu}, ${cores} cores`, ...runtimes].join(" · ");
}

/** The chart, or an empty string where the run has nothing to show. */
export function chart(results: Results): string {
  const parts: string[] = [];
  let y = 0;
  const write = (style: string, words: string) => {
    for (const line of lines(words)) parts.push(text(style, MARGIN, y += LINE, line));
  };
  const all: Bar[] = [];
  const floors: string[] = [];
  for (const section of SECTIONS) {
    const shown = bars(section, results.samples);
    if (shown.length === 0) continue;
    all.push(...shown);
    if (shown.some(({ kind }) => kind === "floor")) floors.push(section.floor);
    const longest = Math.max(...shown.map((bar) => bar.spread.max));
    const scale = longest > 0 ? (WIDTH - LABEL - FIGURES) / longest : 0;
    y += 12;
    write("title", section.title);
    write("note", section.note);
    for (const runtime of RUNTIMES) {
      const panel = shown.filter((bar) => bar.runtime === runtime);
      if (panel.length === 0) continue;
      y += 3;
      write("panel", RUNTIME_NAMES[runtime]!);
      y += 8;
      for (const bar of panel) {
        parts.push(...row(bar, y, scale));
        y += ROW;
      }
    }
  }
  if (all.length === 0) return "";
  y += 16;
  const key = (kind: Kind, words: string, x = MARGIN) => {
    parts.push(rect(kind, x, y + LINE - 9, 22, 10), text("note", x + 29, y + LINE, words));
  };
  key("own", "Spillway");
  key("peer", "others; longer is better", MARGIN + 110);
  y += LINE;
  for (const floor of floors) {
    key("floor", floor);
    y += LINE;
  }
  if (all.some(({ spread: { min, max } }) => min !== max)) {
    parts.push(whisker(MARGIN, MARGIN + 22, y + LINE - 4));
    parts.push(
      text(
        "note",
        MARGIN + 29,
        y += LINE,
        "least to greatest round; bar and number are the median",
      ),
    );
  }
  for (const [name, meaning] of MEANINGS) {
    if (all.some((bar) => bar.name === name)) write("note", meaning);
  }
  if (all.some(({ figures }) => figures.endsWith("†"))) {
    write("note", "† what asked the server was busy to the full: the server can do more");
  }
  write("note", origin(results, all));
  const height = y + MARGIN;
  const label = SECTIONS.filter(({ holds }) => results.samples.some(holds))
    .map(({ title, note }) => `${title}: ${note}`).join(" ");
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${
    escape(label)
  }">
  <style>${STYLE}
  </style>
  <rect class="background" width="${WIDTH}" height="${height}" rx="6"/>
${parts.join("\n")}
</svg>
`;
}
