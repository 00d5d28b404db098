/** A user's server, started as its own process and asked once. */
import { spawn } from "node:child_process";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";

const TIMEOUT_MS = 30_000;

/** Starts a program that listens on `port`, asks it for a stream, and ends it. */
export async function firstAnswer(program, args, options) {
  const ask = async (_url, response) => read(await response.text());
  return await whileServing(program, args, { ...options, ask });
}

/** Starts a program that listens on `port`, returns what `ask` does with its address, and ends it. */
export async function whileServing(program, args, { cwd, env, port, ask }) {
  const child = spawn(program, args, { cwd, env: { ...env, PORT: port, NODE_ENV: "production" } });
  let printed = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => printed += data);
  const ended = new Promise((resolve) => child.on("close", resolve));
  try {
    const response = await firstResponse(port, child, () => printed);
    return await ask(`http://127.0.0.1:${port}`, response);
  } finally {
    child.kill("SIGKILL");
    await ended;
  }
}

async function firstResponse(port, child, printed) {
  const deadline = Date.now() + TIMEOUT_MS;
  for (;;) {
    try {
      return await fetch(`http://127.0.0.1:${port}/?query=Hello`);
    } catch (error) {
      const isOver = Date.now() > deadline || child.exitCode !== null;
      if (isOver) throw new Error(`no server: ${printed()}`, { cause: error });
      await sleep(50);
    }
  }
}

/** Starts the command `spillway` in a way that npm has, ends npm, and says whether the server has ended. */
export async function endsWithNpm(args, { cwd, env, port }) {
  // A group of its own, so that nothing is left when the server has not ended.
  const options = { cwd, env: { ...env, PORT: port }, stdio: "ignore", detached: true };
  const child = spawn("npm", args, options);
  const health = () => fetch(`http://127.0.0.1:${port}/health`).then((response) => response.text());
  try {
    await firstResponse(port, child, () => "");
    child.kill("SIGTERM");
    for (const deadline = Date.now() + 15_000; Date.now() < deadline; await sleep(50)) {
      if (!await health().catch(() => undefined)) return true;
    }
    return false;
  } finally {
    try {
      process.kill(-child.pid, "SIGKILL");
    } catch {
      // Nothing is left.
    }
  }
}

/** The text of a stream in the format `json`, and whether it came to its end. */
function read(body) {
  const blocks = body.split("\n\n").map((block) => /^data: (.*)$/m.exec(block)?.[1]).filter(
    Boolean,
  );
  const events = blocks.map((data) => JSON.parse(data));
  return {
    text: events.map(({ token = "" }) => token).join(""),
    isDone: events.at(-1)?.reason === "completed",
  };
}
