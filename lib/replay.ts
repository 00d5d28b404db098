/**
 * `spillway/replay`: logs that make streams resumable.
 *
 * @module
 */
export type { ResumeOptions, StopOptions } from "./http/options.ts";
export type {
  Disconnect,
  LoggedOptions,
  ReplayLog,
  ResumeRequest,
  StopRequest,
} from "./http/replay_log.ts";
export { resume, stop } from "./http/resume.ts";
export type { ReaderOptions } from "./pipeline/stream.ts";
export type { BaseLog } from "./replay/base_log.ts";
export { MemoryLog, type MemoryLogOptions } from "./replay/memory.ts";
export type {
  AppendResult,
  EventStore,
  Producer,
  StoredPiece,
  StoredStream,
  StreamAppend,
  StreamPart,
  StreamRead,
} from "./replay/shared/event_store.ts";
export { SharedLog, type SharedLogOptions } from "./replay/shared/shared_log.ts";
