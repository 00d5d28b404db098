/**
 * An OpenAI-shaped upstream for tests and demonstrations: it echoes, always alike, and breaks on demand.
 * The model's name says how: `mock`, `mock:die-rst`, `mock:slow?delayMs=20&tokens=50`. See `faults.ts` for all.
 *
 * `bun tests/support/upstream/mock.ts [port]` or `deno run -A tests/support/upstream/mock.ts [port]` starts it by hand.
 */
import { Buffer } from "node:buffer";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import process from "node:process";
import { Completion, cut, lastUserText } from "./completion.ts";
import { BadRequest, type MockRequest, parseRequest, Reply } from "./raw_http.ts";
import { faults, reasoning, table, toolCalls } from "./faults.ts";
import { parameters, Scene } from "./steps.ts";

export type { MockRequest } from "./raw_http.ts";
export { SECRET } from "./raw_http.ts";
export { faults } from "./faults.ts";
export { parameters } from "./steps.ts";

export interface Mock {
  /** The base URL, ending in `/v1`. */
  readonly url: string;
  readonly port: number;
  /** The last 1000 requests, the oldest first. */
  readonly requests: MockRequest[];
  /**
   * Connections that are open at this moment, those to `other` included, each from its first byte on: Node's
   * `fetch` opens one to spare when a body is cancelled, and never says a word on it.
   */
  readonly open: number;
  /** The origin that `redirect-other` points at: whether it was contacted, and with which headers. */
  readonly other: { readonly url: string; readonly port: number; readonly requests: MockRequest[] };
  /** Destroys every connection and stops listening. */
  close(): Promise<void>;
}

export interface MockOptions {
  /** @default {0: any that is free} */
  port?: number;
  /** Replies in place of the echo and its faults. */
  respond?: (request: MockRequest, reply: Reply) => Promise<unknown>;
}

/** Starts a mock upstream on the loopback. */
export async function startMock({ port = 0, respond: own }: MockOptions = {}): Promise<Mock> {
  const sockets = new Set<Socket>();
  const attempts = new Map<string, number>();
  const answer = (request: MockRequest, reply: Reply) => {
    if (request.path === "/requests") return report(mock, reply);
    return own?.(request, reply) ?? respond(request, reply, { mock, attempts });
  };
  const here: MockRequest[] = [];
  const there: MockRequest[] = [];
  const servers = await Promise.all([
    listen(port, (socket) => serve(socket, sockets, here, answer)),
    listen(0, (socket) => serve(socket, sockets, there, answer)),
  ]);
  const [first, second] = servers.map((server) => (server.address() as AddressInfo).port);
  const mock: Mock = {
    url: `http://127.0.0.1:${first}/v1`,
    port: first as number,
    requests: here,
    get open() {
      return [...sockets].filter((socket) => socket.bytesRead > 0).length;
    },
    other: { url: `http://127.0.0.1:${second}/v1`, port: second as number, requests: there },
    async close() {
      const closed = [...sockets].map((socket) => {
        return new Promise<void>((resolve) => {
          socket.once("close", () => resolve());
          socket.destroy();
        });
      });
      // Bun says that a server is closed before it says so of the sockets.
      for (const server of servers) {
        closed.push(new Promise((resolve) => server.close(() => resolve())));
      }
      await Promise.all(closed);
    },
  };
  return mock;
}

function listen(port: number, onSocket: (socket: Socket) => void): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer({ noDelay: true }, onSocket);
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => resolve(server));
  });
}

let connections = 0;

/** One connection: requests one after the other, each answered before the next is read. */
function serve(
  socket: Socket,
  sockets: Set<Socket>,
  requests: MockRequest[],
  answer: (request: MockRequest, reply: Reply) => Promise<unknown>,
): void {
  const connection = ++connections;
  let waiting: Buffer = Buffer.alloc(0);
  let current: Reply | undefined;
  let state: "reading" | "answering" | "ended" = "reading";
  const left = () => current?.left();

  const next = async () => {
    const parsed = parseRequest(waiting, connection);
    if (!parsed) return;
    waiting = parsed.rest;
    const { request } = parsed;
    if (requests.push(request) > 1000) requests.shift();
    const reply = new Reply(socket, request, modelOf(request).params.get("keepAlive") === "1");
    state = "answering";
    current = reply;
    await answer(request, reply);
    current = undefined;
    if (request.state === "open") throw new Error(`Nothing ended the reply to ${request.path}`);
    const again = request.state === "answered" && reply.keepAlive && reply.framing === "chunked";
    state = again ? "reading" : "ended";
    if (again) await next();
  };
  const refuse = (error: unknown) => {
    if (error instanceof BadRequest) {
      const body = `HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n${error.message}\n`;
      socket.end(body);
    } else {
      console.error("The mock upstream has a bug:", error);
      socket.destroy();
    }
  };

  sockets.add(socket);
  socket.setNoDelay(true);
  socket.on("data", (bytes: Buffer) => {
    const start = waiting.length;
    if (state === "ended") return;
    waiting = start === 0 ? bytes : Buffer.concat([waiting, bytes]);
    if (start === 0 && /\r\nexpect: *100-continue\r\n/i.test(bytes.toString("latin1"))) {
      socket.write("HTTP/1.1 100 Continue\r\n\r\n");
    }
    if (state === "reading") next().catch(refuse);
  });
  // A FIN of the client is a departure: nothing that is relayed here is read after it.
  socket.on("end", () => {
    left();
    socket.destroy();
  });
  socket.on("error", left); // ECONNRESET, EPIPE: the client left, which `state` tells; `close` follows.
  socket.on("close", () => {
    left();
    sockets.delete(socket);
  });
}

