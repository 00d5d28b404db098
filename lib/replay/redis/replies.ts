/**
 * What Redis means with an error reply. Separate from the store because the words are Redis's, and
 * each client wraps them differently.
 */

/** The server has been demoted, or is not ready: another one may be behind its name by now. */
const ELSEWHERE = /\b(READONLY|MASTERDOWN|LOADING)\b/;
/** Redis as a whole is in trouble; what else it says is about one key: its type, or a value in it. */
const WHOLE = new RegExp(
  "\\b(OOM|READONLY|MASTERDOWN|LOADING|MISCONF|NOREPLICAS|NOAUTH|CLUSTERDOWN|CROSSSLOT|MOVED|ASK|" +
    "TRYAGAIN|BUSY)\\b",
);
const RIGHTS = /\bNOPERM\b|can't (run|access)|no permissions/i;

/** Whether an error says that a new connection may reach a server that takes writes. */
export function isElsewhere(error: unknown): boolean {
  return ELSEWHERE.test(String(error));
}

/** Whether the text of an error reply is about Redis as a whole, and not about one key. */
export function isOutage(text: string): boolean {
  return WHOLE.test(text);
}

/** Whether the text of an error reply says that the user may not do what was asked. */
export function lacksRight(text: string): boolean {
  return RIGHTS.test(text);
}

/** The error with what an operator has to do about it, in one line, where that is known. */
export function explained(error: unknown, prefix: string): unknown {
  const text = String(error);
  const why = /\bCROSSSLOT\b|non local key/.test(text)
    ? `Redis is a cluster, and the prefix ${prefix} spreads the keys of the log over it: ` +
      "set the option prefix, or REDIS_PREFIX, to {spillway}:"
    : /\b(MOVED|ASK)\b/.test(text)
    ? "Redis is a cluster, and its client is for a single server: " +
      "use createCluster of redis or Cluster of ioredis, with the prefix {spillway}:"
    : lacksRight(text)
    ? "The user of Redis lacks a right that the log needs; docs/many_machines.md lists them"
    : undefined;
  return why === undefined ? error : new Error(`${why} (${text})`, { cause: error });
}
