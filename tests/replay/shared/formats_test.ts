/** Streams of another process in any format: who knows it, and how heartbeats and failures are written here. */
import assert from "node:assert/strict";
import { agUiFormat } from "../../../lib/formats/ag_ui.ts";
import { jsonFormat, textFormat } from "../../../lib/formats/events.ts";
import { responsesFormat } from "../../../lib/formats.ts";
import { anthropicFormat, type Format, openaiFormat, sse, uiMessageFormat } from "../../../mod.ts";
import { Reading, same } from "../../support/event_reader.ts";
import { type FakeMachine, type FakeSite, fakeTest } from "../../support/fake_machines.ts";

const custom: Format = { ...jsonFormat, name: "custom", headers: { "x-format": "custom" } };

/** A stream that one machine makes, known to the store. */
async function started(site: FakeSite, one: FakeMachine, format: Format): Promise<Reading> {
  const first = await one.start(site.paced(1000, 20).source, { format, chatId: "1" });
  await first.until(() => first.body.length > 500);
  await one.log.flush();
  return first;
}

fakeTest("a stream whose format this process does not know is a 406", async (site) => {
  const [one, other] = site.machines();
  const { streamId } = await started(site, one, custom);
  for (const method of ["GET", "POST", "HEAD"]) {
    for (const after of [undefined, 0, 1, 1_000_000]) {
      const reading = await other.join(streamId, after, {}, method);
      assert.equal(reading.status, 406, `${method} after ${after}`);
    }
  }
  await (await other.join("", undefined, { chatId: "1" })).problem(406, "not_acceptable");
  await (await other.join(streamId, undefined, { formats: [openaiFormat] }))
    .problem(406, "not_acceptable");
  // Whose it is comes first, and it can be stopped all the same.
  await (await other.join(streamId, undefined, { owner: "ann" })).problem(404, "not_found");
  // The process that makes it knows it.
  assert.equal((await one.join(streamId)).status, 200);
  assert.equal(await other.stop(streamId), true);
  await site.until(async () => await other.knows(streamId) === "ended", 1000, "its end");
  await (await other.join(streamId)).problem(406, "not_acceptable");
});

fakeTest(
  "a format is known by resume's option, by sse's, and once it was recorded here",
  async (site) => {
    const [one, other] = site.machines();
    const first = await started(site, one, custom);
    const { streamId } = first;
    const byOption = await other.join(streamId, undefined, { formats: [openaiFormat, custom] });
    assert.equal(byOption.response.headers.get("x-format"), "custom");
    const byChat = await other.join("", undefined, { chatId: "1", formats: [custom] });
    const headers = { "last-event-id": `${streamId}.0` };
    const asked = new Request("http://localhost/", { method: "POST", headers });
    const options = { log: other.log, clock: site.clock, format: custom };
    const bySse = new Reading(await sse(asked, "never", options));
    await (await other.start(["own"], { format: custom })).rest();
    const byRecord = await other.join(streamId);
    await one.stop(streamId);
    await first.rest();
    for (const reading of [byOption, byChat, bySse, byRecord]) {
      assert.equal(reading.status, 200, reading.body);
      same((await reading.rest()).written, first.written);
    }
  },
);

fakeTest("json and text are always known", async (site) => {
  const [one, other] = site.machines();
  for (const format of [jsonFormat, textFormat]) {
    const first = await (await one.start(["a", "b"], { format })).rest();
    await one.log.flush();
    same((await (await other.join(first.streamId)).rest()).written, first.written);
  }
});

/** A format that fails in two events, and sees where its reader is. */
const twofold: Format = {
  ...jsonFormat,
  name: "twofold",
  heartbeat: (out, { lastEvent }) => out.comment(`after ${lastEvent}`),
  open: (context) => {
    const framer = jsonFormat.open(context);
    return {
      token: (...token) => framer.token(...token),
      end: (...end) => framer.end(...end),
      fail(out, { code }, { streamId, lastEvent }) {
        out.comment("it is over");
        out.event({ event: "failed", data: `${code} after ${lastEvent} of ${streamId}` });
        out.data("[DONE]");
      },
    };
  },
};
const anonymous: Format = { ...twofold, name: "anonymous", ids: false };

/** Without the heartbeats of that format. */
const quiet = (text: string) => text.replaceAll(/^: after.*\n/gm, "");

