/** The homes, with what is known of each. */

/** Those that need no build. */
export const QUICK = [
  { name: "Bun.serve", recipe: "bun.js", on: "bun" },
  { name: "Deno.serve", recipe: "deno.js", on: "deno" },
  { name: "node:http", recipe: "node.js", on: "node" },
  { name: "Express", recipe: "express.js", on: "node" },
  { name: "Express after json()", recipe: "express_json.js", on: "node" },
  { name: "Hono on node-server", recipe: "hono_node.js", on: "node" },
  { name: "Fastify", recipe: "fastify.js", on: "node" },
];

const MODULES = "node_modules";
const built = (home) => ({ packages: "built", on: "node", ...home });
/** A command of Nitro's: two packages have a program of this name. */
const nitro = (
  name,
) => ["node", `../../${MODULES}/${name}/dist/cli/index.mjs`, "build"];

/** All others. */
export const LONG = [
  { name: "Hono on Bun", recipe: "hono.js", on: "bun" },
  {
    name: "Hono on Deno",
    recipe: "hono.js",
    on: "deno",
    start: (port) => [
      ..."deno serve -A --no-config --no-lock --node-modules-dir=manual --host 127.0.0.1"
        .split(" "),
      `--port=${port}`,
      "hono.js",
    ],
  },
  { name: "@hono/node-server", recipe: "node_server.js", on: "node" },
  built({
    name: "Next.js",
    recipe: "next.js",
    app: "next",
    route: "app/ask/route.js",
    build: ["next", "build"],
    start: (port) => ["next", "start", "-H", "127.0.0.1", "-p", String(port)],
  }),
  built({
    name: "SvelteKit",
    recipe: "sveltekit.js",
    app: "sveltekit",
    route: "src/routes/ask/+server.js",
    build: ["vite", "build"],
    start: () => ["node", "build/index.js"],
  }),
  built({
    name: "React Router",
    recipe: "react_router.js",
    app: "react_router",
    route: "app/routes/ask.js",
    build: ["react-router", "build"],
    start: () => ["react-router-serve", "build/server/index.js"],
  }),
  built({ name: "h3", recipe: "h3.js" }),
  built({ name: "srvx", recipe: "srvx.js" }),
  built({ name: "Elysia on Bun", recipe: "elysia.js", on: "bun" }),
  built({ name: "Elysia on Node", recipe: "elysia_node.js" }),
  built({
    name: "Nitro",
    recipe: "nitro.js",
    app: "nitro",
    route: "routes/ask.js",
    models: ".",
    build: nitro("nitro"),
    start: () => ["node", ".output/server/index.mjs"],
  }),
  built({ name: "NestJS", recipe: "nest.js", app: "nest" }),
  built({ name: "h3 1", recipe: "h3_1.js", alias: { h3: "h3-1" } }),
  built({
    name: "Nitro 2",
    recipe: "nitro_2.js",
    app: "nitro_2",
    route: "routes/ask.js",
    models: ".",
    alias: { h3: "h3-1" },
    build: nitro("nitropack"),
    start: () => ["node", ".output/server/index.mjs"],
  }),
  built({
    name: "Lambda, simulated",
    recipe: "lambda.js",
    app: "lambda",
    start: () => ["node", "serve.js"],
  }),
  built({
    name: "Astro",
    recipe: "astro.js",
    app: "astro",
    route: "src/pages/ask.js",
    models: "src",
    build: ["astro", "build"],
    start: () => ["node", "dist/server/entry.mjs"],
    known: {
      "a client that takes nothing stops the source": "Astro takes what it is given",
    },
  }),
];
