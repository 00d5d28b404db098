/**
 * Every behaviour of the mock upstream by its name: the good ones, the odd ones and the broken ones.
 * Each is a list of the steps in `steps.ts`; sockets and HTTP are in `raw_http.ts`.
 */
import { Buffer } from "node:buffer";
import { constants, deflateRawSync, gzipSync } from "node:zlib";
import { cut, DONE } from "./completion.ts";
import { SECRET } from "./raw_http.ts";
import type { Scene } from "./steps.ts";

interface Fault {
  about: string;
  /** Whether it comes also when no stream was asked for. */
  always?: true;
  run: (scene: Scene) => Promise<unknown>;
}

const error = { message: SECRET, type: "server_error", param: null, code: 500 };

/** The wire dialects: the whole answer, with every event rewritten. */
function dialect(about: string, rewrite: (text: string) => string): Fault {
  return {
    about,
    run: (scene) => {
      scene.rewrite = rewrite;
      return scene.plain();
    },
  };
}

function status(about: string, run: (scene: Scene) => Promise<unknown>): Fault {
  return { about, always: true, run };
}

function cutOff(about: string, run: (scene: Scene) => Promise<unknown> | void): Fault {
  return {
    about,
    run: async (scene) => {
      await scene.firstHalf();
      const { completion, middle } = scene;
      const token = completion.tokens[middle];
      const event = token === undefined ? completion.finish("stop") : completion.content(token);
      await scene.send(event.slice(0, event.length >> 1));
      await run(scene);
    },
  };
}

/** A gzip stream that can go on for ever: a head, then the same block, which refers to nothing before it. */
function bomb(): { head: Uint8Array; block: Uint8Array } {
  return {
    head: Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3),
    block: deflateRawSync(Buffer.alloc(1024 * 1024, "x"), {
      finishFlush: constants.Z_FULL_FLUSH,
    }),
  };
}

const noise: Uint8Array = Uint8Array.from({ length: 4096 }, (_, at) => (at * 7 + (at >> 8)) & 0xff);

function toolCall(index: number, rest: string): string {
  return `{"tool_calls":[{"index":${index},${rest}}]}`;
}

/** The two calls of the mode `tools`: the text as an argument, and one without. */
export function toolCalls(text: string): Array<{ id: string; name: string; arguments: string }> {
  return [
    { id: "call_mock_0", name: "lookup", arguments: JSON.stringify({ query: text }) },
    { id: "call_mock_1", name: "now", arguments: "{}" },
  ];
}

/** What the mode `reasoning` thinks before it answers. */
export function reasoning(text: string): string {
  return `The user says: ${text}`;
}

