/** What all logs have in common: a log of events is used as a replay log. */
import type {
  LoggedOptions,
  RecordedExtras,
  ReplayLog,
  Respond,
  ResumeExtras,
  ResumeRequest,
  RunClaim,
  RunRequest,
  StopRequest,
  StreamState,
} from "../http/replay_log.ts";
import type { GenerationInit, GenerationOptions } from "../pipeline/generation.ts";
import type { ReaderOptions } from "../pipeline/stream.ts";
import type { LoggedStream, Recorder, RecordOptions, StreamInfo } from "./event_log.ts";
import { openLogged } from "./record.ts";
import { resumeLogged } from "./resume.ts";
import { type Names, runKey } from "./run_names.ts";

/**
 * What `MemoryLog` and `SharedLog` have in common: `sse`, `resume` and `stop` can use either. Not to
 * be extended; a store of your own is an `EventStore`.
 */
export abstract class BaseLog implements ReplayLog {
  /**
   * Begins the recording of a new stream.
   *
   * @internal
   */
  abstract record(info: StreamInfo, options: RecordOptions): Recorder;
  /**
   * Finds a stream by its id.
   *
   * @internal
   */
  abstract find(streamId: string): Promise<LoggedStream | undefined>;
  /**
   * Finds the latest stream of a chat.
   *
   * @internal
   */
  abstract latest(owner: string | undefined, chatId: string): Promise<LoggedStream | undefined>;
  /**
   * The names that clients have given the streams.
   *
   * @internal
   */
  abstract readonly names: Names;

  /**
   * Checks the options of a stream that is to be recorded.
   *
   * @throws {RangeError} If `disconnect.continueForMs` is not 0 to 2 147 483 647.
   * @throws {TypeError} If `disconnect` is of the wrong type.
   */
  check({ disconnect }: LoggedOptions): void {
    if (disconnect === undefined || disconnect === "cancel" || disconnect === "continue") return;
    if (typeof disconnect !== "object" || disconnect === null) {
      throw new TypeError(`Cannot stream: disconnect is ${disconnect}, not cancel or continue`);
    }
    const { continueForMs } = disconnect;
    if (!(continueForMs >= 0 && continueForMs < 2 ** 31)) {
      throw new RangeError(`Cannot stream: continueForMs is ${continueForMs}, not 0 to 2147483647`);
    }
  }

  /**
   * Starts a generation that is recorded, and serves it to its first client.
   *
   * @internal
   */
  open(
    init: GenerationInit,
    options: ReaderOptions & GenerationOptions & LoggedOptions,
    extras: RecordedExtras,
    respond: Respond,
  ): Promise<Response> {
    return openLogged(this, init, options, extras, respond);
  }

  /**
   * Finds the stream of a name, or takes the name for a new one.
   *
   * @internal
   */
  async claim({ owner, runId, digest, commitAfterMs }: RunRequest): Promise<RunClaim> {
    return await this.names.claim({ key: await runKey(owner, runId), digest }, commitAfterMs);
  }

  /**
   * Finds the id of the stream of a name.
   *
   * @internal
   */
  async named(owner: string | undefined, runId: string): Promise<string | undefined> {
    return await this.names.find(await runKey(owner, runId));
  }

  /**
   * Serves a stream to a client that comes back.
   *
   * @internal
   */
  resume(request: Request, options: ResumeRequest, extras: ResumeExtras): Promise<Response> {
    return resumeLogged(this, request, options, extras);
  }

  /**
   * Finds out how far a stream is.
   *
   * @internal
   */
  async look(streamId: string, owner: string | undefined): Promise<StreamState | undefined> {
    const logged = await this.#owned(streamId, owner);
    if (logged === undefined) return undefined;
    const { info: { format }, firstEvent, lastEvent, endEvent, isLost } = logged;
    const phase = isLost ? "lost" : endEvent === undefined ? "live" : "ended";
    return { format, firstEvent, lastEvent, phase };
  }

  /**
   * Stops a stream and drops what is held of it.
   *
   * @internal
   */
  async forget(streamId: string, owner: string | undefined): Promise<boolean> {
    const logged = await this.#owned(streamId, owner);
    if (logged === undefined) return false;
    await logged.stop();
    await this.drop(logged);
    return true;
  }

  /**
   * Drops what is held of a stream that has ended.
   *
   * @internal
   */
  abstract drop(logged: LoggedStream): Promise<void>;

  async #owned(streamId: string, owner: string | undefined): Promise<LoggedStream | undefined> {
    const logged = await this.find(streamId);
    return logged?.info.owner === owner ? logged : undefined;
  }

  /**
   * Ends a generation, wherever it runs: what is queued is delivered, then the normal end.
   *
   * @returns Whether there is such a stream of that owner.
   * @throws {StreamError} `log_unavailable` (503) while the log cannot be reached.
   */
  async stop({ streamId, owner, reason }: StopRequest): Promise<boolean> {
    const logged = await this.#owned(streamId, owner);
    await logged?.stop(reason);
    return logged !== undefined;
  }
}
