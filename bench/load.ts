/**
 * The load generator, a process of its own on a core of its own: raw sockets under Bun, one mode per question.
 * It takes its job as JSON in the first argument, prints one JSON line, and says how busy its own core was, so that
 * a figure limited by the client is never taken for the server's.
 */
import { connect } from "node:net";
import process from "node:process";
import { type Payload, readBody } from "./body.ts";
import { Connection, type Listener } from "./connection.ts";
import { text } from "./inputs.ts";
import { coreNs, Histogram, percentile, processorNs, residentBytes } from "./measure.ts";
import { lateness, STAMP_LENGTH, startPacer } from "./pacer.ts";

/** What the runner asks for. `path` comes without its `n`, which the mode knows. */
export type Job = {
  mode: "burst" | "paced" | "first" | "fairness" | "idle" | "stall";
  port: number;
  /** The server's process, whose processor time and memory are read. */
  pid: number;
  /** Its Redis, whose writes are counted. */
  redisPort?: number;
  /** Where the server expects the source of its paced streams. */
  pacerPort: number;
  path: string;
  payload: Payload;
  connections: number;
  n: number;
  warmMs: number;
  ms: number;
};

/**
 * The figures of one run. `loadShare` is the part of its core that the load generator used in the window; `serverShare`
 * and `coreShare` what the server used of its own, and what was used in all: a gap is work in interrupts, or other processes.
 */
export type Figures = Record<string, number>;

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Opens connections a hundred at a time, so that no listen backlog overflows. */
async function open(job: Job, listener: Listener): Promise<Connection[]> {
  const connections: Connection[] = [];
  while (connections.length < job.connections) {
    const batch = Math.min(100, job.connections - connections.length);
    const opened = Array.from({ length: batch }, () => Connection.open(job.port, listener));
    connections.push(...await Promise.all(opened));
  }
  return connections;
}

const url = (job: Job, n = job.n, shape?: string) =>
  `${shape === undefined ? job.path : job.path.replace(/shape=\w+/, `shape=${shape}`)}&n=${n}`;

function check(connection: Connection, job: Job): void {
  const whole = Buffer.concat(connection.kept);
  connection.kept = [];
  connection.keep = false;
  const { text: got, events } = readBody(whole, job.payload);
  const expected = job.n < 1000 ? text(job.n) : text(1000).repeat(Math.ceil(job.n / 1000));
  const isKnown = job.n < 1000 || job.n % 1000 === 0;
  if (isKnown && got === expected && events === job.n) return;
  let at = 0;
  while (at < expected.length && got[at] === expected[at]) at++;
  throw new Error(
    `wrong body: ${events} events of ${job.n}, differs at ${at}: ` +
      `${JSON.stringify(got.slice(Math.max(0, at - 10), at + 20))} for ${
        JSON.stringify(expected.slice(Math.max(0, at - 10), at + 20))
      }`,
  );
}

function failed(connections: Connection[]): string | undefined {
  return connections.find((connection) => connection.failure !== undefined)?.failure;
}

/** The runner pins servers to this core. */
const SERVER_CORE = 0;

/** What a Redis has done so far: entries that were written, and scripts, which write and read them. */
async function redisCalls(port: number | undefined): Promise<{ entries: number; scripts: number }> {
  if (port === undefined) return { entries: 0, scripts: 0 };
  const text = await new Promise<string>((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => socket.write("INFO commandstats\r\nQUIT\r\n"));
    let reply = "";
    socket.on("data", (data) => reply += data);
    socket.on("close", () => resolve(reply));
    socket.on("error", reject);
  });
  const calls = (name: string) =>
    Number(new RegExp(`^cmdstat_${name}:calls=(\\d+)`, "m").exec(text)?.[1] ?? 0);
  return { entries: calls("xadd"), scripts: calls("eval") };
}

/** Processor shares over a window: starts when it resolves; `end()` returns what was used until it is called. */
async function startWindow({ pid, redisPort }: Job) {
  const before = await redisCalls(redisPort);
  const [server, core] = [processorNs(pid), coreNs(SERVER_CORE)];
  const [self, at] = [process.cpuUsage(), performance.now()];
  return async () => {
    const seconds = (performance.now() - at) / 1000;
    const { user, system } = process.cpuUsage(self);
    const serverNs = processorNs(pid) - server;
    const coreShare = (coreNs(SERVER_CORE) - core) / seconds / 1e9;
    const after = await redisCalls(redisPort);
    return {
      seconds,
      serverNs,
      coreShare,
      serverShare: serverNs / seconds / 1e9,
      loadShare: (user + system) / seconds / 1e6,
      entries: after.entries - before.entries,
      scripts: after.scripts - before.scripts,
    };
  };
}

