/**
 * What can be reached in a server's heap, with the buffers that its objects hold. V8's own counters also
 * have buffers that are gone: on a busy machine, 25 MB of them seconds after three collections.
 */
import { readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Victim } from "./victim.ts";

/** Where a process writes a snapshot of its heap. */
export function snapshotFile(pid: number): string {
  return join(tmpdir(), `spillway-attacked-${pid}.heapsnapshot`);
}

interface Snapshot {
  readonly snapshot: { readonly meta: { readonly node_fields: readonly string[] } };
  readonly nodes: readonly number[];
}

/** So many bytes of the heap, as Bun's collector counts them, or from a snapshot of V8's. */
export async function reachableBytes(victim: Victim): Promise<number> {
  const { pid, heapBytes } = await victim.ask("collect");
  if (victim.runtime === "bun") return heapBytes;
  await victim.ask("snapshot");
  const file = snapshotFile(pid);
  const { snapshot: { meta }, nodes } = JSON.parse(readFileSync(file, "utf8")) as Snapshot;
  rmSync(file);
  let bytes = 0;
  const fields = meta.node_fields.length;
  for (let at = meta.node_fields.indexOf("self_size"); at < nodes.length; at += fields) {
    bytes += nodes[at]!;
  }
  return bytes;
}
