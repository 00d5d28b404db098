/**
 * The moving picture of README: it is there, it is small, it ends, and its script makes it. The script
 * itself sees to it that the answer in the picture is whole.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { chromiumIsMissing } from "./harness.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** What a GIF says of itself. */
function read(gif) {
  const delays = [];
  // A graphic control extension: four bytes, of which the second and third are hundredths of a second.
  for (let at = gif.indexOf("21f904", "hex"); at >= 0; at = gif.indexOf("21f904", at + 8, "hex")) {
    if (gif[at + 7] === 0) delays.push(gif.readUInt16LE(at + 4) * 10);
  }
  return {
    kind: gif.toString("latin1", 0, 6),
    width: gif.readUInt16LE(6),
    height: gif.readUInt16LE(8),
    frames: delays.length,
    ms: delays.reduce((sum, delay) => sum + delay, 0),
    bytes: gif.length,
  };
}

function check(file) {
  const { kind, width, height, frames, ms, bytes } = read(readFileSync(file));
  assert.deepEqual([kind, width, height], ["GIF89a", 720, 450]);
  assert(frames >= 50, `${frames} frames`);
  assert(ms >= 8000 && ms <= 13_000, `${ms} ms`);
  assert(bytes < 500_000, `${bytes} bytes`);
}

test("the moving picture is in README, and small enough for it", () => {
  const [, file] = /!\[[^\]]+\]\((\S+\.gif)\)/.exec(readFileSync(join(root, "README.md"), "utf8"));
  check(join(root, file));
});

// It takes half a minute, and changes with the page alone.
const skip = process.env.LONG ? chromiumIsMissing : "it is long";
test("npm run picture makes it", { skip, timeout: 240_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), "spillway-"));
  try {
    const file = join(folder, "chat.gif");
    const child = spawn("npm", ["run", "-s", "picture", "--", file], {
      cwd: root,
      stdio: "inherit",
    });
    assert.deepEqual(await once(child, "close"), [0, null]);
    check(file);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
