/** A user's server, started as its own process and asked once. */
import { spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";

const TIMEOUT_MS = 20_000;

/** Starts a program that listens on `port`, asks it for a stream, and ends it. */
export async function firstAnswer(program, args, { cwd, env, port }) {
  const child = spawn(program, args, { cwd, env: { ...env, PORT: port, NODE_ENV: "production" } });
  let printed = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => printed += data);
  const ended = new Promise((resolve) => child.on("close", resolve));
  try {
    const response = await firstResponse(port, child, () => printed);
    return read(await response.text());
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
