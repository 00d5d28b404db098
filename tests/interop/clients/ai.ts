/**
 * The AI SDK: `streamText` and `generateText` with its provider for OpenAI-compatible servers, and what
 * `useChat` is made of, with its transport and its state machine, but without React.
 */
import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import {
  AbstractChat,
  APICallError,
  type ChatInit,
  type ChatState,
  type ChatStatus,
  type ChatTransport,
  DefaultChatTransport,
  generateText,
  type LanguageModel,
  readUIMessageStream,
  streamText,
  TextStreamChatTransport,
  type UIMessage,
} from "ai";
import type { Client } from "../client.ts";
import { MODEL } from "../server.ts";

/** The provider as its users set it up. */
export const model = (url: string): LanguageModel =>
  createOpenAICompatible({
    name: "spillway",
    baseURL: `${url}/v1`,
    includeUsage: true,
  })(MODEL);

/** `useChat`'s way to the server. */
export const transport = (url: string): DefaultChatTransport<UIMessage> =>
  new DefaultChatTransport({ api: `${url}/api/chat` });

/** The way for the bare text. */
const textTransport = (url: string) =>
  new TextStreamChatTransport<UIMessage>({
    api: `${url}/streaming`,
    prepareSendMessagesRequest: ({ messages }) => ({
      headers: { accept: "text/plain" },
      body: { query: textOf(messages.at(-1)).text },
    }),
  });

/** A message of the user's. */
export const said = (text: string): UIMessage => ({
  id: "message-1",
  role: "user",
  parts: [{ type: "text", text }],
});

/** The text of a message, and whether its parts are whole. */
export function textOf(
  message: UIMessage | undefined,
): { text: string; done: boolean } {
  const parts = message?.parts.filter((part) => part.type === "text") ?? [];
  return {
    text: parts.map(({ text }) => text).join(""),
    done: parts.length > 0 && parts.every(({ state }) => state === "done"),
  };
}

/** What React's `useChat` keeps in its state, in an object. */
class State implements ChatState<UIMessage> {
  status: ChatStatus = "ready";
  error: Error | undefined = undefined;
  messages: UIMessage[];
  readonly #changed: () => void;

  constructor(messages: UIMessage[], changed: () => void) {
    this.messages = messages;
    this.#changed = changed;
  }
  pushMessage = (message: UIMessage): void => {
    this.messages = [...this.messages, message];
    this.#changed();
  };
  popMessage = (): void => {
    this.messages = this.messages.slice(0, -1);
  };
  replaceMessage = (index: number, message: UIMessage): void => {
    this.messages = this.messages.with(index, message);
    this.#changed();
  };
  snapshot = <T>(thing: T): T => structuredClone(thing);
}

/** The state machine of `useChat`. */
export class Chat extends AbstractChat<UIMessage> {
  constructor(init: ChatInit<UIMessage>, changed: () => void = () => {}) {
    super({ ...init, state: new State(init.messages ?? [], changed) });
  }
}

function refused(error: unknown, status: number, message: string): void {
  assert(APICallError.isInstance(error), String(error));
  assert.equal(error.statusCode, status);
  assert(error.message.includes(message), error.message);
}

/** What the AI SDK makes of an error in a stream: what the server sent, as it is or as a message. */
function broken(error: unknown, message: string): void {
  assert(
    typeof error === "object" && error !== null && "message" in error,
    String(error),
  );
  assert.equal(error.message, message);
}

/** Reads a message as `useChat` does, piece by piece. */
async function read(
  transport: ChatTransport<UIMessage>,
  scene: string,
  onText: (text: string) => void,
  abortSignal: AbortSignal,
): Promise<void> {
  const stream = await transport.sendMessages({
    trigger: "submit-message",
    chatId: "chat-1",
    messageId: undefined,
    messages: [said(scene)],
    abortSignal,
  });
  let read = textOf(undefined);
  for await (const message of readUIMessageStream({ stream, terminateOnError: true })) {
    const before = read.text.length;
    read = textOf(message);
    onText(read.text.slice(before));
  }
  assert(read.done);
}

export const clients: Client[] = [
  {
    name: "ai streamText",
    ask: async (url, scene, onText, abortSignal) => {
      const { stream, finishReason } = streamText({
        model: model(url),
        prompt: scene,
        abortSignal,
        maxRetries: 0,
        onError: () => {},
      });
      for await (const part of stream) {
        if (part.type === "text-delta") onText(part.text);
        else if (part.type === "error") throw part.error;
      }
      assert.equal(await finishReason, "stop");
    },
    refused,
    broken,
  },
  {
    name: "ai generateText",
    whole: true,
    ask: async (url, scene, onText, abortSignal) => {
      const { text, finishReason } = await generateText({
        model: model(url),
        prompt: scene,
        abortSignal,
        maxRetries: 0,
      });
      assert.equal(finishReason, "stop");
      onText(text);
    },
    refused,
    broken: (error, message) => refused(error, 502, message),
  },
  {
    name: "ai DefaultChatTransport",
    ask: (url, scene, onText, signal) => read(transport(url), scene, onText, signal),
    refused,
    broken,
  },
  {
    name: "ai TextStreamChatTransport",
    ask: (url, scene, onText, signal) => read(textTransport(url), scene, onText, signal),
    refused,
    // The body breaks off: all that the reader learns is that.
    broken: (error) => assert(error instanceof Error && !(error instanceof assert.AssertionError)),
  },
  {
    name: "ai useChat",
    ask: async (url, scene, onText, signal) => {
      let read = textOf(undefined);
      let finish: Record<string, unknown> = {};
      const chat = new Chat({
        transport: transport(url),
        onFinish: ({ isAbort, isDisconnect, isError, finishReason }) => {
          finish = { isAbort, isDisconnect, isError, finishReason };
        },
      }, () => {
        if (chat.lastMessage?.role !== "assistant") return;
        const before = read.text.length;
        read = textOf(chat.lastMessage);
        onText(read.text.slice(before));
      });
      signal.addEventListener("abort", chat.stop);
      await chat.sendMessage({ text: scene });
      if (chat.status === "error") throw chat.error;
      assert(read.done);
      const normal = {
        isAbort: false,
        isDisconnect: false,
        isError: false,
        finishReason: "stop",
      };
      assert.deepEqual(finish, normal);
    },
    refused,
    broken,
  },
];
