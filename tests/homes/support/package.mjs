/**
 * Puts the package, as npm gets it, where the homes find it: packed from this checkout, or what
 * SPILLWAY_PACKAGE names (a tarball, or an unpacked folder).
 */
import { execFileSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
} from "node:fs";
import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const homes = fileURLToPath(new URL("..", import.meta.url));
const run = (command, ...args) =>
  execFileSync(command, args, {
    cwd: root,
    stdio: ["ignore", "pipe", "inherit"],
    encoding: "utf8",
  });

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
  const { scripts, version } = JSON.parse(
    readFileSync(join(root, "package.json"), "utf8"),
  );
  if (given === undefined && scripts.prepack === undefined) {
    return compiled(work);
  }
  if (given === undefined) {
    run("npm", "pack", "--loglevel=error", "--pack-destination", work);
  }
  run(
    "tar",
    "-xzf",
    given ?? join(work, `spillway-${version}.tgz`),
    "-C",
    work,
  );
  return join(work, "package");
}

/** What `prepack` will do, for as long as there is none. */
function compiled(work) {
  const folder = join(work, "compiled");
  mkdirSync(folder);
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const exports = Object.entries(manifest.exports)
    .map((
      [name, path],
    ) => [name, path.replace("./", "./dist/").replace(/\.ts$/, ".js")]);
  const { name, version, type, sideEffects } = manifest;
  writeFileSync(
    join(folder, "package.json"),
    JSON.stringify({
      name,
      version,
      type,
      sideEffects,
      exports: Object.fromEntries(exports),
    }),
  );
  const settings = join(root, `tsconfig.homes-${process.pid}.json`);
  const compilerOptions = {
    noEmit: false,
    allowImportingTsExtensions: false,
    rewriteRelativeImportExtensions: true,
    module: "NodeNext",
    moduleResolution: "NodeNext",
    target: "ES2022",
    declaration: false,
    isolatedDeclarations: false,
    rootDir: ".",
    outDir: join(folder, "dist"),
  };
  const files = Object.values(manifest.exports);
  try {
    writeFileSync(
      settings,
      JSON.stringify({
        extends: "./tsconfig.json",
        compilerOptions,
        include: [],
        files,
      }),
    );
    run(
      process.execPath,
      join(root, "node_modules/typescript/bin/tsc"),
      "-p",
      settings,
    );
  } finally {
    rmSync(settings);
  }
  return folder;
}
