/**
 * Puts the package, as npm gets it, where the homes find it: packed from this checkout, or what
 * SPILLWAY_PACKAGE names (a tarball, or an unpacked folder).
 */
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const homes = fileURLToPath(new URL("..", import.meta.url));
const run = (command, ...args) =>
  execFileSync(command, args, { cwd: root, stdio: ["ignore", "ignore", "inherit"] });

/** Replaces the installed package in each folder of packages that is there. */
export function installPackage() {
  const work = mkdtempSync(join(tmpdir(), "spillway-homes-"));
  try {
    const source = unpacked(work);
    for (const folder of ["", "built"]) {
      const modules = join(homes, folder, "node_modules");
      if (!existsSync(modules)) continue;
      const fresh = join(modules, `.spillway-${process.pid}`);
      cpSync(source, fresh, { recursive: true });
      rmSync(join(modules, "spillway"), { recursive: true, force: true });
      renameSync(fresh, join(modules, "spillway"));
    }
  } finally {
    rmSync(work, { recursive: true });
  }
}

function unpacked(work) {
  const given = process.env.SPILLWAY_PACKAGE;
  if (given !== undefined && !given.endsWith(".tgz")) return given;
  if (given === undefined) run("npm", "pack", "--loglevel=error", "--pack-destination", work);
  const tarball = given ?? join(work, readdirSync(work).find((name) => name.endsWith(".tgz")));
  run("tar", "-xzf", tarball, "-C", work);
  return join(work, "package");
}
