/** What a run is kept as, in the JSON file that the runner writes and the report reads. */

/** One subject, one variant, one round. */
export type Sample = {
  case: string;
  subject: string;
  runtime: string;
  variant: string;
  round: number;
  figures: Record<string, number>;
  error?: string;
};

/** A whole run. */
export type Results = {
  /** When the run was saved: an ISO 8601 timestamp. */
  date: string;
  commit: string;
  /** Whether the measured sources differed from the commit. */
  dirty: boolean;
  command: string;
  machine: Record<string, string | number>;
  versions: Record<string, string>;
  rounds: number;
  samples: Sample[];
};

const KEY = ["case", "subject", "runtime", "variant"] as const;

/**
 * The results with one sample more. Its round is the one after those that its row has already, so that runs of one
 * machine can be put together; a round that failed makes room for it.
 */
export function withSample(results: Results, sample: Sample): Results {
  const isSameRow = (other: Sample) => KEY.every((key) => other[key] === sample[key]);
  const kept = results.samples.filter((other) => other.error === undefined || !isSameRow(other));
  const round = 1 + Math.max(0, ...kept.filter(isSameRow).map(({ round }) => round));
  const samples = [...kept, { ...sample, round }];
  return { ...results, rounds: Math.max(...samples.map(({ round }) => round)), samples };
}
