/** `spillway doctor` before Debian's nginx: a good path, and one with each fault that nginx can have. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import test, { after, before } from "node:test";
import { doctor } from "../../lib/doctor.ts";
import { createHandler } from "../../lib/handler.ts";
import { paced } from "../../lib/sources/paced.ts";
import { root } from "../support/child.ts";
import { serve, type Served, until } from "../support/serve.ts";
import { freePort } from "../support/free_port.ts";
import { accepts } from "./stack.ts";

/** Each server of the configuration, with the flags that its fault needs. */
const FLAGS = {
  good: ["--silence-ms", "500"],
  buffers: ["--silence-ms", "0", "--connections", "1"],
  gzip: ["--silence-ms", "0", "--connections", "1"],
  idle: ["--connections", "1"],
  six: ["--silence-ms", "0"],
};
type Name = keyof typeof FLAGS;

interface Printed {
  readonly proxy: string;
  readonly notes: string[];
  readonly findings: { code: string; change: string }[];
  readonly measured: {
    tokens: { shape: string };
    silence?: { borneMs: number };
    connections?: { served: number };
  };
}

let folder: string;
let server: Served;
let nginx: ChildProcess;
let hasEnded = false;
const runs = new Map<string, Promise<[codes: string[], exit: number, printed: Printed]>>();

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "spillway-doctor-"));
  server = serve(createHandler({ source: paced("unused"), log: false }).fetch);
  let conf = (await readFile(join(root, "tests/stack/doctor.conf"), "utf8"))
    .replaceAll("TO;", `127.0.0.1:${server.port};`);
  const ports = new Map<Name, number>();
  for (const name of Object.keys(FLAGS) as Name[]) {
    ports.set(name, await freePort());
    conf = conf.replace(`PORT_${name}`, String(ports.get(name)));
  }
  await writeFile(join(folder, "nginx.conf"), conf);
  nginx = spawn("nginx", ["-p", folder, "-c", join(folder, "nginx.conf")], {
    env: { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin` },
    stdio: "ignore",
  });
  nginx.once("exit", () => hasEnded = true);
  while (!await accepts(ports.get("six")!)) {
    assert.ok(!hasEnded, "nginx has ended");
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  for (const [name, flags] of Object.entries(FLAGS)) {
    const url = `http://127.0.0.1:${ports.get(name as Name)}`;
    runs.set(name, run([url, "--paced", "--json", ...flags]));
  }
});
after(async () => {
  // Killed, it would leave its workers behind.
  process.kill(nginx.pid!, "SIGTERM");
  await until(() => hasEnded, 5000, "the end of nginx");
  await server.close();
  await rm(folder, { recursive: true });
});

async function run(args: string[]): Promise<[string[], number, Printed]> {
  let text = "";
  const print = (line: string) => void (text += line);
  const exit = await doctor(args, { print, printError: print, colour: false });
  const printed = JSON.parse(text) as Printed;
  return [printed.findings.map(({ code }) => code), exit, printed];
}

test("doctor finds nothing behind nginx as it should be", async () => {
  const [codes, exit, { proxy, notes }] = await runs.get("good")!;
  assert.deepEqual([codes, exit, proxy], [[], 0, "nginx"]);
  // What nginx keeps to itself is not missed.
  assert.ok(!notes.some((note) => /lacks/.test(note)), notes.join());
});

test("doctor names nginx that ignores X-Accel-Buffering, and the line to change", async () => {
  const [codes, exit, { findings }] = await runs.get("buffers")!;
  assert.deepEqual([codes, exit], [["buffering"], 1]);
  assert.match(findings[0]!.change, /^nginx, in this location: proxy_buffering off;/);
});

test("doctor does not blame nginx for compression that is flushed", async () => {
  const [codes, exit, { notes }] = await runs.get("gzip")!;
  assert.deepEqual([codes, exit], [[], 0]);
  assert.match(notes.join(), /compresses \(gzip\), and flushes after each token/);
});

test("doctor finds nginx's proxy_read_timeout of 3 s", async () => {
  const [codes, exit, { findings, measured }] = await runs.get("idle")!;
  assert.deepEqual([codes, exit], [["idle_cut"], 1]);
  const { borneMs } = measured.silence!;
  assert.ok(borneMs > 2500 && borneMs < 4500, String(borneMs));
  assert.match(
    findings[0]!.change,
    /proxy_read_timeout 60s; or, on the server: heartbeatMs: 1000 /,
  );
});

test("doctor finds nginx's limit of six connections", async () => {
  const [codes, exit, { findings, measured }] = await runs.get("six")!;
  assert.deepEqual([codes, exit, measured.connections?.served], [["connections"], 1, 6]);
  assert.equal(findings[0]!.change, "nginx: raise limit_conn for this location");
});
