/**
 * What Redis means with an error reply. Separate from the store because the words are Redis's, and
 * each client wraps them differently.
 */

/** The server has been demoted, or is not ready: another one may be behind its name by now. */
const ELSEWHERE = /\b(READONLY|MASTERDOWN|LOADING)\b/;
/** A stream's own trouble: a key of another type, or a value that a script cannot use. */
const WHOLE =
  /\b(OOM|READONLY|MASTERDOWN|LOADING|MISCONF|NOREPLICAS|NOAUTH|NOPERM|CLUSTERDOWN|CROSSSLOT|MOVED|ASK|TRYAGAIN|BUSY)\b/;

/** Whether an error says that a new connection may reach a server that takes writes. */
export function isElsewhere(error: unknown): boolean {
  return ELSEWHERE.test(String(error));
}

/** Whether the text of an error reply is about Redis as a whole, and not about one key. */
export function isOutage(text: string): boolean {
  return WHOLE.test(text);
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
    : /\bNOPERM\b|can't run this command|No permissions/i.test(text)
    ? "The user of Redis lacks a right that the log needs; docs/many_machines.md lists them"
    : undefined;
  return why === undefined ? error : new Error(`${why} (${text})`, { cause: error });
}
