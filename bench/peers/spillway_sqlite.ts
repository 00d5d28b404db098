/** Spillway with a `SqliteLog` at its defaults, in a new file that the runner removes. */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { SqliteLog } from "../../lib/sqlite.ts";
import { sse } from "../../mod.ts";
import { generate, query, serve } from "../producers.ts";

const folder = mkdtempSync(join(process.env["FOLDER"] ?? tmpdir(), "log-"));
const log = new SqliteLog(join(folder, "log.db"));

serve((request) => {
  const asked = query(request.url);
  return sse(request, () => generate(asked), { format: asked.format as "text", log });
});
