/** The homes that need no build, as a check of CI: `npm run test:homes` has all of them. */
import { test } from "node:test";
import { startHome } from "./support/home.mjs";
import { QUICK } from "./support/homes.mjs";
import { CHECKS, judge } from "./support/judge.mjs";
import { installPackage } from "./support/package.mjs";

installPackage();
/** Each home's results: a few homes at a time, for most checks wait. */
const results = new Map(
  QUICK.map(({ name }) => [name, Promise.withResolvers?.() ?? deferred()]),
);
const waiting = [...QUICK];
for (let lane = 0; lane < 2; lane++) judgeNext();

async function judgeNext() {
  const home = waiting.shift();
  if (home === undefined) return;
  const { resolve } = results.get(home.name);
  try {
    const running = await startHome(home);
    try {
      resolve(new Map(await judge(running)));
    } finally {
      await running.stop();
    }
  } catch (error) {
    resolve(new Map(Object.keys(CHECKS).map((check) => [check, error])));
  }
  await judgeNext();
}

function deferred() {
  let resolve;
  const promise = new Promise((yes) => resolve = yes);
  return { promise, resolve };
}

for (const { name } of QUICK) {
  for (const check of Object.keys(CHECKS)) {
    test(`${name}: ${check}`, async () => {
      const error = (await results.get(name).promise).get(check);
      if (error !== undefined) throw error;
    });
  }
}
