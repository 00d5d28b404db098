/**
 * The burst chart as one SVG without a script or a font of its own: a bar per subject, a whisker from the least to
 * the greatest round. Its colours follow the reader's scheme, and without one they read on white and on black.
 */
import { type Spread, spread } from "./measure.ts";
import type { Sample } from "./results.ts";

const VARIANT = "generator text 64";
const WIDTH = 760;
const ROW = 22;
const LABEL = 190;
const LEFT_OUT = new Set(["ceiling"]);

const STYLE = `
  text { font: 13px system-ui, sans-serif; fill: #57606a }
  .title { font-weight: 600; font-size: 15px; fill: #24292f }
  .own { fill: #0a7d8c } .floor { fill: none; stroke: #0a7d8c; stroke-dasharray: 3 2 } .peer { fill: #9aa4ae }
  .whisker { stroke: #57606a; stroke-width: 1 } .spillway { font-weight: 600; fill: #24292f }
  @media (prefers-color-scheme: dark) {
    text { fill: #9da7b1 } .title, .spillway { fill: #e6edf3 }
    .own { fill: #39c5d4 } .floor { stroke: #39c5d4 } .peer { fill: #636e7b } .whisker { stroke: #adbac7 }
  }`;

const RUNTIMES: Record<string, string> = { bun: "Bun", deno: "Deno", python: "Python" };

const escape = (text: string) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");

type Bar = { name: string; runtime: string; kind: "own" | "floor" | "peer"; spread: Spread };

function bars(samples: readonly Sample[]): Bar[] {
  const rates = new Map<string, number[]>();
  for (const { case: of, subject, runtime, variant, figures } of samples) {
    if (of !== "burst" || LEFT_OUT.has(subject)) continue;
    // The tutorial's queue has no generator to read; its one shape stands beside the others'.
    if (variant !== VARIANT && !(subject === "fastapi queue" && variant === "queue text 64")) {
      continue;
    }
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

/** The chart, or an empty string where the samples have no burst. */
export function chart(samples: readonly Sample[]): string {
  const all = bars(samples);
  if (all.length === 0) return "";
  const scale = (WIDTH - LABEL - 90) / Math.max(...all.map((bar) => bar.spread.max));
  const rows = all.map(({ name, runtime, kind, spread: { median, min, max } }, index) => {
    const y = 40 + index * ROW;
    const x = (value: number) => (LABEL + value * scale).toFixed(1);
    const middle = y + ROW / 2 - 2;
    const shown = median >= 0.1 ? median.toFixed(2) : median.toPrecision(2);
    return `  <text${kind === "own" ? ' class="spillway"' : ""} x="${LABEL - 8}" y="${
      middle + 4
    }" text-anchor="end">${escape(`${name} (${RUNTIMES[runtime] ?? runtime})`)}</text>
  <rect class="${kind}" x="${LABEL}" y="${y}" width="${(median * scale).toFixed(1)}" height="${
      ROW - 6
    }" rx="2"/>
  <line class="whisker" x1="${x(min)}" x2="${x(max)}" y1="${middle}" y2="${middle}"/>
  <text x="${(LABEL + max * scale + 6).toFixed(1)}" y="${middle + 4}">${shown}</text>`;
  });
  const height = 40 + all.length * ROW + 8;
  const title = "Million tokens per second of one core (64 streams of 1,000 tokens)";
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${title}">
  <style>${STYLE}
  </style>
  <text class="title" x="12" y="22">${title}</text>
${rows.join("\n")}
</svg>
`;
}
