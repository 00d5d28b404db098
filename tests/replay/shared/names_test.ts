/** Names in a store that processes share, while one of them is killed, stands still, or the store is away. */
import assert from "node:assert/strict";
import { respond } from "../../../lib/http/sse.ts";
import type { RunClaim } from "../../../lib/http/replay_log.ts";
import { type Source, type SourceContext, StreamError } from "../../../mod.ts";
import { Reading } from "../../support/event_reader.ts";
import { type FakeMachine, type FakeSite, fakeTest } from "../../support/fake_machines.ts";
import { problemIn } from "../../support/machines.ts";
import { int, pick, random } from "../../support/random.ts";

const RUN = { key: "k".repeat(64), digest: "d" };
/** How long a claim waits for events of a generation elsewhere, in ms. */
const COMMIT_MS = 250;

const claim = ({ log }: FakeMachine, run = RUN): Promise<RunClaim> =>
  log.names.claim(run, COMMIT_MS);

/** Begins a stream under a name that was taken. */
async function begin(
  { log }: FakeMachine,
  { clock, paced }: FakeSite,
  { streamId, run, settle }: RunClaim,
  source: Source<undefined> = paced(200, 20).source,
): Promise<Reading> {
  assert(run !== undefined, "the name is taken");
  const request = new Request("http://localhost/streaming", { method: "POST" });
  const options = { log, clock, streamId, onError: () => {} };
  try {
    return new Reading(await respond(request, source as never, options, { run }));
  } finally {
    settle();
  }
}

fakeTest(
  "a name is its process's for as long as its stream goes on, and is kept with it",
  async (site) => {
    const [one, other] = site.machines({ keepMs: 60_000 });
    const first = await begin(one, site, await claim(one), site.paced(300, 1000).source);
    const read = first.rest();
    for (let minute = 0; minute < 5; minute++) {
      await site.sleep(55_000);
      assert.equal((await claim(other)).streamId, first.streamId, `minute ${minute}`);
    }
    await read;
    await one.log.flush();
    await site.sleep(50_000);
    for (const machine of [one, other]) {
      assert.deepEqual({ ...await claim(machine), settle: 0 }, {
        streamId: first.streamId,
        run: undefined,
        settle: 0,
      });
    }
    await assert.rejects(claim(other, { ...RUN, digest: "e" }), { code: "stream_exists" });
    await site.sleep(15_000);
    const again = await claim(other);
    assert(again.run !== undefined && again.streamId !== first.streamId);
    again.settle();
    assert((await claim(one)).run !== undefined, "it is free");
    // The name is no stream, and nobody is told that it cannot be read.
    assert.equal(await other.log.find(`run-${RUN.key}`), undefined);
    assert.deepEqual([...one.outages, ...other.outages], []);
  },
);

fakeTest("of many processes that take a name at once, one has it", async (site) => {
  for (const latencyMs of [0, 3, 20]) {
    site.server.latencyMs = latencyMs;
    const all = Array.from({ length: 6 }, () => site.machine());
    const run = { ...RUN, key: `${latencyMs}`.padEnd(64, "x") };
    const readings: Reading[] = [];
    const claims = await Promise.all(all.map(async (machine) => {
      const claimed = await claim(machine, run);
      if (claimed.run !== undefined) readings.push(await begin(machine, site, claimed));
      return claimed;
    }));
    assert.equal(claims.filter(({ run }) => run !== undefined).length, 1);
    assert.deepEqual(new Set(claims.map(({ streamId }) => streamId)).size, 1);
    const joined = await all[5]!.join(claims[0]!.streamId);
    assert.equal((await joined.rest()).blocks.length, 201);
    await Promise.all(readings.map((reading) => reading.rest()));
  }
});

fakeTest(
  "a process that dies between the name and its stream gives the name up after its lease",
  async (site) => {
    const [one, other] = site.machines();
    await claim(one);
    // It lives, and may begin: a body may take its time to be checked.
    await site.sleep(30_000);
    await assert.rejects(claim(other), { code: "log_unavailable", status: 503 });
    one.kill();
    await site.sleep(10_000);
    const begun = await begin(other, site, await claim(other));
    assert.equal((await begun.rest()).blocks.length, 201);
  },
);

