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
