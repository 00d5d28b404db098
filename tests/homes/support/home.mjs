/** Starts a home: its recipe with the model beside it, in a folder of its own, on a free port. */
import { spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, rmSync, symlinkSync } from "node:fs";
import http from "node:http";
import { createServer } from "node:net";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { until } from "./judge.mjs";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const homes = fileURLToPath(new URL("..", import.meta.url));
const bin = join(root, "node_modules", ".bin");

/** How a recipe without a build is run. */
const RUNTIMES = {
  node: [process.execPath],
  bun: [join(bin, "bun")],
  // The checkout's own configuration has other names for the package.
  deno: [
    join(bin, "deno"),
    "run",
    "-A",
    "--no-config",
    "--no-lock",
    "--node-modules-dir=manual",
  ],
};

/**
 * @param home `recipe`: the file in `recipes/`. `on`: a runtime. For a framework with files of its own:
 * `app`, the folder in `apps/` that is copied; `route`, where the recipe stands in it; `build` and
 * `start`, its commands; `models`, where the recipe expects its model, if not beside it. `alias`: the packages that the recipe finds under another name.
 */
export async function startHome(home) {
  const {
    name,
    recipe,
    on,
    app,
    build,
    start,
    route,
    models,
    alias = {},
    packages = "",
  } = home;
  const folder = join(homes, packages, ".work", name.replaceAll(/\W+/g, "_"));
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  if (app !== undefined) {
    cpSync(join(homes, "built", "apps", app), folder, { recursive: true });
  }
  const file = join(folder, route ?? recipe);
  mkdirSync(dirname(file), { recursive: true });
  cpSync(join(homes, "recipes", recipe), file);
  for (const beside of ["model.js", "hostile.js"]) {
    cpSync(
      join(homes, "support", beside),
      join(models === undefined ? dirname(file) : join(folder, models), beside),
    );
  }
  for (const [as, from] of Object.entries(alias)) {
    mkdirSync(join(folder, "node_modules"), { recursive: true });
    symlinkSync(
      join(homes, packages, "node_modules", from),
      join(folder, "node_modules", as),
    );
  }

  const port = await freePort();
  const modules = join(homes, packages, "node_modules");
  const ownNode = join(modules, "node", "bin", "node");
  const env = {
    ...process.env,
    PATH: [join(modules, ".bin"), bin, process.env.PATH].join(delimiter),
    PORT: String(port),
    HOST: "127.0.0.1",
    NODE_ENV: "production",
    NO_COLOR: "1",
    CI: "1",
    NEXT_TELEMETRY_DISABLED: "1",
    ASTRO_TELEMETRY_DISABLED: "1",
  };
  const launch = (command) => {
    let [program, ...args] = command;
    if (on === "node" && existsSync(ownNode)) {
      program = program === process.execPath ? ownNode : program;
    }
    return spawn(program, args, {
      cwd: folder,
      env,
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
  };
  if (build !== undefined) await finished(launch(build), `${name}: the build`);

  const server = launch(start?.(port) ?? [...RUNTIMES[on], recipe]);
  let output = "";
  for (const stream of [server.stdout, server.stderr]) {
    stream.setEncoding("utf8");
    stream.on("data", (text) => output += text);
  }
  server.on("error", (error) => output += `${error.message}\n`);
  const stop = () => {
    // A launcher's children are in its group.
    try {
      process.kill(-server.pid, "SIGKILL");
    } catch {
      // It has ended by itself.
    }
  };
  process.on("exit", stop);
  const url = `http://127.0.0.1:${port}/ask`;
  try {
    await until(
      async () => {
        if (server.exitCode !== null) throw new Error("it has ended");
        return await statusOf(`${url}?case=hostile`) === 200;
      },
      30_000,
      "it does not serve",
    );
  } catch (error) {
    stop();
    throw new Error(`${name}: ${error.message}\n${output.slice(-3000)}`);
  }
  return {
    ...home,
    url,
    output: () => output,
    async stop() {
      stop();
      if (server.exitCode === null && server.signalCode === null) {
        await new Promise((resolve) => server.on("exit", resolve));
      }
      process.off("exit", stop);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function statusOf(url) {
  return new Promise((resolve) => {
    http.get(url, { agent: false }, (response) => {
      response.resume();
      response.on("close", () => resolve(response.statusCode));
    }).on("error", () => resolve(0));
  });
}

export function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

async function finished(child, name) {
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (data) => output += data);
  }
  const code = await new Promise((resolve) => {
    child.on("close", resolve);
    child.on("error", (error) => {
      output += error.message;
      resolve(1);
    });
  });
  if (code !== 0) {
    throw new Error(`${name} ended with ${code}\n${output.slice(-3000)}`);
  }
}
