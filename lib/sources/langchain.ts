/**
 * LangChain's callbacks into a queue. Only their shape is used and nothing of LangChain is
 * imported, so that it is a dependency only of applications that use it.
 */
import type { Item, Summary } from "../item.ts";
import type { AsyncQueue } from "../pipeline/queue.ts";
import { isObject } from "../values.ts";

/** The methods of a LangChain callback handler that a stream needs. */
export interface LangChainCallbacks {
  /**
   * Makes LangChain wait for each call. By default it puts the calls of all requests into one queue
   * of its own, and `invoke` resolves before they have run.
   */
  readonly awaitHandlers: true;
  /**
   * Makes `invoke` stream. The alternative, the model's option `streaming`, counts tokens
   * afterwards with a vocabulary that it fetches from elsewhere; offline it retries for minutes
   * before it is done.
   */
  readonly lc_prefer_streaming: true;
  /** Sends the token. Resolves when there is room for it, or to `false` once the stream has ended. */
  handleLLMNewToken(token: string): Promise<boolean>;
  /** Keeps the finish reason and the usage, and closes the queue if the model is the outermost run. */
  handleLLMEnd(output: unknown, runId?: string, parentRunId?: string): void;
  /** Fails the queue if the model is the outermost run. */
  handleLLMError(error: unknown, runId?: string, parentRunId?: string): void;
  /** Closes the queue if the chain is the outermost run. */
  handleChainEnd(outputs: unknown, runId?: string, parentRunId?: string): void;
  /** Fails the queue if the chain is the outermost run. */
  handleChainError(error: unknown, runId?: string, parentRunId?: string): void;
}

/**
 * A callback handler that fills `queue`. Each new token is sent. The end of the outermost run
 * closes the queue with the finish reason and the usage, and its error fails the queue. A model
 * within a chain or agent closes nothing: the chain may call it again.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { AsyncQueue, langChainCallbacks } from "spillway";
 *
 * const queue = new AsyncQueue();
 * const callbacks = langChainCallbacks(queue); // model.invoke(question, { callbacks: [callbacks] })
 * callbacks.handleLLMNewToken("Hello");
 * callbacks.handleLLMEnd({ generations: [] });
 * assert((await Array.fromAsync(queue)).join("") === "Hello");
 * ```
 */
export function langChainCallbacks(queue: AsyncQueue<Item>): LangChainCallbacks {
  let summary: Summary = {};
  const end = (parentRunId: string | undefined) => {
    if (parentRunId === undefined) queue.close(summary);
  };
  const fail = (error: unknown, parentRunId: string | undefined) => {
    if (parentRunId === undefined) queue.fail(error);
  };
  return {
    awaitHandlers: true,
    lc_prefer_streaming: true,
    handleLLMNewToken: (token) => queue.send(token),
    handleLLMEnd(output, _runId, parentRunId) {
      summary = summaryOf(output);
      end(parentRunId);
    },
    handleLLMError: (error, _runId, parentRunId) => fail(error, parentRunId),
    handleChainEnd: (_outputs, _runId, parentRunId) => end(parentRunId),
    handleChainError: (error, _runId, parentRunId) => fail(error, parentRunId),
  };
}

/**
 * Reads the finish reason and the usage of an `LLMResult`. Its shape differs between models, and
 * none of its fields is certain.
 */
function summaryOf(output: unknown): Summary {
  const result = output as
    | {
      generations?: {
        generationInfo?: { finish_reason?: unknown };
        message?: { usage_metadata?: unknown; response_metadata?: { finish_reason?: unknown } };
      }[][];
      llmOutput?: { tokenUsage?: unknown };
    }
    | null
    | undefined;
  const last = result?.generations?.[0]?.[0];
  const finishReason = last?.generationInfo?.finish_reason ??
    last?.message?.response_metadata?.finish_reason;
  const usage = last?.message?.usage_metadata ?? result?.llmOutput?.tokenUsage;
  const summary: Summary = {};
  if (typeof finishReason === "string") summary.finishReason = finishReason;
  if (isObject(usage)) summary.usage = usage as Record<string, unknown>;
  return summary;
}
