/** What all logs have in common: a log of events is used as a replay log. */
import type {
  LoggedOptions,
  ReplayLog,
  Respond,
  ResumeRequest,
  StopRequest,
  StreamObserver,
} from "../http/replay_log.ts";
import type { GenerationInit, GenerationOptions } from "../pipeline/generation.ts";
import type { ReaderOptions } from "../pipeline/stream.ts";
import type { EventLog, LoggedStream, Recorder, RecordOptions, StreamInfo } from "./event_log.ts";
import { openLogged } from "./record.ts";
import { resumeLogged } from "./resume.ts";

/** A log of events that `sse`, `resume` and `stop` can use. */
export abstract class BaseLog implements ReplayLog, EventLog {
  abstract record(info: StreamInfo, options: RecordOptions): Recorder;
  abstract find(streamId: string): Promise<LoggedStream | undefined>;
  abstract latest(owner: string | undefined, chatId: string): Promise<LoggedStream | undefined>;

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

  open(
    init: GenerationInit,
    options: ReaderOptions & GenerationOptions & LoggedOptions,
    observer: StreamObserver,
    respond: Respond,
  ): Promise<Response> {
    return openLogged(this, init, options, observer, respond);
  }

  resume(request: Request, options: ResumeRequest, observer: StreamObserver): Promise<Response> {
    return resumeLogged(this, request, options, observer);
  }

  async stop({ streamId, owner, reason }: StopRequest): Promise<boolean> {
    const logged = await this.find(streamId);
    if (logged === undefined || logged.info.owner !== owner) return false;
    await logged.stop(reason);
    return true;
  }
}