fakeTest(
  "a name whose process was killed has what there is of its stream, and the loss",
  async (site) => {
    const [one, other] = site.machines();
    const first = await begin(one, site, await claim(one));
    await (await other.meet(first)).events(5);
    one.kill();
    const held = await claim(other);
    assert.deepEqual([held.run, held.streamId], [undefined, first.streamId]);
    const joined = await (await other.join(held.streamId)).rest();
    assert.equal(problemIn(joined.last).code, "producer_lost");
    assert.equal((await claim(other)).streamId, first.streamId);
    await first.leave();
  },
);

fakeTest(
  "a generation elsewhere that fails before its first event frees its name for who waits",
  async (site) => {
    const [one, other] = site.machines();
    const taken = await claim(one);
    const failing = begin(one, site, taken, async () => {
      await site.sleep(200);
      throw new StreamError("rate_limited");
    });
    const claimed = await claim(other);
    assert(claimed.run !== undefined, "it is free");
    assert.equal((await (await failing).rest()).status, 429);
    assert.equal((await (await begin(other, site, claimed)).rest()).blocks.length, 201);
  },
);

fakeTest(
  "a generation elsewhere that is silent is joined when its headers must have been sent",
  async (site) => {
    const [one, other] = site.machines();
    const sinceMs = site.clock.now();
    const first = begin(one, site, await claim(one), site.paced(3, 5000).source);
    const held = await claim(other);
    const tookMs = site.clock.now() - sinceMs;
    assert(tookMs >= COMMIT_MS && tookMs < 2 * COMMIT_MS + 100, `${tookMs} ms`);
    assert.equal(
      (await (await other.join(held.streamId)).rest()).text,
      (await (await first).rest()).text,
    );
  },
);

fakeTest(
  "while the store is away a name cannot be taken, and one that was taken is there again",
  async (site) => {
    const [one, other] = site.machines();
    const first = await begin(one, site, await claim(one), site.paced(60, 1000).source);
    await first.events(1);
    site.server.kill();
    await assert.rejects(claim(other), { code: "log_unavailable" });
    await assert.rejects(claim(one, { ...RUN, key: "x" }), { code: "log_unavailable" });
    // Its own process needs no store for it.
    assert.equal((await claim(one)).streamId, first.streamId);
    await site.sleep(10_000);
    // It has lost everything, the name as well.
    site.server.start(false);
    await site.until(
      () => one.log.health() === "ok" && other.log.health() === "ok",
      6000,
      "it is up",
    );
    await site.sleep(4000);
    assert.equal((await claim(other)).streamId, first.streamId);
    await first.rest();
  },
);

for (let seed = 1; seed <= 20; seed++) {
  fakeTest(
    `requests at any time, to any process, through an outage: one generation (${seed})`,
    async (site) => {
      const chance = random(seed);
      const all = Array.from({ length: 4 }, () => site.machine());
      site.server.latencyMs = int(chance, 40);
      let starts = 0;
      const tokens = site.paced(40, 50).source as (context: SourceContext) => AsyncIterable<string>;
      const source = (context: SourceContext) => {
        starts++;
        return tokens(context);
      };
      const ids = new Set<string>();
      const request = async () => {
        await site.sleep(int(chance, 1500));
        const machine = pick(chance, all);
        // As its client does: it was turned away, and comes again.
        for (let tries = 0; tries < 100; tries++) {
          try {
            const claimed = await claim(machine);
            ids.add(claimed.streamId);
            if (claimed.run === undefined) return;
            const reading = await begin(machine, site, claimed, source);
            await reading.rest();
            return;
          } catch (error) {
            assert.equal((error as StreamError).code, "log_unavailable");
            await site.sleep(int(chance, 1000));
          }
        }
        assert.fail("it never got through");
      };
      const outage = async () => {
        await site.sleep(int(chance, 1500));
        site.server.isDown = true;
        await site.sleep(int(chance, 4000));
        site.server.isDown = false;
      };
      await Promise.all([...Array.from({ length: 12 }, request), outage()]);
      assert.deepEqual([starts, ids.size], [1, 1]);
    },
  );
}
