/**
 * `npm run build`: what npm gets, in `dist/`: JavaScript, declarations and source maps of every entry.
 * The sources stay TypeScript, which Bun, Deno and Node run from a checkout; below `node_modules`
 * Deno and Node refuse it.
 */
import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
rmSync(`${root}dist`, { recursive: true, force: true });
const compiler = `${root}node_modules/typescript/bin/tsc`;
const { status } = spawnSync(process.execPath, [compiler, "-p", "tsconfig.build.json"], {
  cwd: root,
  stdio: "inherit",
});
process.exitCode = status ?? 1;
