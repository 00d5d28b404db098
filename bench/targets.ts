/**
 * The figures Spillway set out to reach, as ratios within one run, each computed round by round so that drift of the
 * machine cancels out. The median of the rounds decides; the mark says where single rounds only reach the figure.
 */
import { type Spread, spread } from "./measure.ts";
import type { Sample } from "./results.ts";

export type Target = {
  what: string;
  /** The figure must be at least, or at most, this. */
  bound: "at least" | "at most";
  figure: number;
  unit: string;
  values(samples: readonly Sample[]): number[];
  /** The same ratio by the server's processor time instead of the clock: other processes disturb it less. */
  byProcessor?(samples: readonly Sample[]): number[];
};

/** Whether the median reaches a figure, only the best of the rounds, or neither. */
export type Mark = "reached" | "only within the spread" | "not reached";

export type Verdict = { target: Target; spread: Spread; byProcessor?: Spread; mark: Mark };

type Key = [of: string, subject: string, variant: string, figure: string];

function byRound(
  samples: readonly Sample[],
  [of, subject, variant, figure]: Key,
): Map<number, number> {
  const [name, runtime] = subject.split("/");
  const found = new Map<number, number>();
  for (const sample of samples) {
    if (sample.case !== of || sample.subject !== name || sample.runtime !== runtime) continue;
    const value = sample.figures[figure];
    if (sample.variant === variant && value !== undefined) found.set(sample.round, value);
  }
  return found;
}

function paired(
  samples: readonly Sample[],
  a: Key,
  b: Key,
  join: (a: number, b: number) => number,
): number[] {
  const others = byRound(samples, b);
  return [...byRound(samples, a)].flatMap(([round, value]) => {
    const other = others.get(round);
    return other === undefined ? [] : [join(value, other)];
  });
}

const ratio = (a: number, b: number) => a / b;

/** Tokens per second of Spillway over those of another subject. */
function burst(
  bound: number,
  runtime: string,
  variant: string,
  other: string,
  otherVariant = variant,
): Target {
  const rate = "tokensPerSecond";
  const cost = "nsPerToken";
  return {
    what: `burst, ${variant}: Spillway (${runtime}) over ${other}${
      otherVariant === variant ? "" : `, ${otherVariant}`
    }`,
    bound: "at least",
    figure: bound,
    unit: "x",
    values: (samples) =>
      paired(
        samples,
        ["burst", `spillway/${runtime}`, variant, rate],
        ["burst", other, otherVariant, rate],
        ratio,
      ),
    byProcessor: (samples) =>
      paired(
        samples,
        ["burst", other, otherVariant, cost],
        ["burst", `spillway/${runtime}`, variant, cost],
        ratio,
      ),
  };
}

/** A figure of Spillway's over, or minus, that of another subject, at most so much. */
function atMost(
  figure: number,
  [of, runtime, variant, name]: Key,
  other: string,
  join: "over" | "minus" = "over",
): Target {
  const key = (subject: string): Key => [of, subject, variant, name];
  return {
    what: `${of}, ${variant}, ${name}: Spillway (${runtime}) ${join} ${other}`,
    bound: "at most",
    figure,
    unit: join === "over" ? "x" : "ms",
    values: (samples) =>
      paired(
        samples,
        key(`spillway/${runtime}`),
        key(other),
        join === "over" ? ratio : (a, b) => a - b,
      ),
  };
}

function absolute(figure: number, unit: string, [of, runtime, variant, name]: Key): Target {
  return {
    what: `${of}, ${variant}: Spillway (${runtime})`,
    bound: "at most",
    figure,
    unit,
    values: (samples) => [...byRound(samples, [of, `spillway/${runtime}`, variant, name]).values()],
  };
}

/** Decoder speed over eventsource-parser's: all cases together (geometric mean), or the worst of them. */
function decoder(figure: number, runtime: string, of: "mean" | "worst"): Target {
  const cases = ["decode token", "decode completion"]
    .flatMap((variant) =>
      ["event ns", "16KiB ns", "64B ns"].map((name) => [variant, name] as const)
    );
  return {
    what:
      `codec, ${of} of ${cases.length} cases: Spillway's decoder (${runtime}) over eventsource-parser`,
    bound: "at least",
    figure,
    unit: "x",
    values(samples) {
      const perCase = cases.map(([variant, name]) =>
        paired(
          samples,
          ["codec", `eventsource-parser/${runtime}`, variant, name],
          ["codec", `spillway decoder/${runtime}`, variant, name],
          ratio,
        )
      );
      const rounds = Math.min(...perCase.map(({ length }) => length));
      return Array.from({ length: rounds }, (_, round) => {
        const ratios = perCase.map((values) => values[round]!);
        if (of === "worst") return Math.min(...ratios);
        return Math.exp(ratios.reduce((sum, each) => sum + Math.log(each), 0) / ratios.length);
      });
    },
  };
}

