/** The version and the placeholders stand in one place each, and a release with a placeholder fails. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import test from "node:test";
import { contradictions, obstacles, type Project, readProject } from "../scripts/release.ts";
import { root } from "./support/child.ts";

/** A project that can be released, with some of it changed. */
function project(change: (project: Project) => void = () => {}): Project {
  const ready: Project = {
    release: { repository: "https://code.example/spillway", jsrScope: "somebody" },
    manifest: {
      version: "1.2.3",
      exports: { ".": "./dist/mod.js", "./sse": "./dist/lib/sse.js", "./package.json": "" },
      repository: { type: "git", url: "git+https://code.example/spillway.git" },
    },
    deno: {
      name: "@somebody/spillway",
      version: "1.2.3",
      exports: { ".": "./mod.ts", "./sse": "./lib/sse.ts" },
      imports: { "spillway": "./mod.ts", "spillway/sse": "./lib/sse.ts" },
    },
    changelog:
      "# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2026-01-02\n\n## [1.2.2] - 2026-01-01\n",
    source: 'export const VERSION = "1.2.3";',
  };
  change(ready);
  return ready;
}

test("package.json, deno.json, release.json and the changelog agree", () => {
  assert.deepEqual(contradictions(readProject()), []);
});

test("no file that JSR serves imports one that it does not serve", () => {
  const { publish } = JSON.parse(readFileSync(join(root, "deno.json"), "utf8"));
  const paths = readdirSync(root + "lib", { recursive: true, encoding: "utf8" });
  const sources = ["mod.ts", ...paths.map((path) => `lib/${path.replaceAll("\\", "/")}`)];
  const served = sources.filter((path) =>
    path.endsWith(".ts") &&
    !publish.exclude.some((out: string) => path === out || path.startsWith(`${out}/`))
  );
  const missing = served.flatMap((path) => {
    const imports = readFileSync(join(root, path), "utf8")
      .matchAll(/^(?:import|export|\}) [^;]*?from "(\.[^"]+)";|import\("(\.[^"]+)"\)/gm);
    return [...imports].map(([, named, late]) => join(dirname(path), named ?? late!))
      .filter((file) => !served.includes(file)).map((file) => `${path} imports ${file}`);
  });
  assert(served.length > 80);
  assert.deepEqual(missing, []);
});

test("every entry that JSR serves is there", () => {
  const files = Object.values(readProject().deno.exports);
  assert(files.length > 7);
  assert.deepEqual(files.filter((file) => !existsSync(join(root, file))), []);
});

test("obstacles() of a project that is ready are none", () => {
  assert.deepEqual(obstacles(project(), "v1.2.3"), []);
});

for (
  const [what, change] of Object.entries<(project: Project) => void>({
    "deno.json: version is not 1.2.3": ({ deno }) => deno.version = "1.2.2",
    "lib/server/version.ts: it is not 1.2.3": (project) => project.source = 'VERSION = "1.2.2"',
    "deno.json: name is not @somebody/spillway": ({ deno }) => deno.name = "@placeholder/spillway",
    "package.json: repository is not git+https://code.example/spillway.git": ({ manifest }) =>
      delete manifest.repository,
    "CHANGELOG.md: the newest release is 1.3.0, not 1.2.3": (project) =>
      project.changelog = `## [1.3.0] - 2026-02-01\n${project.changelog}`,
    "deno.json: exports has other entries than package.json": ({ manifest }) =>
      manifest.exports["./node"] = "./dist/lib/node.js",
    "deno.json: imports has another file for ./sse": ({ deno }) =>
      deno.imports["spillway/sse"] = "./mod.ts",
  })
) {
  test(`contradictions() finds "${what}"`, () => {
    assert.deepEqual(contradictions(project(change)), [what]);
  });
}

test("obstacles() finds each placeholder, a release that the changelog has not, and a wrong tag", () => {
  const unfilled = project(({ release, manifest, deno }) => {
    release.repository = "https://repository.invalid/spillway";
    release.jsrScope = "placeholder";
    manifest.repository = { type: "git", url: "git+https://repository.invalid/spillway.git" };
    deno.name = "@placeholder/spillway";
  });
  unfilled.changelog = "## [Unreleased]\n";
  assert.deepEqual(obstacles(unfilled, "v1.2.4"), [
    "release.json: repository is a placeholder",
    "release.json: jsrScope is a placeholder",
    'CHANGELOG.md: there is no heading "## [1.2.3] - <date>"',
    "the tag v1.2.4 is not v1.2.3",
  ]);
});

test("npm publish runs the check first, and it fails while something stands against it", () => {
  const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  assert.equal(scripts.prepublishOnly, "bun scripts/release.ts");
  const [command, ...args] = scripts.prepublishOnly.split(" ");
  const file = join(root, "node_modules", ".bin", command);
  const { status, stderr } = spawnSync(file, [...args, "v0.0.0"], { cwd: root, encoding: "utf8" });
  assert.equal(status, 1);
  assert.match(stderr, /^Cannot release: the tag v0\.0\.0 is not v/m);
  const expected = obstacles(readProject(), "v0.0.0").map((fault) => `Cannot release: ${fault}\n`);
  assert.equal(stderr, expected.join(""));
});

test("the workflows run what CI runs, and publish to both registries with provenance", () => {
  const read = (name: string) => readFileSync(join(root, ".github/workflows", name), "utf8");
  assert.match(read("ci.yml"), /run: \.ci\/run$/m);
  const release = read("release.yml");
  const jobs = release.slice(release.indexOf("\njobs:")).split(/\n(?= {2}\w+:\n)/).slice(1);
  assert.deepEqual(jobs.map((job) => job.trim().split(":")[0]), ["test", "npm", "jsr"]);
  const [tested = "", ...published] = jobs;
  assert.match(tested, /uses: \.\/\.github\/workflows\/ci\.yml/);
  for (const job of published) {
    assert.match(job, /needs: test$/m);
    assert.match(job, /id-token: write$/m);
    assert.match(job, /run: npx bun scripts\/release\.ts "\$GITHUB_REF_NAME"$/m);
  }
  assert.match(published[0]!, /run: npm publish --provenance --access public$/m);
  assert.match(published[1]!, /run: npx deno publish$/m);
  // Who publishes is told by a short-lived identity: there is no secret that could leak.
  assert.doesNotMatch(release, /secrets\./);
});
