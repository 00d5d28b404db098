/** Replay files in a folder of their own, which is removed when the process ends. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

const folders: string[] = [];
let files = 0;

/** A folder that is removed when the process ends. */
export function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "spillway-replay-"));
  folders.push(folder);
  return folder;
}

let folder: string | undefined;

/** The path of a file that does not exist yet. */
export function newFile(): string {
  return join(folder ??= newFolder(), `${files++}.db`);
}

process.on("exit", () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});
