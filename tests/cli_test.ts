/** The command `spillway`, on every runtime: what the server entry does, and that it listens by itself. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import {
  type Child,
  DENO_RUN,
  listening,
  PATIENCE_MS,
  root,
  RUNTIMES,
  startChild,
} from "./support/child.ts";
import { rawRequest, until } from "./support/serve.ts";

function startCli(runtime: typeof RUNTIMES[number], flags: string[], environment = {}): Child {
  const before = runtime === "deno" ? DENO_RUN : [];
  return startChild(runtime, [...before, "lib/cli.ts", ...flags], environment);
}

for (const runtime of RUNTIMES) {
  test(`${runtime}: spillway --help names the command and its flags`, async () => {
    const child = startCli(runtime, ["--help"]);
    await until(() => child.exit !== undefined, PATIENCE_MS, "an exit");
    assert.deepEqual([child.exit, child.errors], [0, ""]);
    assert.match(child.output, /^ {2}npx spillway \[flags\]$/m);
    assert.match(child.output, /^ {2}npx spillway doctor URL /m);
    assert.match(child.output, /--port NUMBER +PORT +8000/);
  });

  test(`${runtime}: spillway --version prints the version of the package`, async () => {
    const child = startCli(runtime, ["--version"]);
    await until(() => child.exit !== undefined, 10_000, "an exit");
    const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    assert.deepEqual([child.exit, child.output, child.errors], [0, `${version}\n`, ""]);
  });

  test(`${runtime}: spillway streams, and drains`, async () => {
    const entry = await listening(startCli(runtime, ["--port", "0", "--token-delay-ms=20"]));
    try {
      const response = await fetch(`${entry.url}/streaming`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ query: "drained" }),
      });
      entry.child.kill("SIGTERM");
      const text = await response.text();
      assert.match(text, /event: done\n/);
      assert.equal(text.match(/"token"/g)?.length, 7);
      await until(() => entry.child.exit !== undefined, PATIENCE_MS, "an exit");
      assert.deepEqual([entry.child.exit, entry.child.errors], [0, ""]);
    } finally {
      await entry.child.stop();
    }
  });

  test(`${runtime}: spillway serves no other name on loopback, and takes no taken port`, async () => {
    const entry = await listening(startCli(runtime, ["--port", "0"]));
    const other = startCli(runtime, ["--port", String(entry.port)]);
    try {
      const foreign = await rawRequest(entry.port, { path: "/health", host: "a.example" });
      await until(() => foreign.received.includes("\r\n\r\n"), 20_000, "a response");
      assert.match(foreign.received, /^HTTP\/1\.1 421 /);
      foreign.socket.destroy();
      await until(() => other.exit !== undefined, PATIENCE_MS, "an exit");
      assert.equal(other.exit, 1);
      const line = `spillway: cannot listen on 127.0.0.1:${entry.port}: the port is taken; ` +
        "set another with PORT or --port, 0 is any free one\n";
      assert.deepEqual([other.errors, other.output], [line, ""]);
    } finally {
      await Promise.all([entry.child.stop(), other.stop()]);
    }
  });

  test(`${runtime}: spillway says of what is no command that it is none`, async () => {
    const child = startCli(runtime, ["serve"]);
    await until(() => child.exit !== undefined, PATIENCE_MS, "an exit");
    assert.deepEqual([child.exit, child.output], [1, ""]);
    assert.match(child.errors, /^spillway: "serve" is no flag here; --help lists them\n$/);
  });
}

test("spillway doctor judges the path of a running server, and exits with what it found", async () => {
  const entry = await listening(startCli("node", ["--port", "0"], { API_KEYS: "s3cret" }));
  const key = ["--header", "Authorization: Bearer s3cret"];
  const quick = ["--paced", "--silence-ms", "200", "--connections", "2"];
  const asked = [
    ...RUNTIMES.map((runtime) =>
      [
        0,
        / 30 in [^]*\nconnections {2}2 of 2 at once\n\nGood: tokens arrive/,
        startCli(runtime, ["doctor", entry.url, ...quick, ...key]),
      ] as const
    ),
    [
      2,
      /"reason": "the response is 401/,
      startCli("bun", ["doctor", entry.url, "--json"]),
    ] as const,
  ];
  try {
    for (const [exit, printed, child] of asked) {
      await until(() => child.exit !== undefined, PATIENCE_MS, "an exit");
      assert.equal(child.errors, "");
      assert.equal(child.exit, exit, child.output);
      assert.match(child.output, printed);
      assert.ok(!child.output.includes("\x1b"));
    }
  } finally {
    await Promise.all([entry.child, ...asked.map(([, , child]) => child)].map((one) => one.stop()));
  }
});
