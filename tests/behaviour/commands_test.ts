/**
 * What the documents have people type: every command that starts the server, and the line for curl that the
 * server prints. The server itself is the subject of `server_test.ts`; here it is the way to it.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { delimiter, join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { type Child, listening, PATIENCE_MS, root, startChild } from "../support/child.ts";
import { allGuides } from "../support/documents.ts";
import { until } from "../support/serve.ts";

const TUTORIAL = "Streaming responseのテスト";

const COMMANDS: Record<string, Parameters<typeof startChild>> = {
  "npm start": ["npm", ["start"]],
  "npm run server": ["npm", ["run", "server"]],
  "bun run server": ["bun", ["run", "server"]],
  "deno task serve": ["deno", ["task", "serve"]],
  "deno serve -A --host 127.0.0.1 lib/server.ts": [
    "deno",
    ["serve", "-A", "--host", "127.0.0.1", "lib/server.ts"],
  ],
};
const ENVIRONMENT = {
  PORT: "0",
  TOKEN_DELAY_MS: "5",
  PATH: `${join(root, "node_modules", ".bin")}${delimiter}${process.env.PATH}`,
};

/** Whether nobody listens on the port that Deno's commands name. */
const isFree = await new Promise<boolean>((resolve) => {
  const server = createServer();
  server.once("error", () => resolve(false));
  server.listen(8000, "127.0.0.1", () => server.close(() => resolve(true)));
});
const hasCurl = spawnSync("curl", ["--version"]).status === 0;

/** How many servers were started: each has a mark of its own in its environment. */
let started = 0;

/** The processes with a variable in their environment; none but on Linux. */
function processesWith(variable: string): { id: number; command: string }[] {
  if (!existsSync("/proc/self/environ")) return [];
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name)).flatMap((id) => {
    try {
      const environment = readFileSync(`/proc/${id}/environ`, "utf8").split("\0");
      if (!environment.includes(variable)) return [];
      return [{ id: Number(id), command: readFileSync(`/proc/${id}/cmdline`, "utf8") }];
    } catch {
      return []; // it has ended meanwhile, or is another user's
    }
  });
}

/** Ends a server as whoever started it does. */
async function end(child: Child): Promise<void> {
  child.kill("SIGTERM");
  await until(() => child.exit !== undefined, PATIENCE_MS, "an end");
}

for (const [command, [program, args]] of Object.entries(COMMANDS)) {
  const skip = program === "deno" && !isFree && "port 8000 is taken";
  test(`${command} serves what its own line for curl asks for, and ends with SIGTERM`, {
    skip,
  }, async () => {
    assert(allGuides.includes(command), "the documents say so");
    const mark = `${process.pid}-${++started}`;
    const child = startChild(program, args, { ...ENVIRONMENT, SPILLWAY_TEST: mark });
    try {
      const { url } = await listening(child);
      if (hasCurl) {
        await until(() => child.output.includes("/streaming\n"), PATIENCE_MS, "the line");
        const line = child.output.slice(child.output.indexOf("curl -N"));
        // The documents print the same one.
        const spaces = /\s+/g;
        const printed = line.trim().replaceAll(spaces, " ").replace(url, "http://127.0.0.1:8000");
        assert(allGuides.replaceAll(spaces, " ").includes(printed), printed);
        const curl = startChild("sh", ["-c", line]);
        await until(() => curl.exit !== undefined, PATIENCE_MS, "an answer");
        assert.equal(curl.exit, 0, curl.errors);
        const tokens = [...curl.output.matchAll(/^data: (.*)$/gm)].map(([, data]) =>
          JSON.parse(data!)
        );
        assert.deepEqual(tokens.pop(), { reason: "completed", tokens: 22 });
        assert.deepEqual(tokens.map(({ token }) => token), [...TUTORIAL]);
      }
      await end(child);
      // What npm has started must not outlive it: it is given a moment.
      const left = () => processesWith(`SPILLWAY_TEST=${mark}`);
      for (let i = 0; i < 20 && left().length > 0; i++) {
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      assert.deepEqual(left(), []);
      await assert.rejects(fetch(`${url}/health`), "nobody listens any more");
    } finally {
      await child.stop();
      for (const { id } of processesWith(`SPILLWAY_TEST=${mark}`)) process.kill(id, "SIGKILL");
    }
  });
}
