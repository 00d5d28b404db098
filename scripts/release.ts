/**
 * What a release has to agree on. `package.json` has the version, and `release.json` where the code
 * stands and the scope on JSR; `--write` copies them to where the registries read them. Without it,
 * every reason against a release is printed, and one is enough to fail: `npm publish` calls it so.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** The files that have to agree. */
export interface Project {
  /** `release.json`: what only the owner of the project can fill in. */
  release: { repository: string; jsrScope: string };
  /** `package.json`. */
  manifest: {
    version: string;
    exports: Record<string, unknown>;
    repository?: { type: string; url: string };
  };
  /** `deno.json`. */
  deno: {
    name?: string;
    version?: string;
    exports: Record<string, string>;
    imports: Record<string, string>;
  };
  /** `CHANGELOG.md`. */
  changelog: string;
  /** `lib/server/version.ts`: what the server says of itself. */
  source: string;
}

const root = fileURLToPath(new URL("..", import.meta.url));

/** The file of the sources that has the version. */
const SOURCE = "lib/server/version.ts";

function textOf(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

/** The project as it stands. */
export function readProject(): Project {
  return {
    release: JSON.parse(textOf("release.json")),
    manifest: JSON.parse(textOf("package.json")),
    deno: JSON.parse(textOf("deno.json")),
    changelog: textOf("CHANGELOG.md"),
    source: textOf(SOURCE),
  };
}

/** What the registries read, as `package.json` and `release.json` have it. */
function wanted({ release, manifest }: Project) {
  return {
    name: `@${release.jsrScope}/spillway`,
    version: manifest.version,
    repository: { type: "git", url: `git+${release.repository}.git` },
  };
}

/** The newest release of the changelog, without what is not released yet. */
function newestOf(changelog: string): string | undefined {
  const [newest] = [...changelog.matchAll(/^## \[([^\]]+)\]/gm)].map(([, name]) => name!)
    .filter((name) => name !== "Unreleased");
  return newest;
}

/** Where the files say different things; none at any commit. */
export function contradictions(project: Project): string[] {
  const { manifest, deno, changelog, source } = project;
  const { name, version, repository } = wanted(project);
  const faults: string[] = [];
  if (deno.version !== version) faults.push(`deno.json: version is not ${version}`);
  if (deno.name !== name) faults.push(`deno.json: name is not ${name}`);
  if (JSON.stringify(manifest.repository) !== JSON.stringify(repository)) {
    faults.push(`package.json: repository is not ${repository.url}`);
  }
  if (!source.includes(`VERSION = "${version}"`)) faults.push(`${SOURCE}: it is not ${version}`);
  const newest = newestOf(changelog);
  // Before the first release there is none.
  if (newest !== undefined && newest !== version) {
    faults.push(`CHANGELOG.md: the newest release is ${newest}, not ${version}`);
  }
  const paths = Object.keys(manifest.exports).filter((path) => path !== "./package.json");
  if (paths.sort().join() !== Object.keys(deno.exports).sort().join()) {
    faults.push("deno.json: exports has other entries than package.json");
  }
  for (const [path, file] of Object.entries(deno.exports)) {
    if (deno.imports[`spillway${path.slice(1)}`] === file) continue;
    faults.push(`deno.json: imports has another file for ${path}`);
  }
  return faults;
}

/** Why the project cannot be released now. `tag` is the tag of the release, if there is one yet. */
export function obstacles(project: Project, tag?: string): string[] {
  const { release, manifest: { version }, changelog } = project;
  const faults = contradictions(project);
  if (new URL(release.repository).hostname.endsWith(".invalid")) {
    faults.push("release.json: repository is a placeholder");
  }
  if (release.jsrScope === "placeholder") faults.push("release.json: jsrScope is a placeholder");
  if (!new RegExp(`^## \\[${version}\\] - \\d{4}-\\d\\d-\\d\\d$`, "m").test(changelog)) {
    faults.push(`CHANGELOG.md: there is no heading "## [${version}] - <date>"`);
  }
  if (tag !== undefined && tag !== `v${version}`) faults.push(`the tag ${tag} is not v${version}`);
  return faults;
}

/** Copies the version, the scope and the repository to where the registries read them. */
function write(project: Project): void {
  const { name, version, repository } = wanted(project);
  const save = (path: string, value: unknown) =>
    writeFileSync(join(root, path), `${JSON.stringify(value, null, 2)}\n`);
  save("package.json", { ...project.manifest, repository });
  save("deno.json", { ...project.deno, name, version });
  const source = project.source.replace(/VERSION = ".*"/, `VERSION = "${version}"`);
  writeFileSync(join(root, SOURCE), source);
}

if (import.meta.main) {
  const [argument] = process.argv.slice(2);
  if (argument === "--write") write(readProject());
  else {
    const faults = obstacles(readProject(), argument);
    for (const fault of faults) console.error(`Cannot release: ${fault}`);
    process.exitCode = faults.length === 0 ? 0 : 1;
  }
}
