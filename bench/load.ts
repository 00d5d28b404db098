/**
 * The load generator, a process of its own on a core of its own: raw sockets under Bun, one mode per question.
 * It takes its job as JSON in the first argument, prints one JSON line, and says how busy its own core was, so that
 * a figure limited by the client is never taken for the server's.
 */
import process from "node:process";
import { readBody } from "./body.ts";
import type { Connection } from "./connection.ts";
import { text } from "./inputs.ts";
import {
  failed,
  type Figures,
  type Job,
  open,
  settle,
  sleep,
  startWindow,
  url,
  warm,
} from "./job.ts";
import { percentile, residentBytes } from "./measure.ts";
import { gateway } from "./gateway.ts";
import { paced, rung } from "./paced.ts";

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
  const { seconds, serverNs, entries, scripts, loadCoreShare: _, ...shares } = await ended;
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

const MODES = { burst, paced, rung, gateway, first: firstToken, fairness, idle, stall };

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
