/** The example of docs/write_your_own_store.md: it runs as it is printed, and keeps the contract. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { pathToFileURL } from "node:url";
import type { EventStore } from "../../../mod.ts";
import { SharedLog } from "../../../mod.ts";
import { eventStoreContract } from "../../../lib/testing.ts";
import { root } from "../../support/child.ts";
import { blocksOf, guides } from "../../support/documents.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { same } from "../../support/event_reader.ts";
import { Machine, Paced } from "../../support/machines.ts";

/** Imports the one example of the page. */
async function example(): Promise<{ mapStore(): EventStore }> {
  const page = guides.filter(({ path }) => path === "docs/write_your_own_store.md");
  const [block, ...more] = blocksOf(page);
  assert.deepEqual([block!.language, more.length], ["ts", 0]);
  const moduleAt = (path: string) => JSON.stringify(pathToFileURL(join(root, path)).href);
  const folder = mkdtempSync(join(tmpdir(), "spillway-"));
  try {
    const file = join(folder, "example.ts");
    const code = block!.code.replaceAll('"spillway"', moduleAt("mod.ts"))
      .replaceAll('"spillway/testing"', moduleAt("lib/testing.ts"));
    writeFileSync(file, code);
    return await import(pathToFileURL(file).href);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const { mapStore } = await example();

for (const { name, run } of eventStoreContract(mapStore)) test(`the example: ${name}`, run);

test("the example serves a stream of one process from another", async () => {
  const clock = new FakeClock();
  const machines = [0, 1].map(() => {
    const outages: unknown[] = [];
    const onError = (error: unknown) => void outages.push(error);
    return new Machine({ log: new SharedLog(mapStore(), { clock, onError }), clock, outages });
  });
  await clock.during((async () => {
    const tokens = new Paced(200, 10, 0, clock);
    const first = await machines[0]!.start(tokens.source);
    const second = await machines[1]!.meet(first);
    await Promise.all([first.rest(), second.rest()]);
    same(first.text, tokens.text());
    same(second.written, first.written);
    for (const machine of machines) {
      await machine.log.flush();
      await machine.close();
      assert.deepEqual(machine.outages, []);
    }
  })());
});