/** Streams as fast as they come: every connection asks again as soon as its response is complete. */
async function burst(job: Job): Promise<Figures> {
  let running = true;
  let wrong: unknown;
  const path = url(job);
  const connections = await open(job, {
    end(connection) {
      if (connection.keep) {
        try {
          check(connection, job);
        } catch (error) {
          wrong = error;
        }
      }
      if (running) connection.send(path);
    },
  });
  connections[0]!.keep = true;
  for (const connection of connections) connection.send(path);
  await sleep(job.warmMs);
  const sum = (field: "bytes" | "responses" | "completeBytes") =>
    connections.reduce((total, connection) => total + connection[field], 0);
  const deadline = performance.now() + 10_000;
  while (sum("responses") < 1 && performance.now() < deadline && !failed(connections)) {
    await sleep(50);
  }
  const end = await startWindow(job);
  const before = sum("bytes");
  await sleep(job.ms);
  const ended = end();
  const received = sum("bytes") - before;
  const { seconds, serverNs, entries, scripts, ...shares } = await ended;
  running = false;
  const failure = failed(connections) ?? wrong;
  if (failure !== undefined) throw failure instanceof Error ? failure : new Error(String(failure));
  // Bytes, not responses: what is in flight at the edges of the window counts for what has arrived of it.
  const complete = sum("responses");
  const perResponse = sum("completeBytes") / complete;
  const tokens = received / (perResponse / job.n);
  return {
    tokensPerSecond: tokens / seconds,
    nsPerToken: serverNs / tokens,
    usPerStream: serverNs / 1000 / (tokens / job.n),
    bytesPerToken: perResponse / job.n,
    responses: complete,
    entriesPerToken: entries / tokens,
    scriptsPerToken: scripts / tokens,
    ...shares,
  };
}

const AT = 0x40;

/** Reads the stamps out of a paced stream, also one that is cut by a chunk's end. */
class StampReader {
  #carry: Uint8Array | undefined;

