/** The words of the code: names that were given up stay away, and a name stands for one thing. */
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { root } from "./support/child.ts";

/** Names that the field has better words for (CONTRIBUTING.md, "Terms"). */
const GIVEN_UP = new Set(
  (
    "Supply Outlet spill spills turns Guest RemoteGuest guest guests Keeper Watcher keeper watcher " +
    "Letter RedisMail letter mail deaf Parcel Line parcel welcome isGreeting RedisShipper shipper " +
    "RedisFollowers followers lose judge isJudging disown orphaned spoil late tell told beat beats " +
    "Watched watched watch unwatch Watch Watchdog watchdog Live Places PlaceLimits keyholders " +
    "refuse refused refusals REFUSALS REFUSED refusedHead whole wholeJson needsLook " +
    "writeRare SURELY_SMALL Terminal createTerminal terminal ours supply outlet"
  ).split(" "),
);
/** Words for which readers would look in the wrong place if two things had them. */
const ONCE = ["Answer", "EVENT_STREAM", "ToolCall", "Page", "Request", "createStreamId"];

interface File {
  path: string;
  code: string;
}

/** The files of lib without comments, and without what stands in strings and templates. */
async function files(): Promise<File[]> {
  const paths = await readdir(join(root, "lib"), { recursive: true, encoding: "utf8" });
  const sources = paths.filter((path) =>
    path.endsWith(".ts") && !path.endsWith("pages/generated.ts")
  ).sort();
  return Promise.all(sources.map(async (path) => {
    const text = await readFile(join(root, "lib", path), "utf8");
    const code = text.replaceAll(
      /\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/g,
      " ",
    );
    return { path, code };
  }));
}

const lib = await files();

test("no name that was given up stands in lib/", () => {
  assert(lib.length > 50);
  const found = lib.flatMap(({ path, code }) =>
    [...new Set(code.match(/[A-Za-z_$][\w$]*/g))].filter((name) => GIVEN_UP.has(name))
      .map((name) => `${path}: ${name}`)
  );
  assert.deepEqual(found, []);
});

test("a name that was several things is declared once at most, and the global Request never", () => {
  for (const name of ONCE) {
    const declares = new RegExp(
      `\\b(?:class|interface|function|const) ${name}\\b|\\btype ${name}\\b[^,};]*=`,
      "g",
    );
    const found = lib.flatMap(({ path, code }) => (code.match(declares) ?? []).map(() => path));
    assert(found.length <= (name === "Request" ? 0 : 1), `${name}: ${found.join(", ")}`);
  }
});
