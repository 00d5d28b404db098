/**
 * What every client of the interop tests is asked to do: read one answer the way its users do. It
 * stands apart so that each family says only what is its own, and one list of tests judges them all.
 */

/** One way to read an answer, with one real package. */
export interface Client {
  readonly name: string;
  /** The text comes at once, at the end: there are no heartbeats and no beginning of an answer. */
  readonly whole?: true;
  /**
   * Asks the server at `url` for a scene, hands on every piece of text, and resolves at the normal
   * end alone. Whatever the package makes of a failure it rejects with.
   */
  ask(
    url: string,
    scene: string,
    onText: (text: string) => void,
    signal: AbortSignal,
  ): Promise<void>;
  /** Asserts that `error` is the package's own for a refusal with `status`, and says `message`. */
  refused(error: unknown, status: number, message: string): void;
  /** Asserts that `error` is the package's own for a failure in mid-stream. */
  broken(error: unknown, message: string): void;
}
