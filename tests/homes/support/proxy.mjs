/** Starts a proxy with its recipe in front of the home on Bun. */
import { spawn } from "node:child_process";
import { accessSync, constants, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { freePort, startHome } from "./home.mjs";
import { QUICK } from "./homes.mjs";
import { until } from "./judge.mjs";

const recipes = fileURLToPath(new URL("../recipes", import.meta.url));

/** The rest of each configuration, and how it is run; what the distribution does is left out. */
const KINDS = {
  nginx: {
    recipe: "nginx.conf",
    wrap: (recipe, port, folder) => `
      daemon off;
      worker_processes 1;
      pid ${folder}/pid;
      error_log ${folder}/error.log;
      events {}
      http {
        access_log off;
        gzip on;
        gzip_types *;
        client_body_buffer_size 1m;
        ${
      ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map((name) => `${name}_temp_path ${folder}/${name};`).join("\n")
    }
        server {
          listen 127.0.0.1:${port};
          ${recipe}
        }
      }`,
    command: (file) => ["nginx", "-c", file, "-e", "stderr"],
  },
  caddy: {
    recipe: "Caddyfile",
    wrap: (recipe, port) =>
      `{
      admin off
      auto_https off
    }
    http://127.0.0.1:${port} {
      ${recipe}
    }`,
    command: (
      file,
    ) => ["caddy", "run", "--adapter", "caddyfile", "--config", file],
  },
  haproxy: {
    recipe: "haproxy.cfg",
    wrap: (recipe, port) => `
defaults
  mode http
  timeout connect 5s
  timeout client 60s
frontend all
  bind 127.0.0.1:${port}
  default_backend spillway
${recipe}`,
    command: (file) => ["haproxy", "-db", "-f", file],
  },
  apache: {
    recipe: "apache.conf",
    wrap: (recipe, port, folder) => `
ServerName localhost
ServerRoot ${folder}
PidFile ${folder}/pid
ErrorLog ${folder}/error.log
DefaultRuntimeDir ${folder}
Mutex file:${folder}
Listen 127.0.0.1:${port}
${
      ["mpm_event", "authz_core", "proxy", "proxy_http", "filter", "deflate"]
        .map((name) => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so`).join(
          "\n",
        )
    }
SetOutputFilter DEFLATE
${recipe}`,
    command: (file) => ["apache2", "-DFOREGROUND", "-f", file],
  },
};

export const PROXIES = [
  { name: "nginx", proxy: "nginx", encoding: "gzip" },
  { name: "Caddy", proxy: "caddy" },
  { name: "HAProxy", proxy: "haproxy" },
  {
    name: "HAProxy without http-no-delay",
    proxy: "haproxy",
    without: /^.*http-no-delay.*\n/m,
    known: {
      "paced tokens come one by one, when they are sent": "it gathers them for 200 ms",
    },
  },
  { name: "Apache", proxy: "apache", encoding: "gzip" },
];

/** Whether its program is on this machine. */
export function isThere({ proxy }) {
  const [program] = KINDS[proxy].command("");
  return [...process.env.PATH.split(delimiter), "/usr/sbin"].some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

export async function startProxy(home) {
  const { recipe, wrap, command } = KINDS[home.proxy];
  const upstream = await startHome(QUICK.find(({ on }) => on === "bun"));
  const folder = mkdtempSync(join(tmpdir(), "spillway-proxy-"));
  const port = await freePort();
  const lines = readFileSync(join(recipes, recipe), "utf8").replace(
    home.without ?? "",
    "",
  )
    .replaceAll("127.0.0.1:8000", new URL(upstream.url).host);
  const file = join(folder, recipe);
  writeFileSync(file, wrap(lines, port, folder));
  const [program, ...args] = command(file);
  const env = {
    ...process.env,
    HOME: folder,
    PATH: `${process.env.PATH}${delimiter}/usr/sbin`,
  };
  const child = spawn(program, args, {
    env,
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (data) => output += data);
  }
  child.on("error", (error) => output += error.message);
  const kill = () => {
    try {
      process.kill(-child.pid, "SIGKILL");
    } catch {
      // It has ended by itself.
    }
  };
  process.on("exit", kill);
  const stop = async () => {
    kill();
    process.off("exit", kill);
    await upstream.stop();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await until(() => connects(port), 30_000, "it does not listen");
  } catch (error) {
    await stop();
    throw new Error(`${home.name}: ${error.message}\n${output.slice(-2000)}`);
  }
  return {
    ...home,
    url: `http://127.0.0.1:${port}/ask`,
    output: upstream.output,
    stop,
  };
}

function connects(port) {
  return new Promise((resolve) => {
    const socket = createConnection(port, "127.0.0.1", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}
