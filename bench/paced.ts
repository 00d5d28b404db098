/** Paced streams, read by the load generator: the stamps in their tokens say how late each of them is. */
import type { Connection } from "./connection.ts";
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
import { Histogram, residentBytes } from "./measure.ts";
import { lateness, STAMP_LENGTH, startPacer } from "./pacer.ts";

const AT = 0x40;

/** Reads the stamps out of a paced stream, also one that is cut by a chunk's end. */
export class StampReader {
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
export async function paced(job: Job): Promise<Figures> {
  await startPacer(job.pacerPort);
  return await streams(job);
}

async function streams(job: Job): Promise<Figures> {
  const readers = new Map<Connection, StampReader>();
  const seconds = job.ms / 1000;
  const endless = Math.ceil((job.warmMs / 1000 + seconds + 30) * 50);
  let late = new Histogram();
  let measuring = false;
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
  const resident = residentBytes(job.pid);
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
    residentMiB: resident / 2 ** 20,
    serverShare: window.serverShare,
    coreShare: window.coreShare,
    loadShare: window.loadShare,
    loadCoreShare: window.loadCoreShare,
  };
}

const WARM_UP_MS = 2000;

/** The same after a warm-up, with what the server's memory has grown by: garbage counts, for a machine has to hold it. */
export async function rung(job: Job): Promise<Figures> {
  await startPacer(job.pacerPort); // a raw socket has no other source, and streams from it in the warm-up
  await warm(job, WARM_UP_MS);
  const before = await settle(job);
  const figures = await streams(job);
  const grown = figures["residentMiB"]! * 2 ** 20 - before;
  return { ...figures, kbPerStream: grown / 1024 / job.connections };
}