/** Tokens per second of a relay over those of another. */
function relayed(bound: number, runtime: string, variant: string, other: string): Target {
  const figures = (figure: string): [Key, Key] => [
    ["relay", `spillway relay/${runtime}`, variant, figure],
    ["relay", other, variant, figure],
  ];
  return {
    what: `relay, ${variant}: Spillway (${runtime}) over ${other}`,
    bound: "at least",
    figure: bound,
    unit: "x",
    values: (samples) => paired(samples, ...figures("tokensPerSecond"), ratio),
    byProcessor: (samples) => paired(samples, ...figures("nsPerToken"), (a, b) => b / a),
  };
}

/** How much later a relay makes the first token than a client of the upstream itself has it. */
function addedMs(bound: number, runtime: string): Target {
  return {
    what: `relay: time added to the first token, p50 (${runtime})`,
    bound: "at most",
    figure: bound,
    unit: "ms",
    values: (samples) =>
      paired(
        samples,
        ["relay", `spillway relay/${runtime}`, "first token", "firstTokenP50"],
        ["relay", "upstream itself/bun", "first token", "firstTokenP50"],
        (a, b) => a - b,
      ),
  };
}

/** How much later a token reaches its client for the copy that goes to Redis. */
function addedByRedis(bound: number, runtime: string, variant: string): Target {
  return {
    what: `redis, ${variant}: lateness added at a client of the same process, p50 (${runtime})`,
    bound: "at most",
    figure: bound,
    unit: "ms",
    values: (samples) =>
      paired(
        samples,
        ["redis", `spillway redis/${runtime}`, variant, "p50"],
        ["redis", `spillway memory/${runtime}`, variant, "p50"],
        (a, b) => a - b,
      ),
  };
}

const GENERATOR = "generator text 64";
const MICRO = "micro text 64";
const both = <T>(make: (runtime: "bun" | "deno") => T): T[] => [make("bun"), make("deno")];

/** Tokens per second, within a case, of one subject under one variant over those of another. */
function rate(of: string, figure: number, one: [string, string], other: [string, string]): Target {
  const over = (name: string, join: typeof ratio) => (samples: readonly Sample[]) =>
    paired(samples, [of, ...one, name], [of, ...other, name], join);
  return {
    what: `${of}: ${one.join(", ")} over ${other.join(", ")}`,
    bound: "at least",
    figure,
    unit: "x",
    values: over("tokensPerSecond", ratio),
    byProcessor: over("nsPerToken", (a, b) => b / a),
  };
}

