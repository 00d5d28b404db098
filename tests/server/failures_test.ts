/** What the operator reads of a failure outside of the server: one sentence that says what to do. */
import assert from "node:assert/strict";
import test from "node:test";
import { StreamError } from "../../lib/error.ts";
import { fileReason, listenReason, redisFailure } from "../../lib/server/failures.ts";
import { PATIENCE_MS, RUNTIMES, startEntry } from "../support/child.ts";
import { freePort } from "../support/free_port.ts";
import { until } from "../support/serve.ts";

const coded = (code: string, message = "") => Object.assign(new Error(message), { code });
const AT = "10.0.0.1";

test("listenReason() says what to set, whatever the runtime calls the failure", () => {
  const reasons: [Error, RegExp][] = [
    [coded("EADDRINUSE"), /^the port is taken; set another/],
    [coded("EACCES", "permission denied 0.0.0.0:80"), /set a port of 1024 or more/],
    [coded("EADDRNOTAVAIL"), /^no address of this machine; set HOST/],
    [coded("ENOTFOUND", "getaddrinfo ENOTFOUND a"), /^no address of this machine; set HOST/],
    [new Error("failed to lookup address information"), /^no address of this machine; set HOST/],
    [new Error("another reason"), /^another reason$/],
  ];
  for (const [error, reason] of reasons) assert.match(listenReason(error, AT), reason);
  const bun = coded("ENOTTY", "inappropriate ioctl");
  assert.equal(
    listenReason(bun, "no.example"),
    "set HOST to a name or address of this machine",
  );
});

test("fileReason() names the file, and never its text", () => {
  const path = "a\n.json";
  assert.match(fileReason(coded("ENOENT"), path), /^there is no file "a\\n.json"; /);
  assert.match(fileReason(coded("EISDIR"), path), /is a folder/);
  assert.match(fileReason(coded("EACCES"), path), /may not read/);
  assert.equal(fileReason(coded("EIO", "sk-0123"), path), 'cannot read "a\\n.json" (EIO)');
});

const URL_ = "redis://a.example:6380";
const WITH_PASSWORD = "redis://me:hunter2@a.example:6380";

async function sentenceOf(error: unknown, url = URL_, refused?: Error): Promise<string> {
  const failure = await redisFailure(error, url, () => Promise.resolve(refused));
  assert(failure instanceof StreamError && failure.code === "log_unavailable");
  const { message } = failure.cause as Error;
  assert.doesNotMatch(message, /hunter2|\n/);
  return message;
}

test("redisFailure() says what is wrong with a Redis, and what to do", async () => {
  const silent = new Error("The store did not respond within 2000 ms");
  const sentence = (refused?: Error, url?: string) => sentenceOf(silent, url, refused);
  assert.match(
    await sentence(coded("ECONNREFUSED"), WITH_PASSWORD),
    /^Nothing listens on a\.example:6380; start/,
  );
  assert.match(await sentence(coded("ENOTFOUND")), /^No host has the name a\.example; correct/);
  assert.match(await sentence(new Error("ETIMEDOUT")), /^a\.example:6380 cannot be reached/);
  assert.match(await sentence(), /without TLS; if it has TLS, set rediss:\/\//);
  assert.match(await sentence(undefined, "rediss://a.example"), /^a\.example:6379 .*over TLS/);
  const noPassword = await sentenceOf(new Error("NOAUTH Authentication required."));
  assert.match(noPassword, /wants a password; set it in REDIS_URL/);
  const wrong = await sentenceOf(new Error("WRONGPASS invalid pair"), WITH_PASSWORD);
  assert.match(wrong, /rejects the user or the password/);
  assert.equal(await sentenceOf(new Error("LOADING it")), "LOADING it");
});

test("redisFailure() leaves a bug as it is, with its stack", async () => {
  for (const bug of [new TypeError("undefined is no function"), new StreamError("log_full"), 5]) {
    assert.equal(await redisFailure(bug, URL_), bug);
  }
});

for (const runtime of RUNTIMES) {
  test(`${runtime}: a Redis that is down is one line soon after the start, without a stack`, async () => {
    const port = await freePort();
    const child = startEntry(runtime, { REDIS_URL: `redis://:hunter2@127.0.0.1:${port}` });
    try {
      await until(() => child.errors.includes("\n"), PATIENCE_MS, "a line");
      assert.match(
        child.errors,
        new RegExp(`^\\S+ {2}log_unavailable {2}Nothing listens on 127.0.0.1:${port}; [^\n]*\n`),
      );
      assert.doesNotMatch(child.errors, /hunter2|^\s+at /m);
    } finally {
      await child.stop();
    }
  });
}
