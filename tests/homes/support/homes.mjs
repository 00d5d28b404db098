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