export const table: Record<string, Fault> = {
  plain: { about: "the echo, as it should be", run: (scene) => scene.plain() },
  reasoning: {
    about: "reasoning_content first, then the echo",
    run: async (scene) => {
      const { completion } = scene;
      await scene.begin();
      const thoughts = cut(reasoning(completion.text));
      await scene.play(thoughts.map((thought) => {
        return completion.delta(`{"content":null,"reasoning_content":${JSON.stringify(thought)}}`);
      }));
      await scene.tokens();
      await scene.close();
    },
  },
  tools: {
    about: "two tool calls, their arguments in fragments; finish reason tool_calls",
    run: async (scene) => {
      const { completion } = scene;
      await scene.begin();
      await scene.play(
        toolCalls(completion.text).flatMap((call, index) => {
          const head = { id: call.id, type: "function" };
          const start = JSON.stringify({ ...head, function: { name: call.name, arguments: "" } });
          return [
            completion.delta(toolCall(index, start.slice(1, -1))),
            ...cut(call.arguments).map((fragment) => {
              const rest = `"function":{"arguments":${JSON.stringify(fragment)}}`;
              return completion.delta(toolCall(index, rest));
            }),
          ];
        }),
      );
      await scene.close("tool_calls");
    },
  },
  length: {
    about: "the echo, finish reason length",
    run: async (scene) => {
      await scene.begin();
      await scene.tokens();
      await scene.close("length");
    },
  },

  "comments": dialect(
    "comments before and after every event, with and without a blank line",
    (t) => t.replaceAll("\n\n", "\n\n: OPENROUTER PROCESSING\n\n:\n"),
  ),
  "crlf": dialect("lines end with CRLF", (text) => text.replaceAll("\n", "\r\n")),
  "crlf-split": {
    about: "lines end with CRLF, and CR and LF travel in different segments",
    run: (scene) => {
      scene.rewrite = (text) => text.replaceAll("\n", "\r\n");
      return scene.segmented((text) => text.split(/(?<=\r)/));
    },
  },
  "cr": dialect("lines end with CR", (text) => text.replaceAll("\n", "\r")),
  "bom": {
    about: "a byte order mark ahead of the first event",
    run: async (scene) => {
      await scene.head();
      await scene.send("\ufeff" + scene.completion.role());
      await scene.tokens();
      await scene.close();
    },
  },
  "no-space": dialect("no space after the colon", (text) => text.replaceAll("data: ", "data:")),
  "many-lines": dialect("each event's JSON on several data lines", (text) => {
    return text.replaceAll(/^(data: \{"id":)(.*)$/gm, "$1\ndata: $2");
  }),
  "fields": dialect("id, retry, event: message and unknown fields in every event", (text) => {
    return text.replaceAll("data: ", "id: 7\nretry: 5\nevent: message\nx-mock: 1\nnocolon\ndata: ");
  }),
  "empty-events": dialect("events without data between the good ones", (text) => {
    return text.replaceAll("\n\n", "\n\ndata:\n\nevent: ping\n\nid: 7\n\n");
  }),
  "empty-choices": {
    about: "chunks without choices, without delta, with null content between the good ones",
    run: async (scene) => {
      const odd = [
        '"choices":[],"prompt_filter_results":[]',
        '"choices":[{"index":0,"finish_reason":null}]',
        '"choices":[{"index":0,"delta":{"content":null},"finish_reason":null}]',
      ].map((members) => scene.completion.event(members)).join("");
      await scene.head();
      await scene.send(odd + scene.completion.role());
      await scene.tokens(0, scene.middle);
      await scene.send(odd);
      await scene.secondHalf();
    },
  },
  "bytes": {
    about: "one byte per segment",
    run: (scene) => {
      return scene.segmented(function* (text) {
        const bytes = Buffer.from(text);
        for (let at = 0; at < bytes.length; at++) yield bytes.subarray(at, at + 1);
      });
    },
  },
  "slow": {
    about: "100 ms before each token, or delayMs",
    run: (scene) => {
      if (!scene.params.has("delayMs")) scene.params.set("delayMs", "100");
      return scene.plain();
    },
  },
  "gzip": {
    about: "content-encoding: gzip, whatever was accepted",
    run: async (scene) => {
      const { completion } = scene;
      await scene.head({ "content-encoding": "gzip" });
      const events = completion.tokens.map((token) => completion.content(token)).join("");
      const end = completion.finish("stop") + completion.usage() + DONE;
      await scene.reply.send(gzipSync(completion.role() + events + end));
      await scene.reply.end();
    },
  },
  "no-type": {
    about: "the echo without a content-type",
    run: async (scene) => {
      await scene.reply.head(200);
      await scene.send(scene.completion.role());
      await scene.tokens();
      await scene.close();
    },
  },

  "die-head": status("FIN in the middle of the head", async (scene) => {
    await scene.reply.raw("HTTP/1.1 200 OK\r\ncontent-type: text/ev");
    await scene.fin();
  }),
  "die-before-first": {
    about: "head, then FIN",
    run: async (scene) => {
      await scene.head();
      await scene.fin();
    },
  },
  "die-fin": cutOff("FIN in the middle of an event", (scene) => scene.fin()),
  "die-rst": cutOff("RST in the middle of an event", (scene) => scene.rst()),
  "die-between": {
    about: "FIN between two events",
    run: async (scene) => {
      await scene.firstHalf();
      await scene.fin();
    },
  },
  "rst-at-once": status("RST instead of a head", (scene) => scene.rst()),
  "hang-head": status("takes the request and says nothing", (scene) => scene.reply.hang()),
  "hang-body": {
    about: "head, then silence",
    run: async (scene) => {
      await scene.head();
      await scene.reply.hang();
    },
  },
  "hang-first": {
    about: "head and role, then silence",
    run: async (scene) => {
      await scene.begin();
      await scene.reply.hang();
    },
  },
  "hang-middle": {
    about: "half of the tokens, then silence",
    run: async (scene) => {
      await scene.firstHalf();
      await scene.reply.hang();
    },
  },
  "short-length": {
    about: "content-length promises the whole, half arrives, then FIN",
    run: async (scene) => {
      const { completion, reply, middle } = scene;
      const events = completion.tokens.map((token) => completion.content(token));
      const text = completion.role() + events.join("") + completion.finish("stop") + DONE;
      await scene.head({ "content-length": Buffer.byteLength(text) });
      await reply.raw(completion.role() + events.slice(0, middle).join(""));
      await scene.fin();
    },
  },
  "bad-chunk": {
    about: "a chunk header that is no number, in the middle",
    run: async (scene) => {
      await scene.firstHalf();
      await scene.gap();
      await scene.reply.raw("zz; no length\r\n");
      await scene.secondHalf();
    },
  },
  "no-done": {
    about: "finish reason, but no [DONE]",
    run: async (scene) => {
      await scene.begin();
      await scene.tokens();
      await scene.send(scene.completion.finish("stop") + scene.completion.usage());
      await scene.reply.end();
    },
  },
  "no-finish": {
    about: "[DONE], but no finish reason",
    run: async (scene) => {
      await scene.begin();
      await scene.tokens();
      await scene.send(scene.completion.usage() + DONE);
      await scene.reply.end();
    },
  },
  "no-end": {
    about: "neither finish reason nor [DONE], and yet a clean end of the body",
    run: async (scene) => {
      await scene.firstHalf();
      await scene.reply.end();
    },
  },
  "after-done": {
    about: "another token after [DONE]",
    run: async (scene) => {
      const { completion } = scene;
      await scene.begin();
      await scene.tokens();
      await scene.send(completion.finish("stop") + DONE + completion.content(SECRET));
      await scene.reply.end();
    },
  },
  "done-silence": {
    about: "[DONE], and the connection stays open",
    run: async (scene) => {
      const { completion } = scene;
      await scene.begin();
      await scene.tokens();
      await scene.send(completion.finish("stop") + completion.usage() + DONE);
      await scene.reply.hang();
    },
  },

  "garbage-http": status("bytes that are no HTTP", async (scene) => {
    await scene.reply.raw(noise);
    await scene.reply.raw(SECRET);
    await scene.fin();
  }),
  "garbage-body": {
    about: "200, event-stream, and noise for a body",
    run: async (scene) => {
      await scene.head();
      await scene.reply.send(noise);
      await scene.reply.end();
    },
  },
  "bad-json": {
    about: "an event whose data is no JSON, in the middle",
    run: async (scene) => {
      await scene.firstHalf();
      await scene.send(`data: {"choices": ${SECRET}\n\n`);
      await scene.secondHalf();
    },
  },
  "wrong-json": {
    about: "an event whose JSON is no chunk, in the middle",
    run: async (scene) => {
      await scene.firstHalf();
      await scene.send(`data: ["${SECRET}"]\n\ndata: null\n\ndata: {"choices":"${SECRET}"}\n\n`);
      await scene.secondHalf();
    },
  },
  "bad-utf8": {
    about: "a token of bytes that are no UTF-8, in the middle",
    run: async (scene) => {
      await scene.firstHalf();
      const [start = "", end = ""] = scene.completion.content("|").split("|");
      const bad = Uint8Array.of(0xff, 0xc3, 0x28, 0xed, 0xa0, 0x80, 0xf0, 0x9f);
      await scene.reply.send(Buffer.concat([Buffer.from(start), bad, Buffer.from(end)]));
      await scene.secondHalf();
    },
  },

  "big-line": {
    about: "one data line without end",
    run: (scene) => {
      const [start = "", end = ""] = scene.completion.content("|").split("|");
      return scene.oversize(start, "x", end);
    },
  },
  "big-event": {
    about: "one event of data lines without end",
    run: (scene) => scene.oversize('data: {"choices":[],"pad":[0\n', "data: ,0\n", "data: ]}\n\n"),
  },
  "big-comment": {
    about: "one comment without end",
    run: (scene) => scene.oversize(": ", "x", "\n"),
  },
  "big-field": {
    about: "one unknown field without end",
    run: (scene) => scene.oversize("x-mock: ", "x", "\n"),
  },
  "big-id": { about: "one id without end", run: (scene) => scene.oversize("id: ", "x", "\n") },
  "endless-comments": {
    about: "short comments without end, and never another event",
    run: (scene) => scene.oversize("", ": x\n\n", ""),
  },
  "endless": {
    about: "tokens without end",
    run: async (scene) => {
      const { completion } = scene;
      const tokens = completion.tokens.length > 0 ? completion.tokens : ["token "];
      await scene.begin();
      if (scene.number("delayMs", 0) > 0) {
        await scene.play((function* () {
          for (let sent = 0; sent < 1e6; sent++) {
            yield completion.content(tokens[sent % tokens.length] as string);
          }
        })());
      } else if (!(await scene.repeat(tokens.map((token) => completion.content(token)).join("")))) {
        return;
      }
      await scene.close();
    },
  },
  "big-head": status("a response header without end", async (scene) => {
    await scene.reply.raw("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-mock: ");
    await scene.repeat("x", true);
    await scene.rst();
  }),
  "gzip-bomb": {
    about: "a comment without end, gzip making a thousandth of it",
    run: async (scene) => {
      const { head, block } = bomb();
      await scene.head({ "content-encoding": "gzip" });
      await scene.reply.send(head);
      await scene.reply.send(deflateRawSync(": ", { finishFlush: constants.Z_FULL_FLUSH }));
      if (!scene.params.has("bytes")) scene.params.set("bytes", String(4 * 1024 ** 2));
      if (await scene.repeat(block)) await scene.rst();
    },
  },

  "error-object": {
    about: 'data: {"error":{…}} in the middle, then [DONE]',
    run: (scene) => scene.broken(`data: ${JSON.stringify({ error })}\n\n`),
  },
  "error-chunk": {
    about: "OpenRouter's way: a chunk with a top-level error",
    run: (scene) => {
      const choices = '"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]';
      const members = `"provider":"Mock","error":${JSON.stringify(error)},${choices}`;
      return scene.broken(scene.completion.event(members));
    },
  },
  "error-event": {
    about: "event: error in the middle",
    run: (scene) => scene.broken(`event: error\ndata: ${JSON.stringify({ error })}\n\n`),
  },
  "error-flat": {
    about: 'old vLLM\'s way: {"object":"error","message"}',
    run: (scene) => {
      return scene.broken(`data: ${JSON.stringify({ object: "error", message: SECRET })}\n\n`);
    },
  },

  "400": status("400", (scene) => scene.refuse(400, "invalid_request_error")),
  "401": status("401, repeating the key", (scene) => scene.refuse(401, "invalid_api_key")),
  "403": status("403", (scene) => scene.refuse(403, "permission_error")),
  "404": status("404", (scene) => scene.refuse(404, "model_not_found")),
  "429": status("429 with Retry-After", (scene) => {
    return scene.refuse(429, "rate_limit_exceeded", { "retry-after": "1" });
  }),
  "500": status("500", (scene) => scene.refuse(500, "server_error")),
  "503": status("503", (scene) => scene.refuse(503, "overloaded_error")),
  "500-sse": status("500 that calls itself an event stream, with good events", async (scene) => {
    await scene.reply.head(500, { "content-type": "text/event-stream" });
    await scene.send(scene.completion.content(SECRET) + scene.completion.finish("stop") + DONE);
    await scene.reply.end();
  }),
  "huge-503": status("503 with a body without end", async (scene) => {
    await scene.reply.head(503, { "content-type": "text/plain" });
    if (await scene.repeat(`${SECRET}\n`)) await scene.reply.end();
  }),
  "hang-500": status("500, and a body that never comes", async (scene) => {
    await scene.reply.head(500, { "content-type": "application/json", "content-length": 100 });
    await scene.reply.hang();
  }),
  "html": status("200 with HTML", ({ reply }) => {
    return reply.whole(200, { "content-type": "text/html" }, `<!doctype html><h1>${SECRET}</h1>`);
  }),
  "json": status("200 with an error in JSON", ({ reply }) => {
    return reply.whole(200, { "content-type": "application/json" }, JSON.stringify({ error }));
  }),
  "json-whole": status(
    "200 with the whole answer in JSON, though a stream was asked for",
    (scene) => {
      const type = { "content-type": "application/json" };
      return scene.reply.whole(200, type, scene.completion.whole());
    },
  ),
  "204": status("204", ({ reply }) => reply.whole(204, {}, "")),
  "redirect-loop": status("a redirect to itself", (scene) => scene.redirect(scene.here)),
  "redirect-other": status("a redirect to another origin, which would answer", (scene) => {
    return scene.redirect(scene.elsewhere);
  }),
  "fail-then-ok": status("fails n times, as `how` says, then answers", (scene) => {
    if (scene.attempt >= scene.number("n", 1)) {
      return scene.stream ? scene.plain() : scene.whole();
    }
    const how = scene.params.get("how") ?? "503";
    if (how === "rst") return scene.rst();
    if (how === "fin") return scene.fin();
    return scene.refuse(Number(how), "overloaded_error");
  }),
};

/** Every name that may follow `mock:`, and what it does. */
export const faults: Record<string, string> = Object.fromEntries(
  Object.entries(table).map(([name, { about }]) => [name, about]),
);