const failing: [Format, ending: RegExp][] = [
  [jsonFormat, /event: failed\ndata: .*"code":"producer_lost"}\n\n$/],
  [textFormat, /event: failed\ndata: .*"code":"producer_lost"}\n\n$/],
  [openaiFormat, /data: {"error":.*\n\n/],
  [anthropicFormat, /event: error\ndata: .*\n\n$/],
  [uiMessageFormat, /data: {"type":"error".*\n\n.*data: \[DONE\]\n\n$/s],
  [agUiFormat, /data: {"type":"RUN_ERROR",.*"code":"producer_lost",.*\n\n$/],
  [twofold, /event: failed\ndata: producer_lost after \d+ of .*\n\n.*\ndata: \[DONE\]\n\n$/],
];

for (const [format, ending] of failing) {
  fakeTest(
    `${format.name}: the failure of a lost producer is written here, with its id, and is final`,
    async (site) => {
      const [one, other] = site.machines();
      const { streamId } = await started(site, one, format);
      const formats = [format];
      const reader = await other.join(streamId, undefined, { formats });
      await reader.until(() => reader.body.length > 300);
      one.kill();
      await reader.rest();
      assert.match(reader.body, ending);
      const { last } = (await site.server.kept(streamId))!;
      const lost = `${streamId}.${last}.lost`;
      const failure = reader.blocks.filter(({ id }) => id === lost);
      assert(failure.length > 0, reader.body.slice(-300));
      const numbers = reader.blocks.slice(0, -failure.length).map(({ number }) => number);
      assert.deepEqual(numbers, numbers.map((_, i) => i + 1), "nothing stands between");
      assert.equal(numbers.length, last);
      assert.equal((await other.join(streamId, lost, { formats })).status, 204);
      const again = await (await other.join(streamId, lost, { formats }, "POST")).rest();
      same(again.written, quiet(failure.map(({ text }) => text).join("")));
      const whole = await (await other.join(streamId, 0, { formats })).rest();
      same(whole.written, quiet(reader.written));
    },
  );
}

fakeTest("a format without ids gets the same answer again", async (site) => {
  const [one, other] = site.machines();
  const { streamId } = await started(site, one, anonymous);
  const formats = [anonymous];
  const reader = await other.join(streamId, undefined, { formats });
  await reader.until(() => reader.body.length > 300);
  one.kill();
  await reader.rest();
  assert.doesNotMatch(reader.body, /^id:/m);
  assert.match(reader.body, /data: producer_lost after \d+ of .*\n\ndata: \[DONE\]\n\n$/);
  for (const method of ["GET", "POST"]) {
    const again = await (await other.join(streamId, undefined, { formats }, method)).rest();
    same(again.body, quiet(reader.body));
  }
});

fakeTest("a response is looked at by another process, and dropped for all", async (site) => {
  const [one, other] = site.machines();
  const first = await started(site, one, responsesFormat);
  const { streamId } = first;
  assert.equal((await other.log.look(streamId, undefined))?.phase, "live");
  assert.equal(await other.log.look(streamId, "ann"), undefined);
  assert.equal(await other.log.forget(streamId, "ann"), false);
  assert.equal(await other.log.forget(streamId, undefined), true);
  await first.rest();
  assert.match(first.body, /"status":"cancelled".*\n\ndata: \[DONE\]\n\n$/);
  assert.equal(await other.log.look(streamId, undefined), undefined);
});

fakeTest(
  "a format that cannot write failures breaks off, and never looks complete",
  async (site) => {
    const [one, other] = site.machines();
    const mute: Format = {
      ...jsonFormat,
      name: "mute",
      open: (context) => {
        const framer = jsonFormat.open(context);
        return {
          token: (...token) => framer.token(...token),
          end: (...end) => framer.end(...end),
        };
      },
    };
    const throwing: Format = {
      ...mute,
      open: (context) => ({
        ...mute.open(context),
        fail: () => {
          throw new Error("it cannot");
        },
      }),
    };
    for (const format of [mute, throwing]) {
      const first = await started(site, one, mute);
      const reader = await other.join(first.streamId, undefined, { formats: [format] });
      await reader.until(() => reader.body.length > 300);
      site.server.streams.get(first.streamId)!.isLost = true;
      await reader.rest();
      assert.equal(reader.end, "broken");
      assert.equal(reader.text, first.text.slice(0, reader.text.length));
      await first.rest();
    }
  },
);

fakeTest(
  "heartbeats and failures of a reader's own are written where the reader is",
  async (site) => {
    const [one, other] = site.machines();
    const first = await one.start(async function* () {
      yield "a";
      yield "b";
      await site.sleep(40_000);
    }, { format: twofold });
    await first.events(2);
    await one.log.flush();
    const reader = await other.join(first.streamId, 1, { formats: [twofold], heartbeatMs: 1000 });
    await reader.until(() => reader.body.includes(": after"));
    assert.match(reader.body, /^:\nid: \S+\.2\ndata: .*\n\n: after 2\n/);
    await other.log.close();
    await reader.rest();
    assert.equal(reader.lastId, `${first.streamId}.2`);
    assert.match(
      reader.body,
      /\n: it is over\nevent: failed\ndata: shutting_down after 2 of .*\n\ndata: \[DONE\]\n\n$/,
    );
    await one.stop(first.streamId);
  },
);

fakeTest("AG-UI: what ends this connection alone is no end of the run", async (site) => {
  const [one, other] = site.machines();
  const first = await started(site, one, agUiFormat);
  const formats = [agUiFormat];
  const reader = await other.join(first.streamId, undefined, { formats });
  await reader.until(() => reader.body.length > 300);
  await other.log.close();
  await reader.rest();
  assert.equal(reader.end, "whole");
  assert.doesNotMatch(reader.body, /RUN_ERROR|RUN_FINISHED/);
  const rest = await one.join(first.streamId, reader.blocks.length, { formats });
  await one.stop(first.streamId);
  await Promise.all([first.rest(), rest.rest()]);
  const all = [...reader.blocks, ...rest.blocks].map(({ text }) => text).join("");
  same(quiet(all), quiet(first.blocks.map(({ text }) => text).join("")));
  assert.match(all, /"outcome":{"type":"cancelled"}/);
});