/** `mock:<fault>?<parameters>`; any other name is the plain echo. */
function modelOf(request: MockRequest): { model: string; fault: string; params: URLSearchParams } {
  const body = request.body as { model?: unknown } | undefined;
  const query = new URL(request.path, "http://mock").searchParams.get("model");
  const model = typeof body?.model === "string" ? body.model : query ?? "mock";
  const [name = "", params] = model.split(/\?(.*)/s);
  const fault = name.startsWith("mock:") ? name.slice(5) : "plain";
  return { model, fault, params: new URLSearchParams(params) };
}

async function respond(
  request: MockRequest,
  reply: Reply,
  { mock, attempts }: { mock: Mock; attempts: Map<string, number> },
): Promise<unknown> {
  const { pathname } = new URL(request.path, "http://mock");
  if (pathname === "/v1/models") return reply.whole(200, JSON_TYPE, models());
  if (pathname !== "/v1/chat/completions") return refuse(reply, 404, `Nothing at ${pathname}`);
  const { model, fault, params } = modelOf(request);
  const row = Object.hasOwn(table, fault) ? table[fault] : undefined;
  if (!row) return refuse(reply, 400, `No fault is named ${fault}`);
  for (const name of params.keys()) {
    if (!(name in parameters)) return refuse(reply, 400, `No parameter is named ${name}`);
  }
  const attempt = attempts.get(model) ?? 0;
  attempts.set(model, attempt + 1);

  const completion = completionOf(request, model, fault, params);
  if (!(await reply.sleep(Number(params.get("headMs") ?? 0)))) return;
  const stream = (request.body as { stream?: unknown } | undefined)?.stream === true;
  if (!stream && !row.always) return reply.whole(200, JSON_TYPE, whole(completion, fault));
  const scene = new Scene({
    reply,
    completion,
    params,
    stream,
    attempt,
    here: `http://127.0.0.1:${request.headers["host"]?.split(":")[1] ?? mock.port}/v1`,
    elsewhere: mock.other.url,
  });
  return row.run(scene);
}

const JSON_TYPE = { "content-type": "application/json" };

function refuse(reply: Reply, status: number, message: string): Promise<void> {
  return reply.whole(
    status,
    JSON_TYPE,
    JSON.stringify({ error: { message, code: "mock_misuse" } }),
  );
}

let completions = 0;

function completionOf(
  request: MockRequest,
  model: string,
  fault: string,
  params: URLSearchParams,
): Completion {
  const size = Number(params.get("size") ?? (fault === "bytes" ? 40 : 5));
  const split = params.get("split") === "surrogates" ? "surrogates" : "points";
  const echoed = cut(lastUserText(request.body), size, split);
  const wanted = params.get("tokens");
  const source = echoed.length > 0 ? echoed : ["token "];
  const options = (request.body as { stream_options?: { include_usage?: unknown } } | undefined)
    ?.stream_options;
  return new Completion({
    id: `chatcmpl-mock-${++completions}`,
    model,
    tokens: wanted === null ? echoed : Array.from(
      { length: Math.min(Number(wanted), 1e6) },
      (_, at) => source[at % source.length] as string,
    ),
    promptTokens: echoed.length,
    includeUsage: options?.include_usage === true,
  });
}

function whole(completion: Completion, fault: string): string {
  if (fault === "length") return completion.whole("length");
  if (fault === "reasoning") {
    const { text } = completion;
    return completion.whole("stop", { content: text, reasoning_content: reasoning(text) });
  }
  if (fault !== "tools") return completion.whole();
  const calls = toolCalls(completion.text).map(({ id, ...rest }) => {
    return { id, type: "function", function: rest };
  });
  return completion.whole("tool_calls", { content: null, tool_calls: calls });
}

function models(): string {
  const names = ["mock", ...Object.keys(faults).map((name) => `mock:${name}`)];
  const data = names.map((id) => ({ id, object: "model", created: 1763800000, owned_by: "mock" }));
  return JSON.stringify({ object: "list", data });
}

/** What a test in another process cannot read from `Mock` itself; bodies are left out. */
function report(mock: Mock, reply: Reply): Promise<void> {
  const strip = (requests: MockRequest[]) => requests.map(({ body: _, ...rest }) => rest);
  return reply.whole(
    200,
    JSON_TYPE,
    JSON.stringify({
      open: mock.open,
      requests: strip(mock.requests),
      other: strip(mock.other.requests),
    }),
  );
}

if (import.meta.main) {
  const mock = await startMock({ port: Number(process.argv[2] ?? 0) });
  const rows = (list: Record<string, string>) => {
    return Object.entries(list).map(([name, about]) => `  ${name.padEnd(18)}${about}`).join("\n");
  };
  const body = JSON.stringify({
    model: "mock:slow?delayMs=50",
    stream: true,
    messages: [{ role: "user", content: "Streaming responseのテスト" }],
  });
  console.log(`A mock upstream at ${mock.url} (what it was asked: ${new URL("/requests", mock.url)})

mock:<fault>
${rows(faults)}

mock:<fault>?<parameter>=<value>&...
${rows(parameters)}

curl -N ${mock.url}/chat/completions -H 'content-type: application/json' -d '${body}'
`);
}