  read(chunk: Uint8Array, each: (microseconds: number) => void): void {
    let bytes = chunk;
    if (this.#carry !== undefined) {
      bytes = Buffer.concat([this.#carry, chunk]);
      this.#carry = undefined;
    }
    for (let at = bytes.indexOf(AT); at >= 0; at = bytes.indexOf(AT, at + STAMP_LENGTH)) {
      if (at + STAMP_LENGTH > bytes.length) {
        this.#carry = bytes.slice(at);
        return;
      }
      let value = 0;
      for (let i = at + 1; i < at + STAMP_LENGTH; i++) value = value * 10 + (bytes[i]! - 0x30);
      each(value);
    }
  }
}

/** Streams at 50 tokens a second: what a token costs the server, and how late it is at the client. */
async function paced(job: Job): Promise<Figures> {
  const readers = new Map<Connection, StampReader>();
  const seconds = job.ms / 1000;
  const endless = Math.ceil((job.warmMs / 1000 + seconds + 30) * 50);
  let late = new Histogram();
  let measuring = false;
  await startPacer(job.pacerPort);
  const connections = await open(job, {
    data(connection, chunk) {
      readers.get(connection)!.read(chunk, (sent) => {
        if (measuring) late.add(lateness(sent));
      });
    },
  });
  for (const connection of connections) readers.set(connection, new StampReader());
  for (const [index, connection] of connections.entries()) {
    connection.send(url(job, endless));
    if (index % 100 === 99) await sleep(5);
  }
  await sleep(job.warmMs);
  late = new Histogram();
  const end = await startWindow(job);
  measuring = true;
  await sleep(job.ms);
  measuring = false;
  const window = await end();
  const failure = failed(connections);
  if (failure !== undefined) throw new Error(failure);
  return {
    usPerToken: window.serverNs / 1000 / late.count,
    entriesPerToken: window.entries / late.count,
    scriptsPerToken: window.scripts / late.count,
    deliveredShare: late.count / (job.connections * 50 * window.seconds),
    p50: late.percentile(0.5),
    p99: late.percentile(0.99),
    p999: late.percentile(0.999),
    serverShare: window.serverShare,
    coreShare: window.coreShare,
    loadShare: window.loadShare,
  };
}

/** All connections ask at one moment: when the first byte, and the first token, reach each of them. */
async function firstToken(job: Job): Promise<Figures> {
  const needle = "data:";
  let sentAt = 0;
  let open_ = 0;
  let done = () => {};
  const seen = new Set<Connection>();
  let bytes: number[] = [];
  let firsts: number[] = [];
  const connections = await open(job, {
    first: () => bytes.push(performance.now() - sentAt),
    data(connection, chunk) {
      if (
        seen.has(connection) ||
        !Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length).includes(needle)
      ) {
        return;
      }
      seen.add(connection);
      firsts.push(performance.now() - sentAt);
    },
    end() {
      if (--open_ === 0) done();
    },
  });
  const round = async () => {
    seen.clear();
    open_ = connections.length;
    const all = new Promise<void>((resolve) => done = resolve);
    sentAt = performance.now();
    for (const connection of connections) connection.send(url(job));
    await Promise.race([all, sleep(20_000)]);
    await sleep(3);
  };
  for (const until = performance.now() + job.warmMs; performance.now() < until;) await round();
  bytes = [];
  firsts = [];
  let rounds = 0;
  for (
    const until = performance.now() + job.ms;
    performance.now() < until || rounds < 5;
    rounds++
  ) {
    await round();
  }
  const failure = failed(connections);
  if (failure !== undefined) throw new Error(failure);
  return {
    firstByteP50: percentile(bytes, 0.5),
    firstByteP99: percentile(bytes, 0.99),
    firstTokenP50: percentile(firsts, 0.5),
    firstTokenP99: percentile(firsts, 0.99),
    bursts: rounds,
  };
}

/** One stream bursts `n` tokens while another connection asks for one token after the other: its worst wait. */
async function fairness(job: Job): Promise<Figures> {
  let [streaming, asking] = [() => {}, () => {}];
  const [one] = await open({ ...job, connections: 1 }, { end: () => streaming() });
  const [other] = await open({ ...job, connections: 1 }, { end: () => asking() });
  const ask = async () => {
    const asked = performance.now();
    const answered = new Promise<void>((resolve) => asking = resolve);
    other!.send(url(job, 1, "generator"));
    await answered;
    return performance.now() - asked;
  };
  for (let i = 0; i < 200; i++) await ask();
  const worst: number[] = [];
  const all: number[] = [];
  const lasted: number[] = [];
  const limit = performance.now() + job.warmMs + job.ms;
  do {
    let underway = true;
    const started = performance.now();
    const ended = new Promise<void>((resolve) => streaming = resolve)
      .then(() => underway = false);
    one!.send(url(job));
    const waits: number[] = [];
    while (underway) {
      waits.push(await ask());
      await sleep(1);
      if (one!.failure ?? other!.failure) throw new Error(one!.failure ?? other!.failure);
    }
    await ended;
    lasted.push(performance.now() - started);
    worst.push(Math.max(...waits));
    all.push(...waits);
  } while (performance.now() < limit && worst.length < 20);
  const measured = worst.length > 1 ? worst.slice(1) : worst; // the first burst warms the server up
  return {
    worstWaitMs: percentile(measured, 0.5),
    p50WaitMs: percentile(all, 0.5),
    p99WaitMs: percentile(all, 0.99),
    burstMs: percentile(lasted, 0.5),
    bursts: measured.length,
  };
}

/** Asks the server to collect its garbage where it can, and lets its memory settle. */
async function settle(job: Job): Promise<number> {
  process.kill(job.pid, "SIGUSR2");
  await sleep(400);
  return residentBytes(job.pid);
}

/** Some streams to the end first, so that code, pools and heap have their size before memory is compared. */
async function warm(job: Job): Promise<void> {
  let left = 20;
  let done = () => {};
  const over = new Promise<void>((resolve) => done = resolve);
  const connections = await open({ ...job, connections: 50 }, {
    end(connection) {
      if (left-- > 0) connection.send(url(job, 1000, "generator"));
      else done();
    },
  });
  for (const connection of connections) connection.send(url(job, 1000, "generator"));
  await Promise.race([over, sleep(5000)]);
  await sleep(200);
  for (const connection of connections) connection.close();
  await sleep(100);
}

/** Streams that sent one token and are silent: resident bytes of the server for each. */
async function idle(job: Job): Promise<Figures> {
  await warm(job);
  const before = await settle(job);
  let opened = 0;
  const seen = new Set<Connection>();
  const connections = await open(job, {
    data(connection, chunk) {
      if (seen.has(connection)) return;
      if (!Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length).includes("data:")) return;
      seen.add(connection);
      opened++;
    },
  });
  for (const [index, connection] of connections.entries()) {
    connection.send(url(job, 1));
    if (index % 100 === 99) await sleep(5);
  }
  for (const until = performance.now() + 10_000; performance.now() < until;) {
    if (opened >= job.connections) break;
    await sleep(50);
  }
  await sleep(job.ms);
  const after = await settle(job);
  return {
    kbPerStream: (after - before) / 1024 / job.connections,
    openedShare: opened / job.connections,
    baseMiB: before / 2 ** 20,
  };
}

/** A client that takes the first bytes and then nothing, against `n` tokens: how far the server's memory grows. */
async function stall(job: Job): Promise<Figures> {
  await warm(job);
  const before = await settle(job);
  const [reader] = await open({ ...job, connections: 1 }, {
    first: (connection) => connection.pause(),
  });
  reader!.send(url(job));
  let most = before;
  for (const until = performance.now() + job.ms; performance.now() < until;) {
    most = Math.max(most, residentBytes(job.pid));
    await sleep(20);
  }
  return {
    grownMiB: (most - before) / 2 ** 20,
    readBytes: reader!.bytes,
    baseMiB: before / 2 ** 20,
  };
}

const MODES = { burst, paced, first: firstToken, fairness, idle, stall };

if (import.meta.main) {
  const job = JSON.parse(process.argv[2]!) as Job;
  try {
    console.log(JSON.stringify(await MODES[job.mode](job)));
    process.exit(0);
  } catch (error) {
    console.log(JSON.stringify({ error: (error as Error).message }));
    process.exit(1);
  }
}
