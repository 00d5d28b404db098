/**
 * Chat completions through a gateway: many clients, each asking again as soon as its response is complete. Its deltas
 * say when the upstream, which is in this process, has sent them.
 */
import type { Connection } from "./connection.ts";
import { APART_MS, DELTAS, KILOBYTE_DELTAS, startDeltas } from "./deltas.ts";
import { failed, type Figures, type Job, open, sleep, startWindow } from "./job.ts";
import { Histogram } from "./measure.ts";
import { lateness } from "./pacer.ts";
import { StampReader } from "./paced.ts";

/** From the first delta of a stream to its last. */
const STREAM_SECONDS = (DELTAS - 1) * APART_MS / 1000;
const WARM_UP_MS = 1500;

/** The request of a job, `{upstream}` in its headers replaced by where the upstream is. */
function requestOf({ path, pacerPort, headers = {} }: Job, model: string): string {
  const messages = [{ role: "user", content: "Hello?" }];
  const body = JSON.stringify({ model, stream: true, messages });
  const lines = Object.entries(headers).map(([name, value]) =>
    `${name}: ${value.replace("{upstream}", `http://127.0.0.1:${pacerPort}`)}\r\n`
  );
  return `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n` +
    `Authorization: Bearer none\r\n${lines.join("")}Content-Length: ${body.length}\r\n\r\n${body}`;
}

/** Short answers for a while: engines need some hundred requests to compile what they run. */
async function warmUp(job: Job, port: number): Promise<void> {
  const request = requestOf(job, "kilobyte");
  const connections = await open({ ...job, port, connections: 32 }, {
    end: (connection) => connection.sendRequest(request),
  });
  for (const connection of connections) connection.sendRequest(request);
  await sleep(WARM_UP_MS);
  const failure = failed(connections);
  if (failure !== undefined) throw new Error(failure);
  for (const connection of connections) connection.close();
}

/** Where a client is in its response. */
type Client = { reader: StampReader; askedMs: number; deltas: number };

export async function gateway(job: Job): Promise<Figures> {
  const isShort = job.n === KILOBYTE_DELTAS;
  const request = requestOf(job, isShort ? "kilobyte" : "deltas");
  const clients = new Map<Connection, Client>();
  let [firsts, others, wholes] = [new Histogram(), new Histogram(), new Histogram()];
  let measuring = false;
  let wrong: string | undefined;
  const ask = (connection: Connection) => {
    const client = clients.get(connection)!;
    client.deltas = 0;
    client.askedMs = performance.now();
    connection.sendRequest(request);
  };
  await startDeltas(job.pacerPort);
  const port = job.asksUpstream === true ? job.pacerPort : job.port;
  await warmUp(job, port);
  const connections = await open({ ...job, port }, {
    data(connection, chunk) {
      const client = clients.get(connection)!;
      client.reader.read(chunk, (sent) => {
        client.deltas++;
        if (!measuring) return;
        if (client.deltas === 1) firsts.add(performance.now() - client.askedMs);
        else others.add(lateness(sent));
      });
    },
    end(connection) {
      const client = clients.get(connection)!;
      if (client.deltas !== job.n) wrong ??= `${client.deltas} deltas of ${job.n}`;
      if (measuring) wholes.add(performance.now() - client.askedMs);
      ask(connection);
    },
  });
  for (const connection of connections) {
    clients.set(connection, { reader: new StampReader(), askedMs: 0, deltas: 0 });
    ask(connection);
    // Spread over the length of a stream, as requests come.
    if (!isShort) await sleep(DELTAS * APART_MS / connections.length);
  }
  await sleep(job.warmMs);
  [firsts, others, wholes] = [new Histogram(), new Histogram(), new Histogram()];
  const endWindow = await startWindow(job);
  measuring = true;
  await sleep(job.ms);
  measuring = false;
  const { seconds, serverNs, serverShare, coreShare, loadShare } = await endWindow();
  const failure = failed(connections) ?? wrong;
  if (failure !== undefined) throw new Error(failure);
  return {
    firstTokenP50: firsts.percentile(0.5),
    firstTokenP99: firsts.percentile(0.99),
    ...(isShort ? { requestsPerSecond: wholes.count / seconds } : {
      tokenP50: others.percentile(0.5),
      tokenP99: others.percentile(0.99),
      deliveredShare: (firsts.count + others.count) /
        (job.connections * seconds * DELTAS / STREAM_SECONDS),
    }),
    usPerRequest: serverNs / 1000 / wholes.count,
    serverShare,
    coreShare,
    loadShare,
  };
}
