/** Owners: who may read, stop and find a stream. */
import assert from "node:assert/strict";
import { same } from "../../support/event_reader.ts";
import { type Asking, type Rule, Tap } from "./rule.ts";

export function ownersRules(rule: Rule): void {
  rule(
    "another owner, a forgotten and a made-up id are answered alike, byte for byte",
    async (scene) => {
      const forgotten = await scene.finished(["a", "b"], { owner: "ann" });
      await scene.eventually(
        async () => await scene.elsewhere.find(forgotten.streamId) === undefined,
        "forgotten",
      );
      const tap = new Tap();
      const live = await scene.start(tap.source, { owner: "ann", commitAfterMs: 0 });
      tap.send("secret");
      await live.events(1);
      const nobodys = new Tap();
      const open = await scene.start(nobodys.source, { commitAfterMs: 0 });
      nobodys.send("secret");
      await open.events(1);
      const guesses: [streamId: string, owner: string | undefined][] = [
        [forgotten.streamId, "ann"],
        [forgotten.streamId, undefined],
        [live.streamId, "bob"],
        [live.streamId, undefined],
        [live.streamId, ""],
        [open.streamId, "bob"],
        ["AAAAAAAAAAAAAAAAAAAAAA", "ann"],
        ["AAAAAAAAAAAAAAAAAAAAAA", undefined],
        ["__proto__", undefined],
      ];
      const asked: ((streamId: string) => Asking)[] = [
        () => ({}),
        () => ({ after: 0 }),
        () => ({ after: 1 }),
        () => ({ after: 77 }),
        () => ({ after: 1, method: "POST" }),
        () => ({ query: "?format=text" }),
        (streamId) => ({ query: `?lastEventId=${streamId}.1` }),
        () => ({ headers: { accept: "application/json" } }),
      ];
      for (const [at, how] of asked.entries()) {
        const all = await Promise.all(guesses.map(async ([streamId, owner]) => {
          const options = owner === undefined ? {} : { owner };
          const reading = await (await scene.join(streamId, how(streamId), options)).rest();
          const head = JSON.stringify([reading.status, [...reading.response.headers]]);
          return `${head} ${reading.body}`;
        }));
        const answers = new Set(all);
        assert.equal(answers.size, 1, `${at}: ${[...answers]}`);
        assert([...answers].every((answer) => answer.startsWith("[404,")), `${[...answers]}`);
      }
      const stopped = guesses.map(([streamId, owner]) => scene.stop(streamId, owner));
      assert((await Promise.all(stopped)).every((isStopped) => !isStopped));
      assert.equal(tap.signal.aborted, false);
      assert.equal((await (await scene.join(live, {}, { owner: "ann" })).events(1)).text, "secret");
      assert.equal(await scene.stop(live, "ann"), true);
      assert.equal(await scene.stop(open), true);
      assert.equal((await live.rest()).text, "secret");
    },
    { keepMs: 50 },
  );

  rule("a chat's latest stream is found while it goes on, by its owner", async (scene) => {
    const find = (owner: string | undefined, chatId: string) =>
      scene.join(undefined, {}, owner === undefined ? { chatId } : { owner, chatId });
    assert.equal((await find("ann", "1")).status, 204);
    const old = await scene.finished(["old"], { owner: "ann", chatId: "1" });
    assert.equal((await find("ann", "1")).status, 204);
    const tap = new Tap();
    const live = await scene.start(tap.source, { owner: "ann", chatId: "1", commitAfterMs: 0 });
    tap.send("new");
    await live.events(1);
    // Its name may still be on its way to the other machine.
    const isLatest = async () =>
      (await scene.elsewhere.latest("ann", "1"))?.info.streamId === live.streamId;
    await scene.eventually(isLatest, "its name");
    const found = await (await find("ann", "1")).events(1);
    assert.equal(found.streamId, live.streamId);
    assert.equal(found.text, "new");
    const others = [["bob", "1"], [undefined, "1"], ["ann", "2"], ["ann", ""]] as const;
    for (const [owner, chatId] of others) {
      const answer = await find(owner, chatId);
      assert.deepEqual([answer.status, answer.body], [204, ""], `${owner} ${chatId}`);
    }
    // From the start, whatever the client says it has.
    const again = await scene.join(undefined, { after: `${old.streamId}.1` }, {
      owner: "ann",
      chatId: "1",
    });
    assert.equal((await again.events(1)).text, "new");
    tap.queue.close();
    await Promise.all([live.rest(), found.rest(), again.rest()]);
    same(found.written, live.written);
    await scene.ended(live);
    assert.equal((await find("ann", "1")).status, 204);
  });
}