export const TARGETS: readonly Target[] = [
  burst(1.0, "bun", GENERATOR, "floor/bun"),
  burst(0.95, "deno", GENERATOR, "floor/deno"),
  burst(11, "bun", GENERATOR, "hono/bun"),
  burst(5, "bun", GENERATOR, "elysia/bun"),
  burst(12, "bun", GENERATOR, "h3/bun"),
  burst(10, "bun", GENERATOR, "better-sse/bun"),
  burst(17, "bun", GENERATOR, "ai sdk/bun"),
  burst(1.6, "bun", GENERATOR, "direct/bun"),
  burst(10, "bun", GENERATOR, "fastapi generator/python"),
  burst(13, "deno", GENERATOR, "hono/deno"),
  burst(7.5, "deno", GENERATOR, "bare/deno"),
  burst(0.95, "bun", MICRO, "floor/bun"),
  burst(1.2, "deno", MICRO, "floor/deno"),
  burst(20, "bun", MICRO, "hono/bun"),
  burst(40, "deno", MICRO, "hono/deno"),
  burst(600, "bun", MICRO, "fastapi queue/python", "queue text 64"),
  ...both((runtime) => burst(0.8, runtime, "generator json 64", `spillway/${runtime}`, GENERATOR)),
  ...both((runtime) => burst(0.8, runtime, "micro json 64", `spillway/${runtime}`, MICRO)),
  burst(0.85, "bun", `${GENERATOR} interned`, "floor/bun"),
  burst(0.95, "deno", `${GENERATOR} interned`, "floor/deno"),
  burst(1.0, "bun", `${MICRO} interned`, "floor/bun"),
  burst(1.2, "deno", `${MICRO} interned`, "floor/deno"),
  ...["1 token", "100 tokens"].flatMap((variant) =>
    both((runtime) =>
      atMost(1.2, ["short", runtime, variant, "usPerStream"], `prototype/${runtime}`)
    )
  ),
  atMost(1.3, ["paced", "bun", "1000 streams", "usPerToken"], "raw socket/bun"),
  atMost(0.55, ["paced", "bun", "1000 streams", "usPerToken"], "hono/bun"),
  atMost(0.66, ["paced", "deno", "1000 streams", "usPerToken"], "hono/deno"),
  ...["250 streams", "1000 streams"].flatMap((variant) => [
    atMost(0.05, ["paced", "bun", variant, "p50"], "bare/bun", "minus"),
    atMost(0, ["paced", "deno", variant, "p50"], "bare/deno", "minus"),
  ]),
  atMost(0.25, ["first", "bun", "64 at once", "firstTokenP50"], "bare/bun"),
  atMost(0.15, ["first", "deno", "64 at once", "firstTokenP50"], "bare/deno"),
  ...both((runtime) => absolute(5, "ms", ["fairness", runtime, "generator", "worstWaitMs"])),
  absolute(4.5, "KB", ["memory", "bun", "idle 10000", "kbPerStream"]),
  absolute(64, "KB", ["memory", "deno", "idle 10000", "kbPerStream"]),
  ...both((runtime) => absolute(24, "MiB", ["memory", runtime, "stalled generator", "grownMiB"])),
  ...both((runtime) => absolute(24, "MiB", ["memory", runtime, "stalled queue", "grownMiB"])),
  ...both((runtime) => relayed(1, runtime, "a chunk a token", `openai and hono/${runtime}`)),
  ...both((runtime) => relayed(1, runtime, "16 KiB chunks", `openai and hono/${runtime}`)),
  ...both((runtime) => addedMs(2, runtime)),
  ...both((runtime) =>
    rate("formats", 0.3, [`spillway/${runtime}`, "generator openai 64"], [
      `spillway/${runtime}`,
      "generator json 64",
    ])
  ),
  rate("formats", 8, ["spillway/bun", "generator ui-message 64"], [
    "ai sdk/bun",
    "generator ui-message 64",
  ]),
  ...both((runtime) =>
    rate("replay", 0.6, [`spillway replay/${runtime}`, "generator json 64"], [
      `spillway/${runtime}`,
      "generator json 64",
    ])
  ),
  ...both((runtime) =>
    rate("replay", 5, [`spillway replay/${runtime}`, "1,000 readers of one"], [
      `spillway/${runtime}`,
      "1,000 streams of their own",
    ])
  ),
  ...both((runtime) => addedByRedis(0.05, runtime, "paced, 250")),
  ...["bun", "deno", "node"].flatMap((runtime) => [
    decoder(1.3, runtime, "mean"),
    decoder(1.0, runtime, "worst"),
  ]),
];

function markOf({ bound, figure }: Target, { median, min, max }: Spread): Mark {
  // A difference of two latenesses carries their rounding: 0.53 - 0.48 is a little more than 0.05.
  const exact = (value: number) => Math.round(value * 1e9) / 1e9;
  const reaches = (value: number) =>
    bound === "at least" ? exact(value) >= figure : exact(value) <= figure;
  if (reaches(median)) return "reached";
  return reaches(bound === "at least" ? max : min) ? "only within the spread" : "not reached";
}

/** A verdict for every target whose figures the samples have. */
export function judge(
  samples: readonly Sample[],
  targets: readonly Target[] = TARGETS,
): Verdict[] {
  return targets.flatMap((target) => {
    const values = target.values(samples);
    if (values.length === 0) return [];
    const range = spread(values);
    const verdict = { target, spread: range, mark: markOf(target, range) };
    const processor = target.byProcessor?.(samples) ?? [];
    return processor.length === 0 ? [verdict] : [{ ...verdict, byProcessor: spread(processor) }];
  });
}
